"""What watched files are like, where neither their size nor their times can be trusted.

Some file systems keep times to the second, some programs set the times of the file that they replace, and inodes of
network file systems may change by themselves. So content is compared too, a few megabytes in each look and file by
file in turn, which finds a changed frame late but finds it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from copycat import system_files
from copycat.runs import open_regular

PIECE_BYTES = 1 << 20
_BYTES_PER_LOOK = 4 << 20
_BYTES_OF_OPENING = 1 << 12  # what opening a file counts as

Stamp = tuple[int, int, int, int]
"""Size, times of data and of metadata in nanoseconds, and how often the content has differed beside these."""


@dataclass
class _Content:
    """What was read of one file.

    Attributes:
        status: its size and times when the pieces were read.
        pieces: digest of each piece, by its offset.
        offset: of the piece that is read next.
        changes: how often a piece has differed under the same status.
    """

    status: tuple[int, int, int] = (-1, 0, 0)
    pieces: dict[int, bytes] = field(default_factory=dict)
    offset: int = 0
    changes: int = 0


class FileStamps:
    """Compares files with what they were before; for one thread alone."""

    def __init__(self) -> None:
        """Has seen no file yet."""
        self._contents: dict[Path, _Content] = {}
        self._turn: list[Path] = []  # the files whose content is still to be compared in this round

    def stamp(self, path: Path) -> Stamp | None:
        """What a file is like now, by its status and by what :meth:`compare` found; None if it is not there."""
        try:
            status = _status(os.stat(path))
        except OSError:
            return None
        content = self._contents.get(path)
        return (*status, content.changes if content else 0)

    def compare(self, files: Iterable[Path], urgent: Collection[Path] = ()) -> None:
        """Compares a few megabytes of the files' content with what it was at the last time.

        Does nothing where an open file cannot be replaced: there, reading could make a painter's save fail.

        Args:
            files: all that are watched; forgets others.
            urgent: those of them that come first.
        """
        if not system_files.REMOVES_OPEN_FILES:
            return
        watched = set(files)
        self._contents = {path: content for path, content in self._contents.items() if path in watched}
        self._turn = [path for path in self._turn if path in watched] or sorted(watched)
        budget = _BYTES_PER_LOOK
        for path in (*urgent, *self._turn):
            while budget > 0:
                budget -= _BYTES_OF_OPENING
                read, ended = self._compare_piece(path)
                budget -= read
                if ended:
                    if path in self._turn:
                        self._turn.remove(path)
                    break

    def _compare_piece(self, path: Path) -> tuple[int, bool]:
        """Compares the next piece of a file; returns its bytes, and whether it was the last."""
        content = self._contents.setdefault(path, _Content())
        try:
            with os.fdopen(open_regular(path), "rb", buffering=0) as stream:
                status = _status(os.fstat(stream.fileno()))
                if status != content.status:
                    content.status, content.pieces, content.offset = status, {}, 0
                stream.seek(content.offset)
                data = stream.read(PIECE_BYTES)
        except OSError:
            return 0, True
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if content.pieces.get(content.offset, digest) != digest:
            content.changes += 1
            content.pieces = {}
        content.pieces[content.offset] = digest
        content.offset += len(data)
        ended = len(data) < PIECE_BYTES
        if ended:
            content.offset = 0
        return len(data), ended


def _status(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
