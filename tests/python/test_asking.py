"""What can be asked of a training while it trains: another plan, a checkpoint, pictures; from Python and a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Shot, Train, start_copycat, summary, write_shot
from copycat.model import cat
from copycat.runs import Run, RunError, ask, find_run, find_runs, read_provenance, trainer_lives
from copycat.training import start
from copycat.training.journal import Journal
from copycat.training.member import Member

RUNS = "runs"


class Asking:
    """Asks from another thread when a training makes a certain step, which waits until the request is there."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.outcomes: list[Run | RunError] = []
        self._asks: dict[int, Callable[[], Run]] = {}
        self._threads: list[threading.Thread] = []
        real = Member.learn

        def learn(member: Member, level: int, step: int, rate: float) -> Any:
            if act := self._asks.pop(step, None):
                self._ask(act)
            return real(member, level, step, rate)

        monkeypatch.setattr(Member, "learn", learn)

    def at(self, step: int, action: Any, **arguments: Any) -> None:
        """``ask`` before the step that comes after ``step`` others."""
        self._asks[step] = lambda: ask(self.directory, action, **arguments)

    def _ask(self, act: Callable[[], Run]) -> None:
        def run() -> None:
            try:
                self.outcomes.append(act())
            except RunError as error:
                self.outcomes.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        request = find_run(self.directory).file(".request")
        while thread.is_alive() and not request.exists():
            thread.join(0.01)

    def finished(self) -> list[Run | RunError]:
        """What came of the requests, in the order of their answers."""
        for thread in self._threads:
            thread.join()
        return self.outcomes


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    # Every step looks for requests, as if each took a second.
    monkeypatch.setattr("copycat.training.loop._READ_BACK_SECONDS", 0.0)
    return Asking(tmp_path / RUNS, monkeypatch)


def headers(run: Run) -> list[dict[str, Any]]:
    return [record["run"] for record in summary(run) if "run" in record]


def test_a_longer_plan_is_followed_to_its_end_and_remembered(train: Train, asking: Asking, tmp_path: Path) -> None:
    asking.at(5, "plan", epochs=40)
    result = train(epochs=20)
    assert asking.finished() == [result.run]
    assert (result.ended, result.step) == ("finished", 40)
    assert [header["totalSteps"] for header in headers(result.run)] == [20, 40]
    assert read_provenance(result.run)["settings"]["epochs"] == 40
    assert cat.read_header(result.run.checkpoint(40)).settings["epochs"] == 40
    rates = [record["lr"] for record in summary(result.run) if "loss" in record]
    assert rates[25] == max(rates)  # the decay of the first plan has not begun


def test_a_shorter_plan_ends_sooner(train: Train, asking: Asking) -> None:
    asking.at(5, "plan", epochs=15)
    assert train(epochs=100_000).step == 15


def test_a_time_limit_takes_the_place_of_epochs_and_back(train: Train, asking: Asking) -> None:
    asking.at(3, "plan", minutes=1000)
    asking.at(6, "plan", epochs=12)
    result = train(epochs=100_000)
    assert result.step == 12
    assert [header["totalSteps"] for header in headers(result.run)] == [100_000, None, 12]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"epochs": 3}, r"past the end of that plan \(step \d+, \d+ seconds\); ask it to finish instead"),
        ({"minutes": 1e-9}, "past the end of that plan"),
        ({"epochs": 0}, r"Epochs \(epochs\) is at least 1"),
        ({"epochs": float("nan")}, r"Epochs \(epochs\) is a"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_and_nothing_changes(
    train: Train, asking: Asking, arguments: dict[str, Any], sentence: str
) -> None:
    asking.at(5, "plan", **arguments)
    result = train(epochs=12)
    (refusal,) = asking.finished()
    with pytest.raises(RunError, match=sentence):
        raise refusal  # type: ignore[misc]
    assert result.step == 12
    assert len(headers(result.run)) == 1


def test_the_live_weights_are_written_when_asked_for(train: Train, asking: Asking) -> None:
    asking.at(3, "weights")
    asking.at(7, "weights")
    result = train(epochs=10)
    assert asking.finished() == [result.run] * 2
    assert cat.read_header(result.run.live).step == 8  # the last written, after the step that it was asked at
    assert [step for step, _ in result.run.checkpoints()] == [10]
    assert result.run.live in result.run.files()


def test_a_checkpoint_and_pictures_are_written_when_asked_for(train: Train, asking: Asking, tmp_path: Path) -> None:
    held = write_shot(tmp_path / "held", (2001,))
    asking.at(3, "checkpoint")
    asking.at(6, "pictures", preview=str(tmp_path / "held" / "plate.2001.exr"))
    run = train(epochs=12, preview="", checkpoint_interval=1000, image_interval=1000).run
    assert asking.finished() == [run, run]
    assert [step for step, _ in run.checkpoints()] in ([4, 12], [5, 12])
    assert len(run.contact_sheets()) == len(run.previews()) == 2
    assert read_provenance(run)["settings"]["preview"] == held.input.replace("%04d", "2001")


def test_a_preview_that_does_not_exist_is_refused(train: Train, asking: Asking) -> None:
    asking.at(3, "pictures", preview="gone.exr")
    run = train(epochs=8).run
    (refusal,) = asking.finished()
    assert "gone.exr" in str(refusal)
    assert run.previews() == []


def test_what_is_asked_while_frames_are_read_is_carried_out_then(
    train: Train, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = Journal.report, []

    def report(journal: Journal, message: str = "", *positional: Any, **named: Any) -> None:
        if "pairs: 2 of" in message and not asked:
            asked.append(message)
            asking._ask(lambda: ask(asking.directory, "plan", epochs=9))
        real(journal, message, *positional, **named)

    monkeypatch.setattr(Journal, "report", report)
    assert train(epochs=30).step == 9
    assert asking.finished() == find_runs(asking.directory)


def test_a_changed_plan_survives_a_stop(train: Train, asking: Asking, tmp_path: Path) -> None:
    asking.at(4, "plan", epochs=16)
    asking.at(8, "stop")
    stopped = train(epochs=100_000)
    assert stopped.ended == "stopped"
    assert start.resume(tmp_path / RUNS).step == 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("plan",), "a plan needs epochs or minutes"),
        (("stop", "--epochs", 3), "stop takes no epochs"),
        (("plan", "--preview", "x.exr"), "plan takes no preview"),
        (
            ("dance",),
            "'dance' cannot be asked of a trainer; it knows stop, finish, checkpoint, pictures, weights, plan",
        ),
        (("checkpoint",), "is not being trained"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    arguments: tuple[object, ...], sentence: str, train: Train, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    train(epochs=1)
    status, _, error = copycat("ask", tmp_path / RUNS, *arguments)
    assert (status, sentence in " ".join(error.split())) == (1, True), error


def test_the_command_line_asks_a_training_of_another_process(shot: Shot, tmp_path: Path) -> None:
    options = ("--data-directory", tmp_path / RUNS, "--model-size", "Small", "--crop-size", "32", "--epochs", "1000000")
    with start_copycat("train", shot.input, shot.ground_truth, *options) as trainer:
        while not (found := (tmp_path / RUNS).is_dir() and find_runs(tmp_path / RUNS)) or not trainer_lives(found[0]):
            assert trainer.poll() is None, trainer.communicate()
        with start_copycat("ask", tmp_path / RUNS, "checkpoint") as asker:
            out, error = asker.communicate(timeout=120)
        assert (asker.returncode, out) == (0, f"{found[0].name}: checkpoint requested\n"), error
        preview = shot.folder / "plate.1002.exr"
        with start_copycat("ask", tmp_path / RUNS, "pictures", "--preview", preview) as asker:
            out, error = asker.communicate(timeout=120)
        assert (asker.returncode, out) == (0, f"{found[0].name}: pictures requested\n"), error
        with start_copycat("ask", tmp_path / RUNS, "pictures", "--preview", shot.folder / "gone.exr") as asker:
            out, error = asker.communicate(timeout=120)
        assert (asker.returncode, "gone.exr" in error) == (1, True), (out, error)
        ask(tmp_path / RUNS, "stop")
        trainer.communicate(timeout=120)
    run = find_run(tmp_path / RUNS)
    assert len(run.checkpoints()) == 2
    assert run.previews()
    assert read_provenance(run)["settings"]["preview"] == str(preview)
