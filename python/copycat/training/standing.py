"""Where a training stands: steps, seconds, the last loss, the schedule that it follows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from copycat.training.schedule import Schedule


class Clock:
    """Seconds of training, over all sessions. The first session's include the reading of the frames."""

    def __init__(self, before: float = 0.0) -> None:
        """Starts now, ``before`` seconds having passed in earlier sessions."""
        self._before = before
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started


@dataclass
class Standing:
    """Changes as the training goes on; for the training's thread alone.

    Attributes:
        schedule: levels, learning rate and the end.
        step: steps done.
        loss: the last finite loss that was read back, None before the first.
        best_psnr: best validation PSNR in dB, None before the first.
        level: the level that is being trained, None before the first step.
        clock: seconds of training.
    """

    schedule: Schedule
    step: int = 0
    loss: float | None = None
    best_psnr: float | None = None
    level: int | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def progress(self) -> float:
        """The share done, 0 to 1; beyond 1 when a time limit is exceeded."""
        return self.schedule.progress(self.step, self.clock.elapsed)

    @property
    def finished(self) -> bool:
        """Whether the schedule is done."""
        return self.progress >= 1

    @property
    def total_steps(self) -> int | None:
        """Total Steps; None under a time limit."""
        return None if self.schedule.seconds else self.schedule.total_steps
