"""The history of a run: its records by kind, and its row of the runs table. Standard library only."""

from __future__ import annotations

import math
import mmap
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from copycat.runs.display import PALETTE, Display
from copycat.runs.files import Run, modified
from copycat.runs.summary import SummaryReader, parse_lines
from copycat.runs.trainer_lock import is_starting, trainer_lives
from copycat.runs.writing import open_regular

COLUMNS = ("step", "loss", "time", "lr", "level")


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A row of the runs table.

    Attributes:
        state: ``starting``, ``training``, ``finished``, ``stopped``, ``failed`` or ``killed`` (no end was written and
            no trainer lives).
        reason: why it failed or stopped, else empty.
        steps, total_steps: done and planned; total_steps is None if a time limit decides.
        seconds: time spent in training; updated: time of the last write (seconds since the epoch).
        loss: of the last step; best_psnr: best validation PSNR in dB.
        colour: ``#rrggbb`` of its curve; shown: whether its curve shows; active: whether it is the active run.
    """

    run: Run
    state: str
    reason: str
    steps: int
    total_steps: int | None
    seconds: float
    updated: float
    loss: float | None
    best_psnr: float | None
    model_size: str
    header: Mapping[str, Any] = field(repr=False)
    colour: str = PALETTE[0]
    shown: bool = True
    active: bool = False


class StepColumns(Sequence[dict[str, float]]):
    """The step records of a run, kept in columns: a million steps take 40 MB instead of a gigabyte.

    As a sequence it yields records with the keys of :data:`COLUMNS`; a missing value, or one that is no number, is NaN.
    """

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in COLUMNS}

    def extend(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds records at the end."""
        for name, column in self._columns.items():
            column.extend([number(record.get(name)) for record in records])

    def column(self, name: str, start: int = 0) -> array[float]:
        """A copy of a column from the given record on."""
        return self._columns[name][start:]

    def __len__(self) -> int:
        return len(self._columns["step"])

    @overload
    def __getitem__(self, index: int) -> dict[str, float]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, float]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, float] | list[dict[str, float]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: column[index] for name, column in self._columns.items()}


def number(value: Any) -> float:
    """A value of a file as a float; NaN if it is no number."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else math.nan


@dataclass
class RunHistory:
    """All records of a run by kind; :meth:`update` reads the added lines.

    Attributes:
        header: the last header, with the warnings since.
        steps: the step records; validations: ``{"step": ..., "psnr": ...}`` records.
        latest: the last value of every key of the step records, also of keys that only some records have.
        end: the last line of a run that ended, else None.
        generation: increases each time the file was replaced.
    """

    run: Run
    header: dict[str, Any] = field(default_factory=dict)
    steps: StepColumns = field(default_factory=StepColumns)
    validations: list[dict[str, Any]] = field(default_factory=list)
    latest: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] | None = None
    generation: int = 0

    def __post_init__(self) -> None:
        self._reader = SummaryReader(self.run.summary)

    def update(self) -> bool:
        """Reads the added lines; True if something changed."""
        changed = False
        for records, replaced in self._reader.blocks():
            if replaced:
                self.header, self.steps, self.validations, self.latest, self.end = {}, StepColumns(), [], {}, None
                self.generation += 1
            self._sort(records)
            changed |= replaced or bool(records)
        return changed

    def read(self, lines: Sequence[bytes]) -> None:
        """Takes whole lines as :meth:`update` reads them from the file."""
        self._sort(parse_lines(lines))

    def _sort(self, records: Iterable[dict[str, Any]]) -> None:
        steps = []
        for record in records:
            if "loss" in record:
                if not math.isnan(number(record.get("step"))):
                    steps.append(record)
                    self.latest.update(record)
            elif "psnr" in record:
                if not math.isnan(number(record.get("step"))):
                    self.validations.append(record)
            elif "end" in record:
                self.end = record
            elif "warning" in record:
                earlier = self.header.get("warnings")
                warnings = [*(earlier if isinstance(earlier, list) else []), str(record["warning"])]
                self.header = {**self.header, "warnings": warnings}
            elif isinstance(record.get("run"), dict):
                self.header, self.end = record["run"], None
        self.steps.extend(steps)

    def info(self, display: Display | None = None) -> RunInfo:
        """The run's row of the table, with its display state from ``copycat.json`` unless that is given."""
        last = self.steps[-1] if self.steps else {}
        if trainer_lives(self.run):
            state, reason = "starting" if is_starting(self.run) else "training", ""
        elif self.end is None:
            state, reason = "killed", "the trainer was killed; resuming continues from its last saved state"
        else:
            how = self.end.get("end", "failed")
            state = how if how in ("finished", "failed") else "stopped"
            reason = str(self.end.get("reason") or "")
        psnrs = [psnr for v in self.validations if not math.isnan(psnr := number(v["psnr"]))]
        total = number(self.header.get("totalSteps"))
        seconds, loss = last.get("time", math.nan), last.get("loss", math.nan)
        display = display or Display.read(self.run.directory)
        return RunInfo(
            run=self.run,
            state=state,
            reason=reason,
            steps=int(last.get("step", 0)),
            total_steps=None if math.isnan(total) else int(total),
            seconds=0.0 if math.isnan(seconds) else seconds,
            updated=modified(self.run.summary),
            loss=None if math.isnan(loss) else loss,
            best_psnr=max(psnrs, default=None),
            model_size=str(self.header.get("modelSize", "")),
            header=self.header,
            colour=display.colour(self.run.name),
            shown=display.shown(self.run.name),
            active=display.active == self.run.name,
        )


def glance(run: Run, samples: int = 256) -> RunHistory:
    """A history for a row of the table: the first and last lines, the validations, and a sample of the steps.

    It takes milliseconds for a run of any length; only :meth:`RunHistory.update` has every step.
    """
    history = RunHistory(run)
    lines: list[bytes] = []
    try:
        with os.fdopen(open_regular(run.summary), "rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # missing or empty
        return history
    with data:
        whole = data.rfind(b"\n") + 1
        starts = {data.rfind(b"\n", 0, max(whole * i // samples, 0)) + 1 for i in range(samples)}
        starts.add(data.rfind(b"\n", 0, max(whole - 1, 0)) + 1)
        last = data.rfind(b'"loss"', 0, whole)
        starts.add(data.rfind(b"\n", 0, max(last, 0)) + 1)
        for mark in (b'"psnr"', b'"warning"', b'{"run"'):
            at = data.find(mark, 0, whole)
            while at >= 0:
                starts.add(data.rfind(b"\n", 0, at) + 1)
                at = data.find(mark, at + 1, whole)
        for start in sorted(starts):
            lines.append(data[start : data.find(b"\n", start) + 1])
    history.read(lines)
    return history


def read_info(run: Run) -> RunInfo:
    """The run's row of the table, read from its files."""
    return glance(run).info()
