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
    r"_(?P<step>[0-9]+)\.cat|_best\.cat|_(?P<sheet>[0-9]+)\.png|_(?P<preview>[0-9]+)_preview\.png"
    r"|\.summary|\.ost|\.json|\.lock|\.request|\.answer|_input\.-?[0-9]+\.exr|_groundTruth\.-?[0-9]+\.exr"
    r"|_preview\.-?[0-9]+\.exr"
)


def check_name(name: str) -> str:
    """``name`` if a run may bear it.

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


def _is_name(name: str) -> bool:
    with contextlib.suppress(RunError):
        return bool(check_name(name))
    return False


@dataclass(frozen=True)
class Run:
    """The files of one run. Nothing is read or written until a method says so."""

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
    def resume_state(self) -> Path:
        """What a resume continues from."""
        return self.file(".ost")

    @property
    def provenance(self) -> Path:
        """Settings, pairs, versions, host."""
        return self.file(".json")

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
        """Every file of the run that exists, sorted."""
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
        try:
            names = os.listdir(self.directory)
        except OSError:
            return
        for name in names:
            if match := self._suffix(name):
                yield self.directory / name, match


def new_run(directory: Path, now: datetime | None = None) -> Run:
    """A run named after the local time, with ``_2``, ``_3`` ... when that second already has one."""
    stem = (now or datetime.now()).strftime("Training_%y%m%d_%H%M%S")
    name, count = stem, 1
    while (run := Run(directory, name)).exists():
        count += 1
        name = f"{stem}_{count}"
    return run


def find_runs(directory: str | Path) -> list[Run]:
    """The runs of a Data Directory, the one that was written to last first.

    Raises:
        RunError: the directory does not exist or cannot be read.
    """
    directory = Path(directory)
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be read: {error.strerror}") from error
    found = {name.removesuffix(".summary") for name in names if name.endswith(".summary")}
    runs = [Run(directory, name) for name in found if _is_name(name)]
    return sorted(runs, key=lambda run: (modified(run.summary), run.name), reverse=True)


def find_run(directory: str | Path, name: str | None = None) -> Run:
    """The named run, else the newest.

    Raises:
        RunError: there is none; the message lists those there are.
    """
    found = find_runs(directory)
    if name is None:
        if not found:
            raise RunError(f"{directory}: the Data Directory holds no run")
        return found[0]
    for run in found:
        if run.name == name:
            return run
    names = ", ".join(run.name for run in found) or "none"
    raise RunError(f"{directory}: there is no run {name!r} (runs: {names})")


def model_file(path: str | Path) -> Path:
    """The model that a path stands for.

    Args:
        path: a file, a run (``directory/name``), or a Data Directory, which stands for its newest run.

    Returns:
        The file, or the run's newest checkpoint.

    Raises:
        RunError: there is no run, or it has no checkpoint yet.
    """
    named, path = str(path), Path(path)
    if named and path.is_dir():
        run = find_run(path)
    elif not path.exists() and path.with_name(f"{path.name}.summary").exists():
        run = find_run(path.parent, path.name)
    else:
        return path
    saved = run.checkpoints()
    if not saved:
        raise RunError(f"{run.summary}: the run has no checkpoint yet")
    return saved[-1][1]


def modified(path: Path) -> float:
    """When a file was last written, in seconds since the epoch; 0 where it cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
