"""Renders through plugin and worker with a stand-in model: pictures of every layout, trouble of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders")
    (folder / "stand-in.cat").write_bytes(b"a model of one line")
    return folder


@pytest.fixture(scope="module")
def python(folder: Path) -> dict[str, str]:
    return {"COPYCAT_PYTHON": str(ofx_host.stand_in(folder))}


@pytest.fixture(scope="module")
def shared(folder: Path, python: dict[str, str]) -> Iterator[ofx_host.Host]:
    with ofx_host.Host(folder, python) as host:
        yield host


@pytest.fixture
def host(shared: ofx_host.Host, folder: Path) -> Iterator[ofx_host.Host]:
    """An Inference instance with the stand-in model; the host process and its worker are shared."""
    assert shared.create("Inference", modelFile=str(folder / "stand-in.cat")) == 0
    yield shared
    shared.do("destroy")
    assert [m for m in shared.messages() if "Error" in m["type"]] == []


def pixels(depth: str = "float", components: str = "RGBA", height: int = 20, width: int = 30) -> np.ndarray:
    values = np.random.default_rng(7).random((height, width, ofx_host.COMPONENTS[components]))
    if depth == "byte":
        return np.round(values * 255).astype(np.uint8)
    if depth == "short":
        return np.round(values * 65535).astype(np.uint16)
    return values.astype(ofx_host.DTYPES[depth])


def inverted(values: np.ndarray) -> np.ndarray:
    """What the stand-in model makes of a picture; alpha stays."""
    expected = values.copy()
    most = {"u1": 255, "u2": 65535}.get(values.dtype.str[1:], 1)
    expected[..., :3] = most - values[..., :3] if most > 1 else 1 - values[..., :3].astype(np.float32)
    return expected


@pytest.mark.parametrize("components", ["RGBA", "RGB"])
@pytest.mark.parametrize("depth", list(ofx_host.DTYPES))
def test_depths_and_components(host: ofx_host.Host, depth: str, components: str) -> None:
    source = pixels(depth, components)
    host.clip("Source", source)
    np.testing.assert_array_equal(host.render(source), inverted(source))


@pytest.mark.parametrize("layout", [{"padding": 20}, {"upside_down": True}, {"upside_down": True, "padding": 4}])
def test_row_bytes(host: ofx_host.Host, layout: dict[str, Any]) -> None:
    source = pixels()
    host.clip("Source", source, **layout)
    np.testing.assert_array_equal(host.render(source, layout=layout), inverted(source))
    np.testing.assert_array_equal(host.render(source), inverted(source))


def test_bounds_off_the_origin_and_smaller_than_the_region(host: ofx_host.Host) -> None:
    source = pixels()
    host.clip("Source", source, at=(-7, 100), rod=[-50, 0, 400, 300])
    np.testing.assert_array_equal(host.render(source, layout={"at": (-7, 100)}), inverted(source))
    larger = np.zeros((40, 50, 4), np.float32)
    made = host.render(larger, layout={"at": (-17, 90)})
    expected = np.zeros_like(larger)
    expected[10:30, 10:40] = inverted(source)
    np.testing.assert_array_equal(made, expected)


def test_a_window_changes_nothing_outside_of_it(host: ofx_host.Host) -> None:
    source = pixels()
    host.clip("Source", source)
    output = host.output(source)
    answer = host.do("render", output=output, window=[3, 4, 11, 9])
    assert answer["status"] == 0
    assert answer["touched_outside"] == 0
    made = np.fromfile(output["to"], np.float32).reshape(source.shape)
    np.testing.assert_array_equal(made[11:16, 3:11], inverted(source)[11:16, 3:11])


def test_one_field_leaves_the_other_alone(host: ofx_host.Host) -> None:
    source = pixels()
    host.clip("Source", source)
    made = host.output(source)
    host.do("render", output=made, field="OfxFieldUpper")
    rows = np.fromfile(made["to"], np.float32).reshape(source.shape)[::-1]
    np.testing.assert_array_equal(rows[1::2], inverted(source)[::-1][1::2])
    assert (rows[::2].view(np.uint8) == 0xCD).all()


def test_output_of_another_depth_and_other_components(host: ofx_host.Host) -> None:
    source = pixels("byte", "RGBA")
    host.clip("Source", source)
    made = host.render(np.zeros((20, 30, 3), np.float32))
    np.testing.assert_allclose(made, inverted(source)[..., :3] / 255, atol=1e-6)


def test_a_proxy_is_rendered_at_its_scale(host: ofx_host.Host) -> None:
    source = pixels(height=10, width=15)
    host.clip("Source", source, scale=0.5, rod=[0, 0, 15, 10])
    np.testing.assert_array_equal(host.render(source, scale=0.5), inverted(source))


def test_no_picture_is_black(host: ofx_host.Host) -> None:
    like = pixels()
    host.do("clip", clip="Source", connected=True, frames=[{"time": 1, "bounds": [0, 0, 30, 20], "empty": True}])
    np.testing.assert_array_equal(host.render(like), np.zeros_like(like))
    np.testing.assert_array_equal(host.render(like, time=77), np.zeros_like(like))


def test_renders_at_the_same_time_on_one_instance(host: ofx_host.Host) -> None:
    pictures = {float(time): pixels(height=16 + time, width=40 - time) for time in range(12)}
    host.clip("Source", pictures)
    outputs = [host.output(picture) for picture in pictures.values()]
    commands = [{"time": time, "output": output} for time, output in zip(pictures, outputs, strict=True)]
    answers = host.do("render_together", renders=commands)["answers"]
    assert [answer["status"] for answer in answers] == [0] * 12
    for picture, output in zip(pictures.values(), outputs, strict=True):
        made = np.fromfile(output["to"], np.float32).reshape(picture.shape)
        np.testing.assert_array_equal(made, inverted(picture))


def test_actions_that_ask(host: ofx_host.Host) -> None:
    host.clip("Source", pixels(), rod=[-5, -6, 70, 80], at=(0, 0))
    assert host.do("ask", action="IsIdentity")["status"] == 14
    region = host.do("ask", action="GetRegionOfDefinition")
    assert region["out"]["OfxImageEffectPropRegionOfDefinition"] == [-5, -6, 70, 80]
    interest = host.do("ask", action="GetRegionsOfInterest")["out"]
    assert interest["OfxImageClipPropRoI_Source"] == [-5, -6, 70, 80]
    assert host.do("ask", action="GetFramesNeeded", time=9)["out"]["OfxImageClipPropFrameRange_Source"] == [9, 9]


def test_no_model_is_identity_with_a_message(shared: ofx_host.Host) -> None:
    shared.create("Inference", instance="empty")
    source = pixels()
    shared.clip("Source", source, instance="empty")
    np.testing.assert_array_equal(shared.render(source, instance="empty"), source)
    assert shared.do("ask", instance="empty", action="IsIdentity")["out"]["OfxPropName"] == ["Source"]
    texts = [m["text"] for m in shared.messages() if m["kind"] == "persistent"]
    assert texts == [texts[0]]
    assert "Model File is empty" in texts[0]
    shared.do("destroy", instance="empty")


def test_a_missing_model_is_an_error_that_names_it(shared: ofx_host.Host) -> None:
    shared.create("Inference", instance="missing", modelFile="/nowhere/100%s.cat")
    source = pixels()
    shared.clip("Source", source, instance="missing")
    shared.render(source, instance="missing", expect=1)
    assert "/nowhere/100%s.cat" in shared.last_message()
    shared.do("destroy", instance="missing")


def test_channels_that_do_not_fit_are_named(shared: ofx_host.Host, folder: Path) -> None:
    shared.create("Inference", instance="alpha", modelFile=str(folder / "stand-in.cat"))
    source = pixels("float", "A")
    shared.clip("Source", source, instance="alpha")
    shared.render(source, instance="alpha", expect=1)
    assert "R, G, B" in shared.last_message()
    shared.do("destroy", instance="alpha")


def test_an_unknown_depth_is_an_error(shared: ofx_host.Host, folder: Path) -> None:
    shared.create("Inference", instance="strange", modelFile=str(folder / "stand-in.cat"))
    source = pixels()
    strange = {**shared.picture(source), "time": 1, "depth": "strange"}
    del strange["file"]
    shared.do("clip", instance="strange", clip="Source", connected=True, frames=[strange])
    shared.render(source, instance="strange", expect=1)
    assert "OfxBitDepthStrange" in shared.last_message()
    shared.do("destroy", instance="strange")


def test_model_is_read_once_and_again_when_it_changes(host: ofx_host.Host, folder: Path) -> None:
    source = pixels()
    host.clip("Source", source)
    for _ in range(3):
        host.render(source)
    before = worker_of(host)
    (folder / "stand-in.cat").write_bytes(b"another model of one line")
    host.render(source)
    assert worker_of(host) == before


def worker_of(host: ofx_host.Host) -> int:
    """The process id of the host's worker."""
    found = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()
    workers = [int(pid) for pid in found]
    if not workers:  # a render thread may have started it
        for task in Path(f"/proc/{host.process.pid}/task").iterdir():
            workers += [int(pid) for pid in (task / "children").read_text().split()]
    assert len(workers) == 1
    return workers[0]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs after {seconds} s"
        time.sleep(0.05)


def ready(host: ofx_host.Host, folder: Path) -> np.ndarray:
    """Makes an instance with a source and the stand-in model."""
    assert host.create("Inference", modelFile=str(folder / "stand-in.cat")) == 0
    source = pixels()
    host.clip("Source", source)
    return source


def test_a_killed_worker_is_an_error_and_the_next_render_works(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "2"}) as host:
        source = ready(host, folder)
        host.render(source)
        first = worker_of(host)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {first}"])
        host.render(source, expect=1)
        killer.wait()
        assert "worker has died" in host.last_message()
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert worker_of(host) != first
        assert [m["text"] for m in host.messages()] == [""]  # the error is taken off the node


def test_abort_in_the_middle_of_a_render(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "1"}) as host:
        source = ready(host, folder)
        host.render(source)
        host.do("abort", after=5)
        answer = host.do("render", output=host.output(source))
        assert answer["seconds"] < 0.9
        host.do("abort", after=-1)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert all("Error" not in m["type"] for m in host.messages())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("other protocol", "speaks protocol 999"),
        ("no greeting", "did not start: the stand-in does not start"),
        ("death", "the stand-in gave up"),
        ("silence", "silent for 1 seconds"),
    ],
)
def test_a_bad_worker_is_told_to_the_user(folder: Path, python: dict[str, str], how: str, words: str) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN": how, "COPYCAT_SILENCE_SECONDS": "1"}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert words in host.last_message()


def test_no_interpreter(folder: Path) -> None:
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": "/nowhere/python"}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert "/nowhere/python" in host.last_message()
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": ""}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert "copycat ofx install" in host.last_message()


def test_hosts_with_hollow_or_no_message_suites(folder: Path, python: dict[str, str]) -> None:
    for missing in (["persistent"], ["OfxMessageSuite", "OfxProgressSuite", "OfxTimeLineSuite"]):
        with ofx_host.Host(folder, python, missing=missing) as host:
            assert host.create("Inference") == 0
            source = pixels()
            host.clip("Source", source)
            np.testing.assert_array_equal(host.render(source), source)
            told = ["OfxMessageWarning"] if missing == ["persistent"] else []
            assert [message["type"] for message in host.messages()] == told
            host.do("set", param="modelFile", value="/nowhere/model.cat")
            host.render(source, expect=1)
            assert missing != ["persistent"] or "/nowhere/model.cat" in host.last_message()


def test_worker_gets_a_clean_environment_and_no_descriptors(folder: Path, python: dict[str, str]) -> None:
    dirty = {
        "PYTHONPATH": "/nowhere",
        "PYTHONHOME": "/nowhere",
        "LD_LIBRARY_PATH": "/nowhere",
        "VIRTUAL_ENV": "/x",
        "CONDA_PREFIX": "/x",
    }
    with ofx_host.Host(folder, {**python, **dirty}) as host:
        source = ready(host, folder)
        host.render(source)
        worker = worker_of(host)
        names = {entry.partition("=")[0] for entry in Path(f"/proc/{worker}/environ").read_text().split("\0")}
        assert not names & set(dirty)
        assert "COPYCAT_PYTHON" in names
        targets = [os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir() if fd.exists()]
        assert not [target for target in targets if target.endswith(".raw") or target.startswith("pipe:")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_worker_ends_with_its_host(folder: Path, python: dict[str, str], how: signal.Signals) -> None:
    host = ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "0.2"})
    source = ready(host, folder)
    host.render(source)
    worker = worker_of(host)
    shared_before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").exists() else set()
    host.process.send_signal(how)
    host.process.wait()
    wait_until_gone(worker, 5)
    assert not shared_before or set(Path("/dev/shm").iterdir()) <= shared_before


def test_two_hosts_have_a_worker_each(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, python) as one, ofx_host.Host(folder, python) as other:
        for host in (one, other):
            source = ready(host, folder)
            np.testing.assert_array_equal(host.render(source), inverted(source))
        assert worker_of(one) != worker_of(other)


def cycle(host: ofx_host.Host, folder: Path, count: int) -> None:
    source = pixels(height=32, width=48)
    clip = {"clip": "Source", "connected": True, "frames": [{"time": 1, **host.picture(source)}]}
    model = {"param": "modelFile", "value": str(folder / "stand-in.cat")}
    answer = host.do(
        "cycles",
        count=count,
        create={"plugin": "Inference", "context": "Filter"},
        values=[model],
        clips=[clip],
        render={"output": host.output(source)},
    )
    assert answer["status"] == 0


def test_a_thousand_cycles_grow_nothing(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, python) as host:
        cycle(host, folder, 50)
        worker = worker_of(host)

        def measures() -> list[float]:
            own = host.do("measure")
            status = Path(f"/proc/{worker}/status").read_text()
            memory = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
            return [own["kilobytes"], own["descriptors"], float(memory), len(os.listdir(f"/proc/{worker}/fd"))]

        before = measures()
        cycle(host, folder, 1000)
        after = measures()
        assert worker_of(host) == worker
        assert after[1] == before[1]
        assert after[3] == before[3]
        assert after[0] < before[0] + 512, (before, after)  # kilobytes of the host
        assert after[2] < before[2] + 8192, (before, after)  # and of the worker


def test_sanitizers_find_nothing(tmp_path: Path, folder: Path, python: dict[str, str]) -> None:
    host = ofx_host.Host(tmp_path, {**python, "ASAN_OPTIONS": "detect_leaks=1"}, sanitize=True)
    for plugin in ("CopyCat", "Inference"):
        for context in ("General", "Filter"):
            host.do("describe", plugin=plugin, context=context)
    source = ready(host, folder)
    for layout in ({"padding": 20}, {"upside_down": True}, {"at": (-3, 9)}):
        host.clip("Source", source, **layout)
        np.testing.assert_array_equal(host.render(source, layout=layout), inverted(source))
    host.clip("Source", {float(time): source for time in range(8)})
    renders = [{"time": time, "output": host.output(source)} for time in range(8)]
    assert {answer["status"] for answer in host.do("render_together", renders=renders)["answers"]} == {0}
    os.kill(worker_of(host), signal.SIGKILL)
    host.do("render", output=host.output(source))
    host.render(source)
    host.do("destroy")
    cycle(host, folder, 20)
    host.do("misuse", plugin="Inference", action="OfxImageEffectActionRender")
    assert host.close() == 0
