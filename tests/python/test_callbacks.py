"""Callbacks: found by name, called in order, and what an exception in one of them does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Shot, random_model, summary
from copycat.inference.render import infer
from copycat.runs import find_run
from copycat.settings.callbacks import CALLBACK_NAMES, CallbackError, Callbacks
from copycat.training.start import Result, resume

Calls = list[tuple[str, int | None]]


def recorder(calls: Calls, fail: str = "", at: int | None = None) -> dict[str, Callable[[Mapping[str, Any]], None]]:
    """The five callbacks; each notes itself with the frame, and one of them fails, at a frame where given."""

    def make(name: str) -> Callable[[Mapping[str, Any]], None]:
        def callback(event: Mapping[str, Any]) -> None:
            calls.append((name, event.get("frame")))
            if name == fail and at in (None, event["frame"]):
                raise ZeroDivisionError("on purpose")

        return callback

    return {name: make(name) for name in CALLBACK_NAMES}


def without_progress(calls: Calls) -> Calls:
    return [call for call in calls if call[0] != "render_progress"]


def test_a_training_calls_them_in_order(train: Callable[..., Result]) -> None:
    calls: Calls = []
    train(epochs=2, **recorder(calls))
    assert without_progress(calls) == [
        ("before_render", 0),
        ("before_frame_render", 1),
        ("after_frame_render", 1),
        ("before_frame_render", 2),
        ("after_frame_render", 2),
        ("after_render", 2),
    ]
    assert ("render_progress", 2) in calls


@pytest.mark.parametrize("name", [name for name in CALLBACK_NAMES if name != "render_progress"])
def test_an_exception_fails_the_training(name: str, train: Callable[..., Result], tmp_path: Path, tiny: None) -> None:
    calls: Calls = []
    with pytest.raises(CallbackError, match=rf"{name} callback .*ZeroDivisionError: on purpose"):
        train(epochs=3, **recorder(calls, fail=name))
    assert without_progress(calls)[-1][0] == name
    assert calls[-1][0] == "render_progress"  # reports the failure
    last = summary(find_run(tmp_path / "runs"))[-1]
    assert last["end"] == "failed"
    assert "on purpose" in last["reason"]


@pytest.mark.parametrize(
    ("name", "at", "saved"),
    [
        ("before_frame_render", 4, 3),
        ("after_frame_render", 4, 4),
        ("render_progress", 6, 6),
        ("after_render", 6, 6),
        ("before_render", 0, 0),
    ],
)
def test_what_was_trained_before_an_exception_is_saved(
    name: str, at: int, saved: int, train: Callable[..., Result], tmp_path: Path
) -> None:
    with pytest.raises(CallbackError):
        train(epochs=6, checkpoint_interval=1000, **recorder([], fail=name, at=at))
    run = find_run(tmp_path / "runs")
    assert [record["step"] for record in summary(run) if "loss" in record] == list(range(1, saved + 1))
    assert [step for step, _ in run.checkpoints()] == ([saved] if saved else [])
    assert run.resume_state.exists() == bool(saved)
    assert resume(tmp_path / "runs").step == 6


def test_after_frame_render_is_not_called_for_an_aborted_frame(train: Callable[..., Result]) -> None:
    calls: Calls = []
    with pytest.raises(CallbackError):
        train(epochs=5, **recorder(calls, fail="before_frame_render", at=3))
    assert ("after_frame_render", 2) in calls
    assert ("after_frame_render", 3) not in calls
    assert "after_render" not in {name for name, _ in calls}


def test_a_render_calls_them_in_order(shot: Shot, tmp_path: Path, tiny: None) -> None:
    calls: Calls = []
    model = random_model(tmp_path / "m.cat")
    infer(model, shot.input, tmp_path / "o.%04d.exr", frames="1001,1003", **recorder(calls))
    assert without_progress(calls) == [
        ("before_render", 1001),
        ("before_frame_render", 1001),
        ("after_frame_render", 1001),
        ("before_frame_render", 1003),
        ("after_frame_render", 1003),
        ("after_render", None),
    ]
    assert [frame for name, frame in calls if name == "render_progress"] == [1001, 1003]


@pytest.mark.parametrize(
    ("name", "written"),
    [("before_render", []), ("before_frame_render", [1001]), ("after_frame_render", [1001, 1002])],
)
def test_an_exception_aborts_the_render_and_keeps_the_frames_before(
    name: str, written: list[int], shot: Shot, tmp_path: Path, tiny: None
) -> None:
    calls: Calls = []
    failing = recorder(calls, fail=name, at=None if name == "before_render" else 1002)
    model = random_model(tmp_path / "m.cat")
    with pytest.raises(CallbackError, match="on purpose"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", **failing)
    assert sorted(path.name for path in tmp_path.glob("o.*")) == [f"o.{frame}.exr" for frame in written]
    assert "after_render" not in {called for called, _ in calls}


def test_an_exception_after_the_last_frame_fails_the_render(shot: Shot, tmp_path: Path, tiny: None) -> None:
    model = random_model(tmp_path / "m.cat")
    with pytest.raises(CallbackError, match="after_render"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", **recorder([], fail="after_render"))
    assert len(list(tmp_path.glob("o.*"))) == 4


def test_a_name_is_looked_up_as_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studio_hooks.py").write_text(
        "class Farm:\n    @staticmethod\n    def report(event): raise OSError(7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    calls = Callbacks.resolve(before_render="studio_hooks:Farm.report", after_render="", render_progress=None)
    with pytest.raises(CallbackError, match=r"before_render callback Farm\.report: OSError: 7"):
        calls.call("before_render")
    calls.call("after_render")
    del sys.modules["studio_hooks"]


@pytest.mark.parametrize("name", ["nowhere_module:f", "math:nothing", "math", "math:pi", ":f", "a b:c"])
def test_a_name_that_cannot_be_found_is_named(name: str) -> None:
    with pytest.raises(CallbackError, match=f"after_render callback '{name}'"):
        Callbacks.resolve(after_render=name)


def test_a_missing_callback_starts_no_run(train: Callable[..., Result], tmp_path: Path) -> None:
    with pytest.raises(CallbackError):
        train(before_render="nowhere_module:f")
    assert not (tmp_path / "runs").exists()
