"""The names of runs, and which files belong to one. Standard library only."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from copycat.runs.writing import RunError, leftovers

DISPLAY_FILE = "copycat.json"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,118}[A-Za-z0-9_-])?")
_SUFFIX = re.compile(
    r"_(?P<step>[0-9]+)\.cat|_best\.cat|_live\.cat|_(?P<sheet>[0-9]+)\.png|_(?P<preview>[0-9]+)_preview\.png"
    r"|\.summary|\.ost|\.json|\.lock|\.request|\.answer|\.renaming|\.unpainted|\.review|_review\.png|_input\.-?[0-9]+\.exr|_groundTruth\.-?[0-9]+\.exr"
    r"|_preview\.-?[0-9]+\.exr"
)


def check_name(name: str) -> str:
    """Returns ``name`` if a run may have it.

    Raises:
        RunError: it is empty, too long, holds characters that are not safe in file names everywhere, or is the
            name of the Data Directory's own file.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} is no name for a run: use 1 to 120 letters, digits, spaces and . _ -, "
            "beginning with a letter or digit and not ending with a space or a dot"
        )
    if f"{name}.json".lower() == DISPLAY_FILE:
        raise RunError(f"{name!r} is no name for a run: {DISPLAY_FILE} belongs to the Data Directory itself")
    return name


@dataclass(frozen=True)
class Run:
    """The paths of one run; creating one reads and writes nothing."""

    directory: Path
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "directory", Path(self.directory))
        check_name(self.name)

    def file(self, suffix: str) -> Path:
        """The run's file with the given suffix, as ``.summary`` or ``_1000.cat``."""
        return self.directory / f"{self.name}{suffix}"

    @property
    def summary(self) -> Path:
        """Loss per step."""
        return self.file(".summary")

    @property
    def live(self) -> Path:
        """The newest weights of a training, written when somebody looks at the shot."""
        return self.file("_live.cat")

    @property
    def resume_state(self) -> Path:
        """What a resume continues from."""
        return self.file(".ost")

    @property
    def provenance(self) -> Path:
        """Settings, pairs, versions, host."""
        return self.file(".json")

    @property
    def review(self) -> Path:
        """How far to trust each frame of the result."""
        return self.file(".review")

    @property
    def review_sheet(self) -> Path:
        """The contact sheet of the worst frames."""
        return self.file("_review.png")

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation PSNR."""
        return self.file("_best.cat")

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.file(f"_{step}.cat")

    def contact_sheet(self, step: int) -> Path:
        """The contact sheet of a step."""
        return self.file(f"_{step}.png")

    def preview(self, step: int) -> Path:
        """The preview of a step."""
        return self.file(f"_{step}_preview.png")

    def files(self) -> list[Path]:
        """Every regular file of the run, sorted."""
        return sorted(path for path, _ in self._matches())

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, path) of every numbered checkpoint, by step."""
        return self._numbered("step")

    def contact_sheets(self) -> list[tuple[int, Path]]:
        """(step, path) of every contact sheet, by step."""
        return self._numbered("sheet")

    def previews(self) -> list[tuple[int, Path]]:
        """(step, path) of every preview, by step."""
        return self._numbered("preview")

    def exists(self) -> bool:
        """Whether any file of the run exists."""
        return any(True for _ in self._matches())

    def sweep(self) -> None:
        """Removes the temporary files that a killed process left for this run."""
        for path, name in leftovers(self.directory):
            if self._suffix(name):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _suffix(self, name: str) -> re.Match[str] | None:
        return _SUFFIX.fullmatch(name[len(self.name) :]) if name.startswith(self.name) else None

    def _numbered(self, group: str) -> list[tuple[int, Path]]:
        return sorted((int(match[group]), path) for path, match in self._matches() if match[group])

    def _matches(self) -> Iterator[tuple[Path, re.Match[str]]]:
        for name in regular_files(self.directory):
            if match := self._suffix(name):
                yield self.directory / name, match


def new_run(directory: Path, now: datetime | None = None) -> Run:
    """A run named after the local time, with ``_2``, ``_3`` ... if that second already has one."""
    stem = (now or datetime.now()).strftime("Training_%y%m%d_%H%M%S")
    name, count = stem, 1
    while (run := Run(directory, name)).exists():
        count += 1
        name = f"{stem}_{count}"
    return run


def regular_files(directory: Path, strict: bool = False) -> Iterator[str]:
    """Names of the regular files of a directory; if it cannot be read, none, or OSError if ``strict``."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file():
                        yield entry.name
    except OSError:
        if strict:
            raise


def modified(path: Path) -> float:
    """When a file was last written, in seconds since the epoch; 0 if it cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
