"""The active run of the Data Directory that a host's settings name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copycat.runs import Display, Run, RunError, find_run, find_runs


def directory_of(settings: Mapping[str, Any]) -> Path:
    """The Data Directory.

    Raises:
        RunError: the knob is empty.
    """
    directory = str(settings.get("dataDirectory", "")).strip()
    if not directory:
        raise RunError("Data Directory is empty: choose the directory that receives checkpoints and run data")
    return Path(directory).expanduser().absolute()


def find(settings: Mapping[str, Any]) -> Run | None:
    """The chosen run, else the newest; None where there is none yet."""
    directory = directory_of(settings)
    if not directory.is_dir():
        return None
    chosen = Display.read(directory).active
    runs = find_runs(directory)
    return next((run for run in runs if run.name == chosen), runs[0] if runs else None)


def expect(settings: Mapping[str, Any]) -> Run:
    """Like :func:`find`.

    Raises:
        RunError: there is none.
    """
    return find(settings) or find_run(directory_of(settings))
