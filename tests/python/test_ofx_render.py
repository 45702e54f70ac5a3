"""Renders through plugin and worker with a stand-in model: pictures of every layout, and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest
from ofx_host import inverted, pixels, worker_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders")
    (folder / "stand-in.cat").write_bytes(b"a model of one line")
    (folder / "alpha.cat").write_bytes(b"a model of one line for mattes")
    return folder


@pytest.fixture(scope="module")
def python(folder: Path) -> dict[str, str]:
    return {"COPYCAT_PYTHON": str(ofx_host.stand_in(folder)), "COPYCAT_STAND_IN_LOADS": str(folder / "loads")}


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


@pytest.mark.parametrize("components", ["RGBA", "RGB"])
@pytest.mark.parametrize("depth", list(ofx_host.DTYPES))
def test_depths_and_components(host: ofx_host.Host, depth: str, components: str) -> None:
    source = pixels(depth, components)
    host.clip("Source", source)
    np.testing.assert_array_equal(host.render(source), inverted(source))


@pytest.mark.parametrize("depth", list(ofx_host.DTYPES))
def test_mattes(host: ofx_host.Host, folder: Path, depth: str) -> None:
    host.do("set", param="modelFile", value=str(folder / "alpha.cat"))
    most = {"byte": 255, "short": 65535}.get(depth, 1)
    for components in ("A", "RGBA"):
        source = pixels(depth, components)
        host.clip("Source", source)
        expected = source.copy()
        expected[..., -1] = most - source[..., -1].astype(np.float32)
        np.testing.assert_array_equal(host.render(source), expected)


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
    result = host.render(larger, layout={"at": (-17, 90)})
    expected = np.zeros_like(larger)
    expected[10:30, 10:40] = inverted(source)
    np.testing.assert_array_equal(result, expected)


def test_a_window_changes_nothing_outside_of_it(host: ofx_host.Host) -> None:
    source = pixels()
    host.clip("Source", source)
    output = host.output(source)
    answer = host.do("render", output=output, window=[3, 4, 11, 9])
    assert answer["status"] == 0
    assert answer["touched_outside"] == 0
    result = np.fromfile(output["to"], np.float32).reshape(source.shape)
    np.testing.assert_array_equal(result[11:16, 3:11], inverted(source)[11:16, 3:11])


def test_one_field_leaves_the_other_alone(host: ofx_host.Host) -> None:
    source = pixels()
    host.clip("Source", source)
    result = host.output(source)
    host.do("render", output=result, field="OfxFieldUpper")
    rows = np.fromfile(result["to"], np.float32).reshape(source.shape)[::-1]
    np.testing.assert_array_equal(rows[1::2], inverted(source)[::-1][1::2])
    assert (rows[::2].view(np.uint8) == 0xCD).all()


def test_output_of_another_depth_and_other_components(host: ofx_host.Host) -> None:
    source = pixels("byte", "RGBA")
    host.clip("Source", source)
    result = host.render(np.zeros((20, 30, 3), np.float32))
    np.testing.assert_allclose(result, inverted(source)[..., :3] / 255, atol=1e-6)


def test_a_proxy_is_rendered_at_its_scale(host: ofx_host.Host) -> None:
    source = pixels(height=10, width=15)
    host.clip("Source", source, scale=0.5, rod=[0, 0, 15, 10])
    np.testing.assert_array_equal(host.render(source, scale=0.5), inverted(source))
    posted = host.messages()
    assert [m["type"] for m in posted] == ["OfxMessageMessage"]
    assert "only an approximation" in posted[0]["text"]
    host.clip("Source", source)
    np.testing.assert_array_equal(host.render(source), inverted(source))
    assert [m["text"] for m in host.messages()] == [""]


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
        result = np.fromfile(output["to"], np.float32).reshape(picture.shape)
        np.testing.assert_array_equal(result, inverted(picture))


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


@pytest.mark.parametrize(("model", "components"), [("stand-in", "A"), ("alpha", "RGB")])
def test_channels_that_do_not_fit_are_named(shared: ofx_host.Host, folder: Path, model: str, components: str) -> None:
    shared.create("Inference", instance="unfit", modelFile=str(folder / f"{model}.cat"))
    source = pixels("float", components)
    shared.clip("Source", source, instance="unfit")
    shared.render(source, instance="unfit", expect=1)
    assert "but the clip has " + ", ".join(components) in shared.last_message()
    shared.do("destroy", instance="unfit")


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
    def reads() -> int:
        return (folder / "loads").read_text().splitlines().count(str(folder / "stand-in.cat"))

    source = pixels()
    host.clip("Source", source)
    host.render(source)
    worker, before = worker_of(host), reads()
    for _ in range(3):
        host.render(source)
    assert reads() == before
    (folder / "stand-in.cat").write_bytes(b"another model of one line")
    for _ in range(3):
        host.render(source)
    assert reads() == before + 1
    assert worker_of(host) == worker
