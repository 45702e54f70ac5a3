"""The farm's job template is valid, and a job of it trains, goes on when it is started again, and renders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FRAMES, TINY, Shot, losses
from copycat.cli import openjd
from copycat.runs import find_run

TEMPLATE = Path(__file__).parents[2] / "hosts/openjd/copycat.yaml"


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with the tiny ``copycat``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "copycat"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{TINY}" "$@"\n')
    command.chmod(0o755)
    return folder


def run_openjd(*words: object, path: Path | None = None) -> str:
    """Runs openjd-cli; its output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("openjd")), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_template_is_valid() -> None:
    assert "passes validation checks" in run_openjd("check", TEMPLATE)


def test_a_job_trains_goes_on_and_renders(shot: Shot, tmp_path: Path, bin_folder: Path) -> None:
    runs = tmp_path / "runs and more"
    runs.mkdir()
    output = tmp_path / "result.%04d.exr"
    values = {
        "Input": shot.input,
        "GroundTruth": shot.ground_truth,
        "DataDirectory": runs,
        "RunName": "shot 010",
        "Options": "--model-size Small --crop-size 32 --epochs 5",
        "Output": output,
        "Frames": "1001-1004",
        "FramesPerTask": 2,
    }
    parameters = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
    job = ("run", TEMPLATE, "--verbose", *parameters)
    said = run_openjd(*job, "--step", "Train", path=bin_folder)
    assert "openjd_progress: 100.0" in said
    again = run_openjd(*job, "--step", "Render", "--run-dependencies", path=bin_folder)
    assert "shot 010: finished at step 5" in again
    assert len(losses(find_run(runs, "shot 010"))) == 5
    assert all(Path(str(output) % frame).exists() for frame in FRAMES)
    assert "2 frames written" in again


def test_progress_is_printed_in_the_lines_that_a_session_parses(capsys: pytest.CaptureFixture[str]) -> None:
    openjd.report({"frame": 12, "progress": 0.256, "loss": 0.5, "error": None})
    openjd.report({"frame": 1001, "progress": 1.0, "error": None})
    openjd.report({"error": "no room", "progress": None})
    assert capsys.readouterr().out.splitlines() == [
        "openjd_progress: 25.6",
        "openjd_status: step 12, loss 0.500000",
        "openjd_progress: 100.0",
        "openjd_fail: no room",
    ]
