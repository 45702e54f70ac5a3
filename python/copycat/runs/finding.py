"""Finds the runs of a Data Directory, and the model that a path names. Standard library only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from copycat.runs.files import Run, check_name, modified, regular_files
from copycat.runs.renaming import complete_renames
from copycat.runs.writing import RunError


def find_runs(directory: str | Path) -> list[Run]:
    """The runs of a Data Directory, the last written first.

    A rename that a killed process left half done is finished first.

    Raises:
        RunError: the directory does not exist or cannot be read.
    """
    directory = Path(directory)
    complete_renames(directory)
    try:
        names = list(regular_files(directory, strict=True))
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be read: {error.strerror}") from error
    found = {name.removesuffix(".summary") for name in names if name.endswith(".summary")}
    runs = [Run(directory, name) for name in found if _is_name(name)]
    return sorted(runs, key=lambda run: (modified(run.summary), run.name), reverse=True)


def find_run(directory: str | Path, name: str | None = None) -> Run:
    """The named run, or the newest if ``name`` is None.

    Raises:
        RunError: there is no such run; the message lists the existing ones.
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
    """The model file that a path names.

    Args:
        path: a file, a run (``directory/name``), or a Data Directory, which stands for its newest run.

    Returns:
        The file, or the run's newest checkpoint.

    Raises:
        RunError: there is no run, or it has no checkpoint yet.
    """
    named, path = str(path), Path(path)
    if named and os.path.isdir(path):
        run = find_run(path)
    elif not os.path.exists(path) and os.path.exists(f"{path}.summary"):
        run = find_run(path.parent, path.name)
    else:
        return path
    saved = run.checkpoints()
    if not saved:
        raise RunError(f"{run.summary}: the run has no checkpoint yet")
    return saved[-1][1]


def _is_name(name: str) -> bool:
    with contextlib.suppress(RunError):
        return bool(check_name(name))
    return False
