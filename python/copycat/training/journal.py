"""The output of a training in words and numbers: reports to its caller, lines to the run's ``.summary``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copycat.runs import SummaryWriter
from copycat.training.control import Control
from copycat.training.report import Progress, Report
from copycat.training.standing import Standing


class Journal:
    """The reports, warnings and summary lines of one training; for the training's thread alone."""

    def __init__(self, summary: SummaryWriter, progress: Progress | None, standing: Standing, control: Control) -> None:
        """Says nothing yet.

        Args:
            summary: where lines go.
            progress: called with reports, if there is one.
            standing: where the training stands.
            control: names the run.
        """
        self._summary = summary
        self._progress = progress
        self._standing = standing
        self._control = control
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self._decisions = ""
        self._has_header = False

    def warn(self, sentence: str) -> None:
        """Warns once: in the header of the ``.summary``, or in a line of its own when the header is written already."""
        if sentence in self._warnings:
            return
        self._warnings.append(sentence)
        if self._has_header:
            self.write({"step": self._standing.step, "warning": sentence})
        self.report(f"warning: {sentence}")

    def note(self, sentence: str) -> None:
        """Adds a sentence that needs no action to the header, once, before the header is written."""
        if sentence not in self._notes:
            self._notes.append(sentence)
            self.report(sentence)

    def decide(self, sentence: str) -> None:
        """Adds what Auto has decided to the next header, in place of what it decided before."""
        if sentence and sentence != self._decisions:
            self.report(sentence)
        self._decisions = sentence

    def report(self, message: str = "", rate: float = 0.0, left: float | None = None, *, counts: bool = False) -> None:
        """Calls the caller's progress function.

        Args:
            message: a sentence for the user.
            rate: steps per second.
            left: seconds left, None where unknown.
            counts: see `Report`.
        """
        if self._progress is None:
            return
        now, progress = self._standing, self._standing.progress
        level = now.level or now.schedule.level(progress)
        self._progress(
            Report(
                run=self._control.run.name,
                step=now.step,
                total_steps=now.total_steps,
                loss=now.loss,
                level=level,
                steps_per_second=rate,
                seconds_left=left,
                fraction=min(1, progress),
                message=message,
                counts=counts,
            )
        )

    def write(self, *lines: Mapping[str, Any]) -> None:
        """Appends lines to the ``.summary``, all or none."""
        self._summary.append(*lines)

    def write_header(self, facts: Mapping[str, Any]) -> None:
        """Appends a header with the facts, the plan, and the warnings and notes so far."""
        now = self._standing
        plan = {"totalSteps": now.total_steps, "seconds": now.schedule.seconds, "stages": now.schedule.stages()}
        notes = [*self._notes, *filter(None, [self._decisions])]
        self.write({"run": {**plan, **facts, "step": now.step, "warnings": self._warnings, "notes": notes}})
        self._has_header = True

    def write_end(self, ended: str, reason: str) -> None:
        """Appends the last line, which says how the training ended."""
        now = self._standing
        self.write({"end": ended, "reason": reason, "step": now.step, "time": round(now.clock.elapsed, 3)})
