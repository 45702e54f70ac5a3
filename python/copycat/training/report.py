"""What a training tells: a report now and then, a result in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from copycat.runs import Run


@dataclass(frozen=True)
class Report:
    """What a progress callback is told, at most a few times a second.

    Attributes:
        run: the run's name.
        step, total_steps: done and planned; total_steps is None under a time limit.
        loss: of the last step that was read back.
        level: 4, 2 or 1.
        steps_per_second: over the last second or more; seconds_left: estimated, None where unknown.
        fraction: share done, 0 to 1.
        message: a sentence for the user, where there is one.
    """

    run: str
    step: int
    total_steps: int | None
    loss: float | None
    level: int
    steps_per_second: float
    seconds_left: float | None
    fraction: float
    message: str = ""


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        run: whose files were written, by rank 0.
        ended: ``finished``, ``stopped`` (on request), ``interrupted`` (Ctrl-C), ``terminated``; or ``idle``, where the
            training has fewer crops in a step than processes and this one had none to make.
        step, loss: the last.
        checkpoint: the newest .cat.
        rank: of this process among those that train together.
    """

    run: Run
    ended: str
    step: int
    loss: float | None
    checkpoint: Path | None
    rank: int = 0


Progress = Callable[[Report], None]
