"""Small shots made with OpenImageIO, a tiny network, and the command line inside the process and beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from copycat import ops
from copycat.cli.app import main
from copycat.model import cat
from copycat.model.network import ROWS
from copycat.runs import Run, SummaryReader, find_run
from copycat.sequence import write_frame
from copycat.training import start
from copycat.training.start import Result
from hypothesis import settings

if TYPE_CHECKING:
    from painting import Painter

settings.register_profile("copycat", deadline=None)  # a busy machine fails no test
settings.load_profile("copycat")

TINY = Path(__file__).with_name("tiny_copycat.py")
FRAMES = (1001, 1002, 1003, 1004)


def picture(frame: int, size: tuple[int, int] = (64, 64), channels: int = 3) -> np.ndarray:
    """A soft pattern with a little grain, [H, W, C] float32 in 0..1, other for each frame; size is width, height."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    phase = np.arange(1, channels + 1, dtype=np.float32)
    waves = np.sin(x[..., None] * 0.11 * phase + frame) * np.cos(y[..., None] * 0.07 * phase)
    grain = np.random.default_rng(frame).normal(0, 0.02, (height, width, channels))
    return np.clip(0.5 + 0.4 * waves + grain, 0, 1).astype(np.float32)


def graded(image: np.ndarray) -> np.ndarray:
    """The effect that is learned: darker, and warmer."""
    return (image * np.array([0.8, 0.6, 0.5], np.float32)).astype(np.float32)


@dataclass(frozen=True)
class Shot:
    """The patterns of a shot on disk."""

    folder: Path
    input: str
    ground_truth: str


def write_shot(
    folder: Path,
    frames: tuple[int, ...] = FRAMES,
    size: tuple[int, int] = (64, 64),
    extension: str = "exr",
    effect: Callable[[np.ndarray], np.ndarray] = graded,
) -> Shot:
    """Writes plate.#### and clean.#### into a folder."""
    for frame in frames:
        image = picture(frame, size)
        write_frame(folder / f"plate.{frame}.{extension}", image, ("R", "G", "B"))
        write_frame(folder / f"clean.{frame}.{extension}", effect(image), ("R", "G", "B"))
    return Shot(folder, str(folder / f"plate.%04d.{extension}"), str(folder / f"clean.%04d.{extension}"))


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    """Four pairs of 64x64 half EXR."""
    return write_shot(tmp_path / "shot")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Leaves the other cores to others: threads that wait for each other on a busy machine take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Makes the networks tiny."""
    import tiny_copycat

    for size, row in ROWS.items():
        monkeypatch.setitem(ROWS, size, row)
    tiny_copycat.shrink()


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    """A painter of trainings that look for changes after each step."""
    from copycat.training import frame_watch
    from copycat.training.frame_watch import FrameWatch
    from painting import Painter

    monkeypatch.setattr("copycat.training.loop._READ_BACK_SECONDS", 0.0)
    monkeypatch.setattr(frame_watch, "LOOK_SECONDS", 0.03)
    made = Painter()
    start = FrameWatch.start

    def remember(watch: FrameWatch, *arguments: Any) -> None:
        made.watches.append(watch)
        start(watch, *arguments)

    monkeypatch.setattr(FrameWatch, "start", remember)
    return made


Train = Callable[..., Result]


@pytest.fixture
def train(tmp_path: Path, shot: Shot, tiny: None) -> Train:
    """Trains a tiny model on the shot into ``tmp_path/runs``; knobs by keyword."""

    def call(input: str = "", ground_truth: str = "", **knobs: Any) -> Result:
        given = {"data_directory": str(tmp_path / "runs"), "model_size": "Small", "crop_size": 32, "epochs": 6} | knobs
        if not input and not knobs.get("pairs"):
            input, ground_truth = shot.input, shot.ground_truth
        return start.train(input, ground_truth, **given)

    return call


def random_model(
    path: Path,
    channels_in: tuple[str, ...] = ("R", "G", "B"),
    channels_out: tuple[str, ...] = ("R", "G", "B"),
    size: str = "Small",
    log_scale: float = 0.0,
) -> Path:
    """Writes a .cat whose weights are all random, so that nothing in the network hides behind a zero."""
    residual = tuple(channels_in.index(c) if c in channels_in else -1 for c in channels_out)

    def encoding(count: int) -> ops.Encoding:
        return ops.Encoding((log_scale,) * count, (0.4,) * count, (0.3,) * count)

    header = cat.ModelHeader(
        row=ROWS[size],
        channels_in=channels_in,
        channels_out=channels_out,
        residual=residual,
        input_encoding=encoding(len(channels_in)),
        target_encoding=encoding(len(channels_out)),
        step=100,
        loss=0.5,
        run="random",
    )
    network = header.network()
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.3 / fan**0.5)
    cat.save(path, header, network.state_dict())
    return path


Outcome = tuple[int, str, str]


@pytest.fixture
def copycat(capsys: pytest.CaptureFixture[str], tiny: None) -> Callable[..., Outcome]:
    """Runs a command line in this process: exit status, standard output, standard error."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status: object = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return int(str(status or 0)), out, err

    return call


def environment() -> dict[str, str]:
    """One thread for each process, so that tests neither depend on the number of cores nor take them all."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start_copycat(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Starts the tiny command line as a process of its own."""
    command = [sys.executable, str(TINY), *map(str, arguments)]
    usual = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **(usual | options))


def run_copycat(*arguments: object, **options: Any) -> Outcome:
    """Runs the tiny command line as a process of its own to its end."""
    with start_copycat(*arguments, **options) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def summary(run: Run) -> list[dict[str, Any]]:
    """The records of a run's summary so far; a line that is being written is none yet."""
    return SummaryReader(run.summary).poll()[0]


def losses(run: Run) -> list[float]:
    """The loss of each step."""
    return [record["loss"] for record in summary(run) if "loss" in record]


def only_run(directory: Path) -> Run:
    """The newest run of a directory."""
    return find_run(directory)
