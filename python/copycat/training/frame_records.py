"""Frame pairs as plain data, for the ``<run>.json``, the resume state and the other processes of a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from copycat.sequence.pairs import FramePair


def to_records(frames: Iterable[FramePair]) -> list[dict[str, Any]]:
    """One object for each pair, with absolute paths."""
    return [
        {
            "input": absolute(pair.input),
            "groundTruth": absolute(pair.ground_truth),
            "mask": absolute(pair.mask or ""),
            "frame": pair.frame,
        }
        for pair in frames
    ]


def absolute(path: str | Path) -> str:
    """An absolute path that keeps its links and dots; empty for an empty one."""
    return str(Path(path).expanduser().absolute()) if str(path) else ""


def from_records(records: Iterable[Mapping[str, Any]]) -> tuple[FramePair, ...]:
    """The inverse of :func:`to_records`.

    Raises:
        KeyError, TypeError, ValueError: a record is something else.
    """
    return tuple(
        FramePair(Path(p["input"]), Path(p["groundTruth"]), Path(p["mask"]) if p["mask"] else None, int(p["frame"]))
        for p in records
    )
