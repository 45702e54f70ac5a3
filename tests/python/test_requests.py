"""Every request and signal in every phase of a training: it is obeyed, answered, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Shot, losses, summary, write_shot
from copycat.model import cat
from copycat.runs import Request, Run, find_run, send_request, trainer_lives
from copycat.runs.requests import read_answer
from copycat.training import checkpoint, outputs, start
from copycat.training.journal import Journal
from copycat.training.member import Member
from copycat.training.report import Report, Result
from copycat.training.schedule import Schedule

Train = Callable[..., Result]
ASKED: dict[str, Request | signal.Signals] = {
    "stop": Request("stop"),
    "finish": Request("finish"),
    "rename": Request("rename", "renamed"),
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
}
ENDS = {"stop": "stopped", "finish": "finished", "rename": "finished", "SIGINT": "interrupted", "SIGTERM": "terminated"}
EPOCHS = 30


class Asker:
    """Asks once, the moment that a phase is entered."""

    def __init__(self, directory: Path, asked: Request | signal.Signals) -> None:
        self.directory = directory
        self.asked = asked
        self.done = False

    def __call__(self, *_: Any) -> None:
        if self.done:
            return
        self.done = True
        if isinstance(self.asked, Request):
            send_request(find_run(self.directory), self.asked)
        else:
            os.kill(os.getpid(), self.asked)


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, ask: Callable[..., object]) -> None:
    """Lets ``ask`` be called with the arguments of a function before the function is."""
    real = getattr(owner, name)

    def asking(*arguments: Any, **named: Any) -> Any:
        ask(*arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, asking)


def reading(monkeypatch: pytest.MonkeyPatch, ask: Asker) -> None:
    before(monkeypatch, Journal, "report", lambda _, message="", **__: ask() if "pairs: 2 of" in message else None)


def at_level_2(monkeypatch: pytest.MonkeyPatch, ask: Asker) -> None:
    before(monkeypatch, Member, "at_level", lambda _, level: ask() if level == 2 else None)


PHASES: dict[str, Callable[[pytest.MonkeyPatch, Asker], None]] = {
    "reading frames": reading,
    "the first step": lambda patch, ask: before(patch, Member, "learn", ask),
    "the change of a stage": at_level_2,
    "making a contact sheet": lambda patch, ask: before(patch, outputs, "contact_sheet", ask),
    "rendering a preview": lambda patch, ask: before(patch, outputs, "read_frame", ask),
    "validating": lambda patch, ask: before(patch, outputs, "psnr", ask),
    "saving": lambda patch, ask: before(patch, cat, "save", ask),
    "loading a resume": lambda patch, ask: before(patch, checkpoint, "load", ask),
    "finishing": lambda patch, ask: before(patch, Schedule, "finishing", ask),
}


@pytest.fixture
def busy(train: Train, tmp_path: Path) -> Train:
    """A training with a preview, a validation and pictures each few steps."""
    held = write_shot(tmp_path / "held", (2001,), size=(48, 48))
    knobs = {"epochs": EPOCHS, "checkpoint_interval": 5, "image_interval": 4, "preview": held.input}
    more = {"validation_input": held.input, "validation_ground_truth": held.ground_truth}
    return lambda **changed: train(**{**knobs, **more, **changed})


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("phase", PHASES)
def test_a_request_is_obeyed_in_any_phase(
    name: str, phase: str, busy: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    resumed = phase == "loading a resume"
    if resumed:
        busy(epochs=6)
    ask = Asker(runs, ASKED[name])
    PHASES[phase](monkeypatch, ask)
    if resumed:
        result = start.resume(runs, epochs=EPOCHS)
    elif phase == "finishing":
        # Asked for before the first step, so that the training decays from its beginning.
        finish = Asker(runs, Request("finish"))
        before(monkeypatch, Member, "learn", finish)
        result = busy(epochs=1_000_000)
    else:
        result = busy()
    assert ask.done
    assert result.ended == ENDS[name]
    run = Run(runs, "renamed") if name == "rename" else result.run
    assert result.run == run
    assert_whole(run, result, resumed_from=6 if resumed else 0)
    if name == "rename":
        assert [path.name for path in runs.iterdir() if not path.name.startswith(("renamed", "copycat.json"))] == []
        assert read_answer(run, ASKED[name]) == ""  # type: ignore[arg-type]
    if ENDS[name] != "finished" or phase == "finishing":
        assert result.step < 200  # soon
    if name == "finish" and phase != "finishing":
        assert summary(run)[-1]["step"] != EPOCHS
        assert cat.read_header(run.checkpoints()[-1][1]).level == 1


def assert_whole(run: Run, result: Result, resumed_from: int) -> None:
    """The summary is whole, the run's files stand at its last step, no request is left, and it can be resumed."""
    last = summary(run)[-1]
    assert (last["end"], last["step"]) == (result.ended, result.step)
    assert [record["step"] for record in summary(run) if "loss" in record] == list(range(1, result.step + 1))
    assert len(losses(run)) == result.step
    assert not run.file(".request").exists()
    assert not trainer_lives(run)
    if result.step > resumed_from:
        assert run.checkpoints()[-1][0] == result.step
        assert checkpoint.load(run.resume_state).position.step == result.step


@pytest.mark.parametrize("what", ["preview", "validation", "contact sheet"])
def test_what_a_training_can_do_without_is_a_warning(
    what: str, busy: Train, shot: Shot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("it is gone")

    broken = {"preview": "read_frame", "validation": "psnr", "contact sheet": "contact_sheet"}[what]
    monkeypatch.setattr(outputs, broken, fail)
    messages: list[str] = []
    result = busy(epochs=12, progress=lambda report: messages.append(report.message))
    sentence = f"the {what} cannot be made, training goes on without: it is gone"
    assert (result.ended, result.step) == ("finished", 12)
    assert [record["warning"] for record in summary(result.run) if "warning" in record] == [sentence]
    assert messages.count(f"warning: {sentence}") == 1
    assert_whole(result.run, result, 0)


def test_a_file_that_goes_away_while_training_is_a_warning(busy: Train, tmp_path: Path) -> None:
    gone = tmp_path / "held" / "plate.2001.exr"

    def remove(report: Report) -> None:
        if report.step:
            gone.unlink(missing_ok=True)

    result = busy(epochs=12, progress=remove)
    assert result.ended == "finished"
    warnings = [record["warning"] for record in summary(result.run) if "warning" in record]
    assert len(warnings) == 2  # preview and validation
    assert all(str(gone) in warning for warning in warnings)
