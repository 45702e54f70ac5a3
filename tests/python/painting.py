"""A painter for tests of a data set that lives: acts between two steps of a training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from conftest import Shot, graded, summary, write_shot
from copycat.runs import Run
from copycat.training.frame_watch import FrameWatch

PATIENCE = 240.0  # seconds; a busy machine fails no test


def paint(shot: Shot, *frames: int, effect: Callable[[np.ndarray], np.ndarray] = graded, size: Any = (64, 64)) -> None:
    write_shot(shot.folder, frames, size=size, effect=effect)


def erase(shot: Shot, frame: int) -> None:
    (shot.folder / f"clean.{frame}.exr").unlink()


def changes(run: Run) -> list[dict[str, Any]]:
    return [record for record in summary(run) if "frames" in record]


def names(*frames: int) -> list[str]:
    return [f"clean.{frame}.exr" for frame in frames]


@dataclass
class Painter:
    """Acts between steps of a training, each time waiting until the change is ready to be taken at the next look.

    Where a training looks after each step, the step of a change is thus the same in every run.
    """

    acts: dict[int, Callable[[], object]] = field(default_factory=dict)
    waits: bool = True
    watches: list[FrameWatch] = field(default_factory=list)

    def __call__(self, facts: Any) -> None:
        if act := self.acts.pop(facts["frame"], None):
            act()
            if self.waits:
                until(lambda: self.watches[-1]._ready)


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)
