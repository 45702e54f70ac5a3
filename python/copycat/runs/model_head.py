"""The head of a .cat, which comes before its weights (format: :mod:`copycat.model.cat`). Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from copycat.runs.writing import open_regular

_LIMIT = 8 << 20  # far above any model that copycat writes: a file beyond it is damaged or malicious


def head_of(stream: BinaryIO) -> dict[str, Any] | None:
    """The safetensors head of a file that is open at its start; None if it has none."""
    start = stream.read(8)
    size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if 2 <= size <= _LIMIT:
        text = stream.read(size)
        if len(text) == size and text[:1] == b"{":
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(text)
                if isinstance(value, dict):
                    return value
    return None


def makes_mattes(path: Path) -> bool:
    """Whether a model's result has a matte; False where the file does not say so, or cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        with os.fdopen(open_regular(path), "rb") as stream:
            head = head_of(stream) or {}
        return any(one is True for one in json.loads(head["__metadata__"]["copycat"])["targetEncoding"]["matte"])
    return False
