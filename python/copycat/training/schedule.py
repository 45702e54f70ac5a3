"""The level and the learning rate of each step.

A schedule counts steps (from Epochs) or time (Time Limit); ``progress`` is the share done of either, 0 to 1. The rate
warms up over some steps, holds, and falls linearly to zero over the last third: it limits short runs, so it is held as
long as possible.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from copycat.settings.tables import Settings

WARM_UP_STEPS = 20
WARM_UP_SHARE = 0.05  # a run of a few steps cannot spare twenty
DECAY_SHARE = 1 / 3
LEARNING_RATE = 2e-3
# The progress at which levels 4 and 2 end. Equal thirds leave too little time for full resolution
# (``docs/explanation/benchmarks.md``).
_LEVEL_ENDS = (0.1, 0.3)


@dataclass(frozen=True)
class Schedule:
    """Stages and learning rate of a training.

    Attributes:
        total_steps: Total Steps; with a time limit, unused.
        seconds: the time limit, 0 for none.
        multi_resolution: whether levels 4, 2 and 1 are trained in turn.
        decay_share: the last share of the schedule, in which the rate falls to zero.
        peak: the share of the full rate from which it falls.
    """

    total_steps: int
    seconds: float = 0.0
    multi_resolution: bool = True
    decay_share: float = DECAY_SHARE
    peak: float = 1.0

    def progress(self, step: int, elapsed: float) -> float:
        """The share done after ``step`` steps and ``elapsed`` seconds."""
        return elapsed / self.seconds if self.seconds else step / self.total_steps

    def finished(self, step: int, elapsed: float) -> bool:
        """Whether the training is over."""
        return self.progress(step, elapsed) >= 1

    def level(self, progress: float) -> int:
        """The level (4, 2 or 1) that is trained at this progress."""
        if not self.multi_resolution:
            return 1
        low, middle = (end - 1e-9 for end in _LEVEL_ENDS)
        return 4 if progress < low else 2 if progress < middle else 1

    def learning_rate(self, step: int, progress: float) -> float:
        """The rate of the step that comes after ``step`` steps."""
        warm_up = min(1.0, max((step + 1) / WARM_UP_STEPS, progress / WARM_UP_SHARE))
        return LEARNING_RATE * warm_up * self._decay(progress)

    def _decay(self, progress: float) -> float:
        return self.peak * min(1.0, max(0.0, (1 - progress) / self.decay_share))

    def stages(self) -> list[tuple[int, int | None, int | None]]:
        """(level, first step, last step) of each stage; the steps are None where a time limit decides."""
        levels = (4, 2, 1) if self.multi_resolution else (1,)
        if self.seconds:
            return [(level, None, None) for level in levels]
        ends = [*_LEVEL_ENDS, 1.0] if self.multi_resolution else [1.0]
        bounds = [0, *(math.ceil(self.total_steps * (end - 1e-9)) for end in ends)]
        return [(level, bounds[i] + 1, bounds[i + 1]) for i, level in enumerate(levels)]

    def finishing(self, step: int, elapsed: float) -> Schedule:
        """A schedule that ends soon: a decay from the current rate, at full resolution.

        It takes a quarter more of the steps or the time so far, which loses little against a schedule that had that
        length from the beginning (``docs/explanation/benchmarks.md``).
        """
        progress = self.progress(step, elapsed)
        more_steps, more_seconds = max(100, step // 4), max(10.0, elapsed / 4)
        seconds = elapsed + more_seconds if self.seconds else 0.0
        share = more_seconds / seconds if self.seconds else more_steps / (step + more_steps)
        # A finished run's rate is 0: it starts again from a tenth.
        peak = self._decay(progress) if progress < 1 else self.peak / 10
        return Schedule(step + more_steps, seconds, multi_resolution=False, decay_share=share, peak=peak)

    def check(self) -> None:
        """Raises TypeError or ValueError when a field, as read from a file, has a value that no schedule has."""
        seconds, shares = float(self.seconds), (float(self.decay_share), float(self.peak))
        steps = 1 if seconds > 0 else self.total_steps
        if type(steps) is not int or not 1 <= steps < 1 << 53 or not 0 <= seconds < 1e12:
            raise ValueError(f"the schedule has {self.total_steps!r} steps and {self.seconds!r} seconds")
        if not all(0 < share <= 1 for share in shares) or type(self.multi_resolution) is not bool:
            raise ValueError(f"the schedule is {self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the resume state."""
        return asdict(self)


def planned(settings: Settings, pairs: int) -> Schedule:
    """The schedule that the settings ask for with so many frame pairs."""
    return Schedule(settings.total_steps(pairs), settings.minutes * 60, settings.use_multi_resolution_training)
