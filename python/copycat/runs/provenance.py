"""The ``<run>.json``: settings, shots and frames of a run, in paths that outlive a move. Standard library only.

Paths inside the Data Directory are stored relative to it, all others absolute, so that a Data Directory can be moved.
Frames that a host handed over (``<run>_input.<frame>.exr``) are found under the run's present name after a rename.
Earlier versions stored absolute paths only: one in the former Data Directory that is gone is looked for in this one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from copycat.runs.files import Run
from copycat.runs.writing import RunError, read_json, write_json
from copycat.settings.tables import Settings

_HANDED_OVER = re.compile(r".+(?P<suffix>_(?:input|groundTruth|preview)\..+\.exr)")
_WILDCARD = re.compile(r"#+|%\d*d")
_PATH_KNOBS = {knob.name for knob in Settings.knobs() if knob.kind in ("file", "sequence")}
_PATHS = ("input", "groundTruth", "mask")


def write_provenance(run: Run, value: Mapping[str, Any]) -> None:
    """Writes the ``<run>.json``.

    Args:
        run: whose it is.
        value: ``settings`` (knobs by their script names), ``pairs``, ``frames`` and facts; paths are absolute.

    Raises:
        RunError: the file cannot be written.
    """

    write_json(run.provenance, _stored(run, value))


def read_provenance(run: Run) -> dict[str, Any]:
    """What :func:`write_provenance` wrote, with the paths of today; empty when the file is missing or damaged."""
    return _today(run, read_json(run.provenance))


def stored_frames(run: Run, frames: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Frames as ``<run>.json`` stores them, for another file of the run: paths that outlive a move."""
    stored: list[dict[str, Any]] = _stored(run, {"frames": list(frames)})["frames"]
    return stored


def frames_today(run: Run, frames: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The inverse of :func:`stored_frames`, with the paths of today."""
    value = {"settings": read_json(run.provenance).get("settings"), "frames": list(frames)}
    today: list[dict[str, Any]] = _today(run, value)["frames"]
    return today


def _stored(run: Run, value: Mapping[str, Any]) -> dict[str, Any]:
    def stored(text: str) -> str:
        path = Path(text)
        return str(path.relative_to(run.directory)) if path.is_relative_to(run.directory) else text

    return _with_paths(value, stored)


def _today(run: Run, value: Mapping[str, Any]) -> dict[str, Any]:
    settings = value.get("settings")
    former = str(settings.get("dataDirectory") or "") if isinstance(settings, Mapping) else ""
    return _with_paths(value, lambda text: str(_found(run, text, former)))


def remapped(value: Mapping[str, Any], old: str | Path, new: str | Path) -> dict[str, Any]:
    """What :func:`read_provenance` returned, with paths inside folder ``old`` moved into folder ``new``.

    Raises:
        RunError: no path is inside ``old``.
    """
    old, new = (Path(folder).expanduser().absolute() for folder in (old, new))
    moved: list[str] = []

    def move(text: str) -> str:
        path = Path(text)
        if not path.is_relative_to(old):
            return text
        moved.append(text)
        return str(new / path.relative_to(old))

    changed = _with_paths(value, move)
    if not moved:
        raise RunError(f"{old}: none of the run's frames or other files lies in this folder")
    return changed


def _with_paths(value: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """``value`` with its paths changed; whatever has another shape stays as it is, for the reader to refuse."""

    def mapped(entries: Any, names: Any) -> Any:
        if not isinstance(entries, Mapping):
            return entries
        return {
            name: change(entry) if name in names and isinstance(entry, str) and entry else entry
            for name, entry in entries.items()
        }

    changed = dict(value)
    if "settings" in value:
        changed["settings"] = mapped(value["settings"], _PATH_KNOBS)
    for name in ("pairs", "frames"):
        if isinstance(value.get(name), list):
            changed[name] = [mapped(entry, _PATHS) for entry in value[name]]
    return changed


def _found(run: Run, text: str, former: str) -> Path:
    """Where a stored path is today; where nothing is found, the path as it was stored."""
    stored = Path(text)
    inside = stored if not stored.is_absolute() else _inside(stored, Path(former)) if former else None
    if inside is None or (stored.is_absolute() and _exists(stored)):
        return stored
    present = run.directory / inside
    if not _exists(present) and (match := _HANDED_OVER.fullmatch(present.name)):
        renamed = present.with_name(run.name + match["suffix"])
        if _exists(renamed):
            return renamed
    return present if not stored.is_absolute() or _exists(present) else stored


def _inside(path: Path, folder: Path) -> Path | None:
    """``path`` relative to a folder, of which only the end may be known; None if it lies elsewhere."""
    for parent in path.parents:
        if parent == folder or (not folder.is_absolute() and str(parent).endswith(f"/{folder}")):
            return path.relative_to(parent)
    return None


def _exists(path: Path) -> bool:
    """Whether there is such a file or, for a pattern of a sequence, a file that begins as the pattern does."""
    wildcard = _WILDCARD.search(path.name)
    if wildcard is None:
        return os.path.exists(path)  # pathlib raises for a name that is too long
    try:
        return any(other.name.startswith(path.name[: wildcard.start()]) for other in path.parent.iterdir())
    except (OSError, ValueError):
        return False
