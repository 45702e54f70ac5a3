"""What a host changes in a run that is being trained: its frames, its plan, and outputs that are written at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest
from conftest import picture, summary
from copycat import runs
from copycat.sequence import read_frame, write_frame
from test_ofx_training import REAL, connect, pairs, wait_until_trained

LONG = 1_000_000


def until(happened: Callable[[], Any], host: ofx_host.Host) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, host.messages()
        time.sleep(0.1)


def press(host: ofx_host.Host, button: str, **more: Any) -> bool:
    return bool(host.do("change", param=button, time=12, **more)["status"] == 0)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[ofx_host.Host, runs.Run]]:
    """A host in which a training of frames 11 to 13 goes on."""
    directory = tmp_path / "data"
    with ofx_host.Host(tmp_path, REAL) as host:
        connect(host, directory, epochs=LONG)
        host.do("set", param="trainingFrames", value="11-13")
        for interval in ("checkpointInterval", "imageInterval"):
            host.do("set", param=interval, value=LONG)
        assert press(host, "startTraining"), host.messages()
        until(lambda: runs.find_runs(directory), host)
        run = runs.find_run(directory)
        until(lambda: any("loss" in line for line in summary(run)), host)
        yield host, run
        if runs.trainer_lives(run):
            assert press(host, "stopTraining"), host.messages()
            wait_until_trained(directory)


def test_update_training_frames_hands_over_what_changes(training: tuple[ofx_host.Host, runs.Run]) -> None:
    host, run = training

    def changes() -> list[dict[str, Any]]:
        return [line["frames"] for line in summary(run) if "frames" in line]

    assert press(host, "updateTrainingFrames"), host.messages()
    assert "the training frames are as before" in host.last_message()

    before, after = pairs()
    after[12.0] = after[12.0] / 2
    host.clip("Input", before)
    host.clip("GroundTruth", after)
    host.do("set", param="trainingFrames", value="12-14")
    assert press(host, "updateTrainingFrames"), host.messages()
    assert "1 new, 1 changed and 1 removed training frames are handed over" in host.last_message()
    until(lambda: changes() and changes()[-1]["removed"], host)

    def all_of(kind: str) -> list[str]:
        return [name for change in changes() for name in change[kind]]

    truth = f"{run.name}_groundTruth.00{{}}.exr"
    assert all_of("added") == [truth.format(14)]
    assert all_of("changed") == [truth.format(12)]
    assert all_of("removed") == [truth.format(11)]
    assert changes()[-1]["pairs"] == 3
    assert not list(run.directory.glob(".update-*"))


def test_an_update_that_is_cancelled_leaves_the_run_as_it_is(training: tuple[ofx_host.Host, runs.Run]) -> None:
    host, run = training
    frames = {path: path.read_bytes() for path in run.directory.glob("*_input.*.exr")}
    host.do("set", param="trainingFrames", value="11-15")
    press(host, "updateTrainingFrames", cancel_at=0.3)
    assert {path: path.read_bytes() for path in run.directory.glob("*_input.*.exr")} == frames
    assert not list(run.directory.glob(".update-*"))
    assert runs.trainer_lives(run)


def test_outputs_and_another_plan_are_asked_for(training: tuple[ofx_host.Host, runs.Run]) -> None:
    host, run = training
    assert press(host, "saveCheckpoint"), host.messages()
    assert "writes a checkpoint" in host.last_message()
    until(run.checkpoints, host)
    assert press(host, "updatePictures"), host.messages()
    until(run.contact_sheets, host)
    assert not run.previews()
    host.clip("Preview", {12.0: pairs()[0][15.0]})
    assert press(host, "updatePictures"), host.messages()
    until(run.previews, host)
    kept = read_frame(run.file("_preview.0012.exr"), ("R", "G", "B")).pixels
    assert np.array_equal(kept, pairs()[0][15.0][..., :3])
    host.do("set", param="epochs", value=1)
    assert not press(host, "changePlan")
    assert "the training is past the end of that plan" in host.last_message()
    host.do("set", param="minutes", value=1000.0)
    assert press(host, "changePlan"), host.messages()
    assert "ends after 1000 minutes" in host.last_message()
    until(lambda: [line["run"]["totalSteps"] for line in summary(run) if "run" in line][-1] is None, host)


def test_a_run_that_was_trained_on_files_takes_in_changes_by_itself(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    run = runs.Run(directory, "files")
    run.summary.write_text("")
    write_frame(tmp_path / "plate.exr", picture(1), ("R", "G", "B"))
    runs.write_provenance(run, {"pairs": [{"input": str(tmp_path / "plate.exr")}], "settings": {}})
    with ofx_host.Host(tmp_path, REAL) as host:
        connect(host, directory)
        assert not press(host, "updateTrainingFrames")
        assert "run files was not started in a host: it trains on files" in host.last_message()
