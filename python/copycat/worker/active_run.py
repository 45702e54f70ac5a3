"""The active run of the Data Directory that a host's settings name, and paths as a host's knobs hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from copycat.runs import Display, Run, RunError, find_runs
from copycat.runs.launch import starting_runs
from copycat.settings.tables import InferenceSettings, Settings

_Settings = TypeVar("_Settings", Settings, InferenceSettings)


def full_path(label: str, text: str) -> Path:
    """The path in a knob of a host.

    Args:
        label: of the knob.
        text: the knob's value, not empty.

    Raises:
        RunError: it is relative; a host's working directory means nothing to its user.
    """
    path = Path(text.strip()).expanduser()
    if not path.is_absolute():
        raise RunError(f"{label} is {text!r}, which is relative: choose it with its full path")
    return path


def with_full_paths(settings: _Settings) -> _Settings:
    """The settings with every path in full.

    Raises:
        RunError: as for :func:`full_path`.
    """
    changed = {}
    for knob in settings.knobs():
        if knob.field and knob.kind in ("file", "directory", "sequence") and (text := getattr(settings, knob.field)):
            changed[knob.field] = str(full_path(knob.label, text))
    return settings.respelt(**changed)


def directory_of(settings: Mapping[str, Any]) -> Path:
    """The Data Directory.

    Raises:
        RunError: the knob is empty or holds a relative path.
    """
    directory = str(settings.get("dataDirectory", "")).strip()
    if not directory:
        raise RunError("Data Directory is empty: choose the directory that receives checkpoints and run data")
    return full_path("Data Directory", directory)


def find(settings: Mapping[str, Any]) -> Run | None:
    """The chosen run, else the newest; None where there is none yet."""
    directory = directory_of(settings)
    if not os.path.isdir(directory):
        return None
    chosen = Display.read(directory).active
    runs = starting_runs(directory) + find_runs(directory)
    return next((run for run in runs if run.name == chosen), runs[0] if runs else None)


def expect(settings: Mapping[str, Any]) -> Run:
    """Like :func:`find`.

    Raises:
        RunError: there is none.
    """
    run = find(settings)
    if run is None:
        raise RunError(f"nothing has been trained in {directory_of(settings)} yet: press Start Training first")
    return run
