"""The error of everything that reads or writes image sequences."""

from __future__ import annotations

from copycat.errors import CopycatError


class SequenceError(CopycatError):
    """A pattern, frame range, channel name or image file that cannot be used."""
