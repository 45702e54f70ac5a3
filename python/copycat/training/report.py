"""What a training returns: reports while it goes on, a result at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from copycat.runs import Run


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a progress function is called with, at most a few times a second.

    Attributes:
        run: the run's name.
        step: steps done.
        total_steps: steps planned, None under a time limit.
        loss: of the last step that was read back.
        level: 4, 2 or 1.
        steps_per_second: over the last second or more.
        seconds_left: estimated, None where unknown.
        fraction: share done, 0 to 1.
        message: a sentence for the user; empty if none.
        counts: whether the message is one of many that count frames, so that a log may leave some out.
    """

    run: str
    step: int
    total_steps: int | None = None
    loss: float | None = None
    level: int = 1
    steps_per_second: float = 0.0
    seconds_left: float | None = None
    fraction: float = 0.0
    message: str = ""
    counts: bool = False


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        run: the run whose files rank 0 has written.
        ended: ``finished``, ``stopped`` (on request), ``interrupted`` (Ctrl-C), ``terminated`` (SIGTERM); or ``idle``
            for a process that had no crop to make, as a step has fewer crops than there are processes.
        step: the last step.
        loss: of the last step.
        checkpoint: the newest .cat, None without one.
        rank: this process's rank.
    """

    run: Run
    ended: str
    step: int
    loss: float | None
    checkpoint: Path | None
    rank: int = 0


Progress = Callable[[Report], None]
