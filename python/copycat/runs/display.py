"""``copycat.json`` of a Data Directory: the active run, and how runs are shown. Standard library only."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copycat import system_files
from copycat.runs.files import DISPLAY_FILE
from copycat.runs.writing import read_json, write_json

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")


@dataclass
class Display:
    """``copycat.json`` of a Data Directory: the active run, colours, which curves show."""

    directory: Path
    active: str | None = None
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Display:
        """Reads the file; a missing or broken one holds nothing."""
        value = read_json(directory / DISPLAY_FILE)
        runs = value.get("runs")
        entries = runs if isinstance(runs, dict) else {}
        active = value.get("active")
        return cls(
            directory,
            active if isinstance(active, str) else None,
            {name: entry for name, entry in entries.items() if isinstance(entry, dict)},
        )

    @classmethod
    @contextlib.contextmanager
    def edit(cls, directory: Path) -> Iterator[Display]:
        """Yields the current file to be changed, and writes it back; other processes of this machine wait meanwhile.

        Raises:
            RunError: the file cannot be written.
        """
        with _locked(directory):
            display = cls.read(directory)
            before = (display.active, {name: dict(entry) for name, entry in display.runs.items()})
            yield display
            if (display.active, display.runs) != before:
                display.write()

    def write(self) -> None:
        """Replaces the file."""
        write_json(self.directory / DISPLAY_FILE, {"active": self.active, "runs": self.runs})

    def colour(self, name: str) -> str:
        """The run's colour; if none was chosen, one of the palette that follows from its name."""
        return self._chosen_colour(name) or PALETTE[sum(name.encode()) % len(PALETTE)]

    def _chosen_colour(self, name: str) -> str:
        chosen = self.runs.get(name, {}).get("colour")
        return chosen if isinstance(chosen, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", chosen) else ""

    def give_colours(self, names: Iterable[str]) -> None:
        """Gives runs without a colour the least used colour of the palette, in the order of ``names``."""
        names = list(names)
        worn = Counter(self.colour(name).lower() for name in names if self._chosen_colour(name))
        for name in names:
            if not self._chosen_colour(name):
                colour = min(PALETTE, key=lambda colour: worn[colour])
                worn[colour] += 1
                self.runs.setdefault(name, {})["colour"] = colour

    def shown(self, name: str) -> bool:
        """Whether the run's curve shows."""
        return bool(self.runs.get(name, {}).get("shown", True))

    def set(self, name: str, **entry: Any) -> None:
        """Sets a run's ``colour`` or ``shown`` and writes the file, keeping what others wrote meanwhile."""
        with Display.edit(self.directory) as display:
            display.runs.setdefault(name, {}).update(entry)
        self.active, self.runs = display.active, display.runs


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds a lock on the directory itself, which needs no lock file."""
    descriptor = -1
    with contextlib.suppress(OSError):  # on file systems that cannot lock directories the last writer wins
        descriptor = os.open(directory, os.O_RDONLY | system_files.ALWAYS)
        system_files.lock(descriptor)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
