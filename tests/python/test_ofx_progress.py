"""The Progress tab in a host: loss curves, runs table, live updates, the page; and Model File without a wait."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import ofx_host
import pytest
from copycat.model.cat import ModelHeader, save
from copycat.model.network import ROWS, Network
from copycat.ops import Encoding
from copycat.plots.graph import draw_loss_curves, shown_run
from copycat.plots.live import Watch
from copycat.runs import Display, Run, SummaryWriter
from copycat.settings.tables import ProgressSettings
from fake_trainer import header, step_record
from matplotlib.colors import to_rgb

REAL = {"COPYCAT_PYTHON": sys.executable}
SIZE = (180, 320)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ofx_host.Host]:
    with ofx_host.Host(tmp_path_factory.mktemp("host"), REAL) as host:
        yield host


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A Data Directory with two runs, the second of which was written to last."""
    directory = tmp_path / "data"
    directory.mkdir()
    for name, steps, seconds in (("first", 400, 1_700_000_000), ("second", 250, 1_700_000_500)):
        run = make(directory, name, steps)
        os.utime(run.summary, (seconds, seconds))
    with Display.edit(directory) as display:
        display.active = "first"
    return directory


@pytest.fixture
def host(shared: ofx_host.Host, directory: Path) -> Iterator[ofx_host.Host]:
    """A CopyCat instance on that Data Directory."""
    assert shared.create("CopyCat", "General", dataDirectory=str(directory)) == 0
    yield shared
    shared.do("destroy")
    shared.messages()


def make(directory: Path, name: str, steps: int) -> Run:
    run = Run(directory, name)
    writer = SummaryWriter(run)
    writer.append(header(400), *(step_record(step, 400) for step in range(1, steps + 1)))
    writer.append({"step": 100, "psnr": 30.0}, {"step": 200, "psnr": 33.0})
    writer.append({"end": "finished", "step": steps})
    writer.close()
    return run


def expected(directory: Path, **knobs: Any) -> np.ndarray:
    """The picture as the worker's own code draws it, in display values."""
    watch = Watch(directory)
    while watch.scan():
        pass
    runs = [
        shown_run(row, curve, watch.history(row.run.name))
        for row in watch.rows()
        if row.shown and (curve := watch.curve(row.run.name))
    ]
    return draw_loss_curves(runs, ProgressSettings(**knobs), *SIZE)


def canvas(depth: str = "byte", components: int = 4) -> np.ndarray:
    return np.zeros((*SIZE, components), ofx_host.DTYPES[depth])


def count(picture: np.ndarray, colour: str) -> int:
    """Picture elements of a run's own colour."""
    return int((np.abs(picture[..., :3] / 255 - np.array(to_rgb(colour))).max(axis=2) < 0.05).sum())


def test_the_loss_curves_in_every_depth(host: ofx_host.Host, directory: Path) -> None:
    host.do("set", param="view", value="Loss Curve")
    assert host.do("ask", action="IsIdentity")["status"] == 14
    shown = expected(directory)
    as_bytes = np.floor(shown * 255 + 0.5)
    for components in (3, 4):
        np.testing.assert_array_equal(host.render(canvas(components=components))[..., :3], as_bytes)
    assert (host.render(canvas())[..., 3] == 255).all()
    assert np.abs(host.render(canvas("short"))[..., :3] / 65535 - shown).max() < 1e-4
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    for depth, tolerance in (("float", 1e-6), ("half", 1e-3)):
        drawn = host.render(canvas(depth))  # a host of floats shows them through a view of its own
        np.testing.assert_allclose(drawn[..., :3], linear, atol=tolerance)
        assert (drawn[..., 3] == 1).all()
    assert (host.render(canvas(components=1)) == 255).all()
    assert "first: finished, step 400 of 400" in host.last_message()


def test_layouts_of_the_loss_curve(host: ofx_host.Host, directory: Path) -> None:
    host.do("set", param="view", value="Loss Curve")
    whole = host.render(canvas())
    for layout in ({"upside_down": True, "padding": 12}, {"at": (-40, 9)}):
        np.testing.assert_array_equal(host.render(canvas(), layout=layout), whole)
    output = host.output(canvas())
    answer = host.do("render", output=output, window=[100, 50, 220, 90], scale=0.5)
    assert (answer["status"], answer["touched_outside"]) == (0, 0)
    part = np.fromfile(output["to"], np.uint8).reshape(whole.shape)
    np.testing.assert_array_equal(part[90:130, 100:220], whole[90:130, 100:220])


def test_the_knobs_of_the_loss_curve(host: ofx_host.Host, directory: Path) -> None:
    host.do("set", param="view", value="Loss Curve")
    knobs = {
        "logScale": ("log_scale", True),
        "smoothness": ("smoothness", 0.95),
        "showOriginal": ("show_original", False),
        "showValidation": ("show_validation", False),
    }
    chosen: dict[str, Any] = {}
    before = host.render(canvas())
    for name, (field, value) in knobs.items():
        assert host.do("change", param=name, value=value)["status"] == 0
        chosen[field] = value
        drawn = host.render(canvas())
        np.testing.assert_array_equal(drawn[..., :3], np.floor(expected(directory, **chosen) * 255 + 0.5))
        assert (drawn != before).any(), name
        before = drawn


def test_hidden_runs_stay_hidden_and_colours_are_the_page_s(host: ofx_host.Host, directory: Path) -> None:
    host.do("set", param="view", value="Loss Curve")
    host.render(canvas())
    Display.read(directory).set("first", colour="#ff00ff")
    Display.read(directory).set("second", colour="#00ff00")
    drawn = host.render(canvas())
    assert count(drawn, "#ff00ff") > 100
    assert count(drawn, "#00ff00") > 10  # it lies under the other, but for the legend
    Display.read(directory).set("second", shown=False)
    drawn = host.render(canvas())
    assert count(drawn, "#ff00ff") > 100
    assert count(drawn, "#00ff00") == 0
    Display.read(directory).set("first", shown=False)
    assert count(host.render(canvas()), "#ff00ff") == 0


def test_no_runs_and_no_directory_are_said(host: ofx_host.Host, tmp_path: Path) -> None:
    host.do("set", param="view", value="Loss Curve")
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        if folder.name == "empty":
            folder.mkdir()
        host.do("set", param="dataDirectory", value=str(folder))
        drawn = host.render(canvas())
        assert f"There is no run in {folder} yet: start a training" in host.last_message()
        assert (drawn[..., :3].min(axis=2) > 150).sum() > 50  # and it is written into the picture
    blocked = tmp_path / "blocked"
    blocked.write_text("no directory")
    host.do("set", param="dataDirectory", value=str(blocked))
    host.render(canvas())
    assert f"{blocked}: the Data Directory cannot be read" in host.last_message()
    host.do("set", param="dataDirectory", value="")
    source = ofx_host.pixels("byte")
    host.clip("Input", source)
    np.testing.assert_array_equal(host.render(source), source)


def table(host: ofx_host.Host) -> list[str]:
    """The lines of the runs table after some change."""
    assert host.do("change", param="epochs", value=10)["status"] == 0
    text = host.do("get", param="runTable")
    assert not text["enabled"]
    return str(text["value"]).splitlines()


def test_the_runs_table(host: ofx_host.Host, directory: Path) -> None:
    host.do("change", param="createInference")  # starts the worker where no other test has
    first, second = (datetime.fromtimestamp(s).strftime("%Y-%m-%d %H:%M:%S") for s in (1_700_000_000, 1_700_000_500))
    assert table(host) == [f"- second, 250 of 400 steps, {second}", f"* first, 400 of 400 steps, {first}"]
    with Display.edit(directory) as display:
        display.active = "second"
    make(directory, "third", 3)
    assert [line.split(",")[0] for line in table(host)] == ["- third", "* second", "- first"]
    assert "Total Steps: 400" in host.do("get", param="trainingInfo")["value"]
    host.do("set", param="dataDirectory", value=str(directory / "nowhere"))
    assert table(host) == []


@pytest.mark.parametrize("name", ["fr.inria.Natron", "uk.co.thefoundry.nuke"])
def test_natron_shows_the_status_below_the_node_s_name(tmp_path: Path, directory: Path, name: str) -> None:
    natron = name == "fr.inria.Natron"
    below = "NatronOfxParamStringSublabelName"
    with ofx_host.Host(tmp_path, REAL, name=name, pages=0) as host:
        params = host.do("describe", plugin="CopyCat")["params"]
        assert (below in [row["name"] for row in params]) == natron
        host.create("CopyCat", dataDirectory=str(directory))
        host.do("change", param="createInference")  # starts the worker
        host.messages()
        assert host.do("change", param="epochs", value=10)["status"] == 0
        # A text that is no warning would open a dialog in Natron at every change of a knob.
        texts = [message["text"] for message in host.messages() if message["type"] == "OfxMessageMessage"]
        if natron:
            assert not texts
            assert host.do("get", param=below)["value"].startswith("finished, step 400 ")
        else:
            assert texts[-1].startswith("first: finished, step 400 ")


def test_warnings_of_the_active_run_are_said(host: ofx_host.Host, directory: Path) -> None:
    about = header(400)["run"]
    assert isinstance(about, dict)
    with closing(SummaryWriter(Run(directory, "warned"))) as writer:
        writer.append({"run": about | {"warnings": ["clean.1002.exr: moved back"]}}, step_record(1, 400))
    with Display.edit(directory) as display:
        display.active = "warned"
    host.do("set", param="view", value="Loss Curve")
    host.render(canvas())
    assert host.last_message().endswith("; warning: clean.1002.exr: moved back")


def test_live_updates_follow_a_run_that_trains_elsewhere(host: ofx_host.Host, directory: Path) -> None:
    host.do("change", param="createInference")
    run = make(directory, "farm", 10)
    run.file(".lock").write_text(json.dumps({"host": "render-node-7", "pid": 1, "heartbeat": 0}))
    assert "- farm, 10 of 400 steps" in table(host)[0]
    with run.summary.open("a") as stream:
        stream.writelines(json.dumps(step_record(step, 400)) + "\n" for step in range(11, 31))
    assert "- farm, 10 of 400 steps" in table(host)[0]
    assert host.do("change", param="liveUpdates", value=True)["status"] == 0
    assert "- farm, 30 of 400 steps" in table(host)[0]
    host.do("set", param="view", value="Loss Curve")
    before = host.render(canvas())
    with run.summary.open("a") as stream:
        stream.writelines(json.dumps(step_record(step, 400)) + "\n" for step in range(31, 301))
    assert (host.render(canvas()) != before).any()


def test_open_progress_opens_the_page_as_the_knobs_stand(directory: Path, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {shlex.quote(str(opened))}\n')
    browser.chmod(0o755)
    with ofx_host.Host(tmp_path, {**REAL, "BROWSER": f"{browser} %s"}) as host:
        host.create("CopyCat", "General", dataDirectory=str(directory))
        for name, value in (("logScale", True), ("smoothness", 0.25), ("showValidation", False)):
            host.do("set", param=name, value=value)
        assert host.do("change", param="openProgress")["status"] == 0, host.messages()
        assert "* first" in host.do("get", param="runTable")["value"]
        deadline = time.monotonic() + 30
        while not opened.exists() or not opened.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    options = parse_qs(urlsplit(opened.read_text().strip()).query)
    assert len(options.pop("token")[0]) >= 32  # the browser gets in by itself
    assert options == {
        "liveUpdates": ["false"],
        "logScale": ["true"],
        "smoothness": ["0.25"],
        "showOriginal": ["true"],
        "showValidation": ["false"],
    }


def model(path: Path, channels_in: tuple[str, ...] = ("R", "G", "B"), channels_out: tuple[str, ...] = ("A",)) -> Path:
    encodings = [Encoding((0.0,) * len(c), (0.0,) * len(c), (1.0,) * len(c)) for c in (channels_in, channels_out)]
    about = ModelHeader(ROWS["Small"], channels_in, channels_out, (-1,) * len(channels_out), *encodings)
    network = Network(ROWS["Small"], len(channels_in), about.residual)
    save(path, about, network.state_dict())
    return path


def channels(host: ofx_host.Host, instance: str = "it") -> list[str]:
    return [str(host.do("get", instance=instance, param=name)["value"]) for name in ("channelsIn", "channelsOut")]


def test_choosing_a_model_waits_for_no_worker(tmp_path: Path) -> None:
    nobody = {"COPYCAT_PYTHON": "/bin/false"}  # a worker that was started would fail
    with ofx_host.Host(tmp_path, nobody) as host:
        host.create("Inference")
        path = model(tmp_path / "run_100.cat", ("R", "G", "B", "depth.Z"), ("R", "A"))

        def choose(value: Path | str) -> int:
            return int(host.do("change", param="modelFile", value=str(value))["status"])

        assert choose(path) == 0
        assert channels(host) == ["R, G, B, depth.Z", "R, A"]
        for damaged, words in (
            (b"", "not a .cat of copycat"),
            (b"PK\x03\x04 code/__torch__", "not a .cat of copycat"),
            (path.read_bytes()[:200], "not a .cat of copycat"),
            (b"\xff" * 4000, "not a .cat of copycat"),
        ):
            wrong = tmp_path / "wrong.cat"
            wrong.write_bytes(damaged)
            assert choose(wrong) != 0
            assert f"{wrong}: this is {words}" in host.last_message()
            assert channels(host) == ["", ""]
        assert choose(path) == 0
        assert choose("/nowhere/model.cat") != 0
        assert "/nowhere/model.cat: the Model File cannot be read: No such file" in host.last_message()
        # Only the worker knows what these stand for; the first render says it.
        for stands_for_another in (tmp_path, tmp_path / "run_50.cat", "~nobody/model.cat"):
            assert choose(path) == 0
            assert choose(stands_for_another) == 0
            assert channels(host) == ["", ""]
        assert choose("") == 0
        assert host.do("change", param="checkpoint", value=7)["status"] == 0
        os.mkfifo(tmp_path / "pipe.cat")
        assert choose(tmp_path / "pipe.cat") != 0
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text()
        assert children == ""


def test_a_loaded_project_shows_the_channels_at_once(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, {"COPYCAT_PYTHON": "/bin/false"}) as host:
        host.create("Inference", instance="saved")
        path = model(tmp_path / "run_100.cat", ("R", "G", "B", "depth.Z"), ("R", "A"))
        host.do("change", instance="saved", param="modelFile", value=str(path))

        for broken in (None, b"", b"PK\x03\x04 code/__torch__"):
            if broken is not None:
                path.write_bytes(broken)
            assert host.do("create", plugin="Inference", context="Filter", project="saved")["status"] == 0
            assert channels(host) == ["R, G, B, depth.Z", "R, A"]
            assert host.do("change", param="checkpoint", value=7)["status"] == 0
            assert channels(host) == ["R, G, B, depth.Z", "R, A"]
            host.do("destroy")
        host.do("create", plugin="Inference", context="Filter", project="saved")
        assert host.do("change", param="modelFile", value=str(path))["status"] != 0
        assert channels(host) == ["", ""]
        assert [message["type"] for message in host.messages()] == ["OfxMessageError"]
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text()
        assert children == ""


def test_what_the_file_does_not_say_the_first_render_does(tmp_path: Path) -> None:
    model(make(tmp_path, "run", 3).checkpoint(3), ("R", "G", "B"), ("R", "G", "B"))
    with ofx_host.Host(tmp_path, REAL) as host:
        host.create("Inference", useGPUIfAvailable=False)
        host.do("change", param="modelFile", value=str(tmp_path))
        assert channels(host) == ["", ""]
        source = ofx_host.pixels(height=40, width=56)
        host.clip("Source", source)
        host.render(source)
        host.do("change", param="tileOverlap", value=0)
        assert channels(host) == ["R, G, B", "R, G, B"]
        # Another training since the project was saved.
        model(make(tmp_path, "later", 3).checkpoint(3), ("R", "G", "B"), ("A",))
        with Display.edit(tmp_path) as display:
            display.active = "later"
        host.do("create", plugin="Inference", context="Filter", instance="loaded", project="it")
        assert channels(host, "loaded") == ["R, G, B", "R, G, B"]
        host.clip("Source", source, instance="loaded")
        host.render(source, instance="loaded")
        host.do("change", instance="loaded", param="tileOverlap", value=16)
        assert channels(host, "loaded") == ["R, G, B", "A"]
