"""`kill -9` around a change of the data set: real processes, whole files, and the steps of a training that lived on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY, Shot, Train, environment, losses, summary
from copycat.model import cat
from copycat.runs import Run, find_run
from copycat.training import checkpoint
from painting import PATIENCE, Painter, changes, erase, names, paint, until

STEPS = 40
KNOBS = ("--model-size", "Small", "--crop-size", 32, "--epochs", STEPS, "--image-interval", 1000)
SLOW = """
import os, signal, sys, time
import tiny_copycat
from copycat.cli.app import main
from copycat.runs import SummaryWriter
from copycat.training import frame_watch
from copycat.training.loop import Trainer

frame_watch.LOOK_SECONDS = 0.05
call, left, after = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1) == "after"
owner = SummaryWriter if call == "append" else os
record, learn = Trainer._record, Trainer._make_step

def killing(*given, **named):
    global left
    left -= 1
    if left == 0 and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*given, **named)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

def recorded(*given):
    global real
    if call == "none":
        return record(*given)
    real = getattr(owner, call)
    setattr(owner, call, killing)
    record(*given)
    setattr(owner, call, real)

def slowly(trainer):
    time.sleep(0.08)
    learn(trainer)

Trainer._record, Trainer._make_step = recorded, slowly
tiny_copycat.shrink()
main()
"""


@pytest.fixture
def killer(tmp_path: Path) -> Path:
    """A command line that makes ten steps a second and dies at a chosen system call while it records a change."""
    path = tmp_path / "killer.py"
    path.write_text(SLOW)
    return path


def start(killer: Path, call: str, count: int, when: str, *command: object) -> subprocess.Popen[str]:
    words = [sys.executable, killer, call, count, when, *command]
    variables = environment() | {"PYTHONPATH": str(TINY.parent)}
    return subprocess.Popen([*map(str, words)], env=variables, text=True, stderr=subprocess.PIPE)


def command(shot: Shot, directory: Path) -> list[object]:
    return ["train", shot.input, shot.ground_truth, "--data-directory", directory, "--checkpoint-interval", 4, *KNOBS]


def lines(directory: Path) -> int:
    """The losses in the summary so far."""
    found = list(directory.glob("*.summary"))
    return len(losses(find_run(directory))) if found and found[0].stat().st_size else 0


def assert_lived_on(train: Train, shot: Shot, painter: Painter, run: Run, frame: int) -> None:
    """The run is what a training makes that takes the frame in at the same step and is never killed."""
    (change,) = changes(run)
    assert change["frames"] == {"added": names(frame), "changed": [], "removed": [], "pairs": 5}
    step = change["step"]
    assert 0 < step < STEPS
    assert [line["step"] for line in summary(run) if "loss" in line] == list(range(1, STEPS + 1))
    erase(shot, frame)
    painter.acts = {step - 1: lambda: paint(shot, frame)}
    alone = train(epochs=STEPS, image_interval=1000, checkpoint_interval=1000, after_frame_render=painter).run
    assert [line["step"] for line in changes(alone)] == [step]
    ours, theirs = (checkpoint.load(one.resume_state) for one in (run, alone))
    for name in checkpoint.VECTORS:
        assert torch.equal(ours.vectors[name], theirs.vectors[name]), name
    assert (ours.fingerprints, ours.position.recent) == (theirs.fingerprints, theirs.position.recent)
    assert losses(run) == losses(alone)
    for _, path in run.checkpoints():
        cat.load(path)


SERIES = [("before", "none", 0, "")]
SERIES += [
    ("during", call, count, when)
    for call in ("open", "fsync", "link", "replace", "unlink", "append")
    for count in (1, 2, 3)
    for when in ("before", "after")
]
SERIES += [("after", "none", 0, f"{seconds} s") for seconds in (0, 0.3, 0.6, 0.9)]


@pytest.mark.long
@pytest.mark.parametrize(("moment", "call", "count", "when"), SERIES)
def test_killed_around_a_change_it_goes_on_to_the_bit(
    moment: str,
    call: str,
    count: int,
    when: str,
    train: Train,
    shot: Shot,
    painter: Painter,
    tmp_path: Path,
    killer: Path,
) -> None:
    paint(shot, 1005)
    erase(shot, 1005)
    directory = tmp_path / "killed"
    process = start(killer, call, count, when, *command(shot, directory))
    with process:
        until(lambda: lines(directory) >= 6)
        paint(shot, 1005)
        if moment == "after":
            until(lambda: changes(find_run(directory)))
            time.sleep(float(when.split()[0]))
        if moment != "during":
            process.kill()
        process.wait(PATIENCE)
        assert process.stderr
        if process.returncode == 0:
            pytest.skip(f"recording a change calls os.{call} fewer than {count} times")
        assert process.returncode == -signal.SIGKILL, process.stderr.read()
    run = find_run(directory)
    if moment == "before":
        assert changes(run) == []
    with start(killer, "none", 0, "before", "resume", directory) as process:
        assert process.wait(PATIENCE) == 0
    assert_lived_on(train, shot, painter, run, 1005)
