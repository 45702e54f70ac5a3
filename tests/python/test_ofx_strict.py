"""Hosts that are stricter than others, or that do what others do not: each still gets a right answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest
from copycat import runs
from ofx_host import inverted, pixels, worker_of

REAL = {"COPYCAT_PYTHON": sys.executable}

# What a host may not know of, by who is to know it.
DESCRIBED = [
    "OfxPropShortLabel",
    "OfxPropLongLabel",
    "OfxPropVersion",
    "OfxPropVersionLabel",
    "OfxPropPluginDescription",
    "OfxImageEffectPluginPropGrouping",
    "OfxImageEffectPluginPropFieldRenderTwiceAlways",
    "OfxImageEffectPropMultipleClipDepths",
    "OfxImageEffectPropSupportsMultipleClipPARs",
    "OfxParamPropScriptName",
    "OfxParamPropCanUndo",
    "OfxParamPropPersistant",
    "OfxParamPropDisplayMin",
    "OfxParamPropDisplayMax",
    "OfxParamPropStringFilePathExists",
    "OfxPluginPropParamPageOrder",
]
ASKED = [
    "OfxImageClipPropConnected",
    "OfxImageEffectPropRenderWindow",
    "OfxImageEffectPropRenderScale",
    "OfxImageEffectPropFieldToRender",
    "OfxImagePropRowBytes",
    "OfxPropName",
]


@pytest.fixture
def python(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "stand-in.cat").write_bytes(b"a model of one line")
    return {"COPYCAT_PYTHON": str(ofx_host.stand_in(tmp_path))}


def ready(host: ofx_host.Host, **layout: Any) -> np.ndarray:
    """Makes an Inference instance with a source and the stand-in model."""
    assert host.create("Inference", modelFile=str(host.folder / "stand-in.cat")) == 0
    source = pixels()
    host.clip("Source", source, **layout)
    return source


def test_properties_that_a_host_does_not_know(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python, unknown=[*DESCRIBED, *ASKED]) as host:
        source = ready(host)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        for context in ("General", "Filter"):
            about = {"plugin": "CopyCat", "context": context, "instance": context}
            assert host.do("create", **about, context_unsaid=True)["status"] == 0
            clip = "Input" if context == "General" else "Source"
            host.clip(clip, source, instance=context)
            np.testing.assert_array_equal(host.render(source, instance=context), source)


def test_a_host_that_ends_itself_over_a_second_version_is_not_asked(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python, name="openfx-driver", pages=0) as host:
        source = ready(host)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        host.do("set", param="modelFile", value="/nowhere/model.cat")
        host.render(source, expect=1)
        assert [m["kind"] for m in host.messages()] == ["message"]


@pytest.mark.parametrize("context", ["Generator", "Transition", "Paint", "Retimer"])
def test_contexts_that_were_never_offered_are_refused(tmp_path: Path, context: str) -> None:
    with ofx_host.Host(tmp_path) as host:
        for plugin in ("CopyCat", "Inference"):
            answer = host.do("describe", plugin=plugin, context=context)
            assert answer["status"] == 5
            assert answer["clips"] == {}


def test_a_host_that_does_not_keep_the_instance_gets_a_message(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, unknown=["OfxPropInstanceData"]) as host:
        assert host.create("Inference") == 1
        assert host.do("ask", action="Render")["status"] == 9


def test_a_host_that_draws_while_it_takes_a_message(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, draws_at_once=True) as host:
        host.create("Inference")
        assert host.do("ask", action="IsIdentity")["status"] == 0
        assert "Model File is empty" in host.last_message()


def test_a_picture_without_end_is_not_asked_for_whole(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python) as host:
        endless = [-(2**31), -(2**31), 2**31 - 1, 2**31 - 1]
        source = ready(host, rod=endless)
        for action in ("GetRegionOfDefinition", "GetRegionsOfInterest"):
            answer = host.do("ask", action=action)
            assert answer["status"] == 14
            assert answer["out"] == {}
        np.testing.assert_array_equal(host.render(source), inverted(source))


def test_an_aborted_host_may_keep_its_pictures(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python) as host:
        source = ready(host)
        assert host.do("render", output=host.output(source), no_output=True)["status"] == 1
        assert "gave no picture" in host.last_message()
        host.render(source)
        host.messages()
        host.do("abort", after=0)
        assert host.do("render", output=host.output(source), no_output=True)["status"] == 0
        assert host.messages() == []


def test_purging_gives_memory_back(tmp_path: Path, python: dict[str, str]) -> None:
    loads = tmp_path / "loads"
    with ofx_host.Host(tmp_path, {**python, "COPYCAT_STAND_IN_LOADS": str(loads)}) as host:
        host.create("Inference")
        assert host.do("ask", action="PurgeCaches")["status"] == 0  # nothing is there yet, and nothing is started
        source = ready(host)

        def pieces(pid: int) -> int:
            return Path(f"/proc/{pid}/maps").read_text().count("memfd:copycat ")

        for reads in (1, 2):
            for _ in range(3):
                np.testing.assert_array_equal(host.render(source), inverted(source))
            assert len(loads.read_text().splitlines()) == reads
            assert pieces(host.process.pid) == 1
            assert host.do("ask", action="PurgeCaches")["status"] == 0
            assert pieces(host.process.pid) == 0
        host.render(source)
        assert pieces(worker_of(host)) == 1  # the dropped ones are gone there too


def shot(directory: Path, host: ofx_host.Host, black: bool = False, **knobs: Any) -> None:
    """A CopyCat instance with two pairs."""
    before = {frame: np.random.default_rng(int(frame)).random((40, 56, 4), dtype=np.float32) for frame in (1.0, 2.0)}
    after = {frame: values * (0 if black else 0.5) for frame, values in before.items()}
    settings = {"modelSize": "Small", "cropSize": "32", "epochs": 2, "useGPUIfAvailable": False, **knobs}
    assert host.create("CopyCat", "General", dataDirectory=str(directory), **settings) == 0
    host.clip("Input", before)
    host.clip("GroundTruth", after)


@pytest.mark.parametrize("reason", ["OfxChangePluginEdited", "OfxChangeUserEdited"])
def test_the_effect_s_own_changes_are_nobody_s_wish(tmp_path: Path, reason: str) -> None:
    with ofx_host.Host(tmp_path, REAL, echo=reason) as host:
        host.create("CopyCat")
        for frame in (11.9999, 30):
            assert host.do("change", param="addTrainingFrame", time=frame)["status"] == 0
        assert host.do("get", param="trainingFrames")["value"] == "12,30"
        assert host.messages() == []


def test_pressing_start_again_while_frames_are_fetched_starts_one_run(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL, presses_twice=True) as host:
        shot(tmp_path / "data", host)
        assert host.do("change", param="startTraining")["status"] == 0, host.messages()
        assert len(runs.find_runs(tmp_path / "data")) <= 1
        assert len(list((tmp_path / "data").glob("*_input.0001.exr"))) == 1
        host.do("change", param="stopTraining")
        host.messages()


def test_a_host_with_the_first_progress_suite_can_cancel(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL, missing=["progress2"]) as host:
        shot(tmp_path / "data", host)
        answer = host.do("change", param="startTraining", cancel_at=0.4)
        assert answer["status"] == 0
        assert answer["progress"]
        assert list((tmp_path / "data").iterdir()) == []


def test_nobody_is_asked_in_the_background(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL, background=1) as host:
        shot(tmp_path / "data", host, trainingFrames="1-101")
        assert host.do("change", param="startTraining", answer=13)["status"] != 0  # the host would say no
        assert "no picture at frame 3" in host.last_message()
        assert list((tmp_path / "data").iterdir()) == []


def test_a_clip_that_claims_to_be_connected(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL) as host:
        shot(tmp_path / "data", host, black=True)
        assert host.do("change", param="startTraining")["status"] != 0
        assert "Ground Truth is black at every training frame" in host.last_message()
        nothing = [{"time": time, "bounds": [0, 0, 56, 40], "empty": True} for time in (1, 2)]
        host.do("clip", clip="GroundTruth", connected=True, frames=nothing)
        assert host.do("change", param="startTraining")["status"] != 0
        assert "Ground Truth has no picture at frame 1" in host.last_message()
        assert list((tmp_path / "data").iterdir()) == []


def test_the_action_s_scale_counts_where_a_picture_does_not_say(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL, silent_pictures=True) as host:
        shot(tmp_path / "data", host)
        assert host.do("change", param="startTraining", scale=0.5)["status"] != 0
        assert "is a proxy" in host.last_message()
        assert host.do("change", param="startTraining", cancel_at=0.4)["status"] == 0
