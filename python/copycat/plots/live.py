"""The live state of the runs of a Data Directory, for the page and the worker.

Needs numpy, for the curves; :mod:`copycat.runs` itself does not import it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from copycat.plots.curves import Curve
from copycat.runs.display import Display
from copycat.runs.files import Run, modified
from copycat.runs.finding import find_runs
from copycat.runs.history import RunHistory, RunInfo, glance
from copycat.runs.launch import starting_runs
from copycat.runs.trainer_lock import trainer_lives
from copycat.runs.writing import RunError, read_json

POLL_SECONDS = 3.0
_READ_SECONDS = 0.7


@dataclass
class _Entry:
    """A run: a glance for the table, or the whole history where the curve shows.

    Attributes:
        whole: whether the whole history was read.
        local: whether this machine trains it or, while nobody does, trained it last.
        stamp: the state of its summary when it was read; None before.
        curve: the whole curve; None where only a glance was read.
    """

    run: Run
    history: RunHistory
    info: RunInfo
    whole: bool = False
    local: bool = False
    stamp: tuple[int, int, bool] | None = None
    curve: Curve | None = None

    def read(self) -> None:
        if self.whole:
            self.history.update()
            self.curve = Curve.of(self.history)
        else:
            self.history = glance(self.run)

    def read_whole(self) -> None:
        self.history, self.whole = RunHistory(self.run), True
        self.read()


@dataclass(frozen=True)
class Pictures:
    """The steps of a run's contact sheets and previews; ``generation`` changes when a resume may rewrite them."""

    sheets: list[int] = field(default_factory=list)
    previews: list[int] = field(default_factory=list)
    generation: int = 0


class Watch:
    """The runs of one Data Directory.

    A run that trains on this machine is followed all the time; one that trains elsewhere only with ``live_updates``
    or when the caller reads everything, since reading a network disk is not free. Any thread may call; :meth:`scan` and
    :meth:`pictures` read the disk, everything else only memory.

    Attributes:
        version: goes up whenever a row, a curve or the order changed.
        live_updates: whether runs that train elsewhere are polled every :data:`POLL_SECONDS`.
        problem: why the Data Directory could not be read last time, else empty.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = 0
        self.live_updates = False
        self.problem = ""
        self._entries: dict[str, _Entry] = {}
        self._display = Display(directory)
        self._scanning = threading.Lock()
        self._host = socket.gethostname()
        self._polled = 0.0

    # -- reading memory

    @property
    def active(self) -> str | None:
        """The active run: the chosen one, else the newest."""
        entries = self._entries
        chosen = self._display.active
        return chosen if chosen in entries else next(iter(entries), None)

    def rows(self) -> list[RunInfo]:
        """The rows of the table, the run written to last first."""
        active = self.active
        return [replace(entry.info, active=name == active) for name, entry in self._entries.items()]

    def row(self, name: str | None) -> RunInfo | None:
        """One row; None when there is no such run."""
        entry = self._entries.get(name or "")
        return entry.info if entry else None

    def history(self, name: str) -> RunHistory | None:
        """A run's records: all of them if its curve shows or it is active, else a sample."""
        entry = self._entries.get(name)
        return entry.history if entry else None

    def curve(self, name: str) -> Curve | None:
        """A run's whole curve; None while it has not been read."""
        entry = self._entries.get(name)
        return entry.curve if entry else None

    def pictures(self, name: str) -> Pictures:
        """A run's contact sheets and previews (lists the directory: belongs in a thread)."""
        entry = self._entries.get(name)
        if entry is None:
            return Pictures()
        sheets = [step for step, _ in entry.run.contact_sheets()]
        previews = [step for step, _ in entry.run.previews()]
        return Pictures(sheets, previews, entry.history.generation)

    # -- reading the disk

    def scan(self, everything: bool = False, curves: bool = True) -> bool:
        """Reads what changed on disk.

        Args:
            everything: also runs that train elsewhere.
            curves: also the curves that show and were never read; the rows need only a glance.

        Returns:
            Whether there are long files left to read; it stops after about a second, so that nobody waits for long.
        """
        with self._scanning:
            try:
                runs = find_runs(self.directory)
                unwritten = [run for run in starting_runs(self.directory) if run not in runs]
            except RunError as error:
                self.version += self.problem != str(error)
                self.problem = str(error)
                return False
            changed, self.problem = bool(self.problem), ""
            if self.live_updates and time.monotonic() - self._polled > POLL_SECONDS:
                everything, self._polled = True, time.monotonic()
            changed |= self._take_in([*unwritten, *runs])
            for entry in self._entries.values():
                changed |= self._look(entry, everything)
            self.version += changed
            return curves and self._read_curves()

    def _read_curves(self) -> bool:
        began = time.monotonic()
        for name, entry in self._entries.items():
            if not entry.whole and (entry.info.shown or name == self.active):
                if time.monotonic() - began > _READ_SECONDS:
                    return True
                entry.read_whole()
                self.version += 1
        return False

    def _take_in(self, runs: Sequence[Run]) -> bool:
        """Takes over the list of runs and the display file; True when either changed."""
        entries = self._entries
        display = Display.read(self.directory)
        if any(run.name not in entries for run in runs):
            with contextlib.suppress(RunError), Display.edit(self.directory) as display:  # it may be read-only
                display.give_colours(run.name for run in reversed(runs))
        changed = (display.runs, display.active) != (self._display.runs, self._display.active)
        self._display = display
        self._entries = {run.name: entries.get(run.name) or self._begin(run) for run in runs}
        return changed or list(self._entries) != list(entries)

    def _begin(self, run: Run) -> _Entry:
        history = glance(run)
        local = read_json(run.provenance).get("host") == self._host
        return _Entry(run, history, history.info(self._display), local=local)

    def _look(self, entry: _Entry, everything: bool) -> bool:
        """Reads on in a run if it is due; True when its row changed."""
        lives = trainer_lives(entry.run)
        if lives:
            entry.local = read_json(entry.run.file(".lock")).get("host") == self._host
        due = everything or entry.local or entry.stamp is None
        info = replace(
            entry.info, colour=self._display.colour(entry.run.name), shown=self._display.shown(entry.run.name)
        )
        if due:
            stamp = _state(entry.run.summary, lives)
            if stamp != entry.stamp and entry.stamp is not None:
                entry.read()
            entry.stamp = stamp
            info = entry.history.info(self._display)
            if info.state == "starting" and not info.updated:
                info = replace(info, updated=modified(entry.run.file(".lock")))
        changed, entry.info = info != entry.info, info
        return changed


def _state(path: Path, lives: bool) -> tuple[int, int, bool]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, lives
    return status.st_mtime_ns, status.st_size, lives
