"""The ``.summary`` of a run: one trainer appends JSON lines, readers follow it. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from copycat import system_files
from copycat.runs.files import Run
from copycat.runs.writing import RunError, open_regular, write_whole

_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 128
# May be a number that no double holds. Searched for first, since parsing such numbers is slow.
_PAST_A_DOUBLE = re.compile(rb"[0-9]{300}|[eE]\+?[0-9]{3}|NaN|Infinity")


class SummaryWriter:
    """Appends lines to a run's ``.summary``; flushed line by line, so that readers see whole lines."""

    def __init__(self, run: Run, resume_step: int | None = None, holds: Mapping[str, Any] | None = None) -> None:
        """Opens the summary; with ``resume_step``, drops the lines past that step first.

        Args:
            run: whose.
            resume_step: the step from which the run goes on.
            holds: a record that a killed trainer may not have written; added where it is missing.

        Raises:
            RunError: the file cannot be written.
        """
        self._run = run
        if resume_step is not None:
            kept = [line for line in _whole_lines(run.summary) if _belongs_before(line, resume_step)]
            if holds and not any(_record(line) == holds for line in reversed(kept)):
                kept.append(_as_json(holds).encode() + b"\n")
            write_whole(run.summary, b"".join(kept))
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._stream = os.fdopen(open_regular(run.summary, flags), "ab", buffering=0)
        except OSError as error:
            raise RunError(f"{run.summary}: cannot be written: {error.strerror}") from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Writes records as one block of lines, all or none. A number that is not finite becomes null.

        Raises:
            RunError: the disk is full.
        """
        lines = b"".join(_as_json(record).encode() + b"\n" for record in records)
        try:
            before = os.fstat(self._stream.fileno()).st_size
            try:
                if lines and self._stream.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                # A torn line would swallow the next line, which may say why training ended.
                os.ftruncate(self._stream.fileno(), before)
                raise
        except OSError as error:
            raise RunError(f"{self._run.summary}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Syncs and closes the file."""
        if not self._stream.closed:
            with contextlib.suppress(OSError):
                os.fsync(self._stream.fileno())
            self._stream.close()


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _whole_lines(path: Path) -> list[bytes]:
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _belongs_before(line: bytes, step: int) -> bool:
    record = _record(line)
    if record is None or "end" in record:
        return False
    reached = record.get("step", 0)
    return isinstance(reached, (int, float)) and reached <= step


def _record(line: bytes) -> dict[str, Any] | None:
    """The object on a line; None if it is something else."""
    try:
        value = _parsed(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parsed(text: bytes) -> Any:
    """Parses JSON; numbers that do not fit a double become null, as do NaN and infinity."""
    if not _PAST_A_DOUBLE.search(text):
        return json.loads(text)
    return json.loads(text, parse_int=_within(int), parse_float=_within(float), parse_constant=lambda _: None)


def _within(kind: Callable[[str], float]) -> Callable[[str], float | None]:
    def number(text: str) -> float | None:
        return kind(text) if len(text) < 400 and math.isfinite(float(text)) else None

    return number


class SummaryReader:
    """Reads a ``.summary`` that may still be growing, each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = -1
        self._tail = b""

    def poll(self) -> tuple[list[dict[str, Any]], bool]:
        """The records since the last call, and whether the file was replaced (a resume drops lines).

        If so, the records are those of the whole file and replace the earlier ones. A torn last line is left for the
        next call; a line that is no JSON object is skipped.
        """
        records: list[dict[str, Any]] = []
        file_replaced = False
        for block, replaced in self.blocks():
            records.extend(block)
            file_replaced |= replaced
        return records, file_replaced

    def blocks(self) -> Iterator[tuple[list[dict[str, Any]], bool]]:
        """As :meth:`poll`, in blocks of about a megabyte, so that a long run needs little memory.

        Only the first block may say that the file was replaced.
        """
        try:
            stream = os.fdopen(open_regular(self._path), "rb")
        except OSError:
            return
        with stream:
            replaced = self._is_new(stream.fileno())
            if replaced:
                self._offset, self._tail = 0, b""
                self._inode = os.fstat(stream.fileno()).st_ino
                yield [], True
            stream.seek(self._offset)
            remainder = b""
            while data := stream.read(_BLOCK_BYTES):
                data = remainder + data
                end = data.rfind(b"\n") + 1
                remainder = data[end:]
                if end:
                    self._offset += end
                    self._tail = (self._tail + data[:end])[-_TAIL_BYTES:]
                    yield parse_lines(data[:end].split(b"\n")), False

    def _is_new(self, descriptor: int) -> bool:
        """Whether this is another file than the one read so far. An inode alone proves nothing: it may be reused."""
        status = os.fstat(descriptor)
        if status.st_ino != self._inode or status.st_size < self._offset:
            return True
        return system_files.read_at(descriptor, len(self._tail), self._offset - len(self._tail)) != self._tail


def parse_lines(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The records on whole lines; parsed in one go, or line by line if one is broken."""
    lines = [line for line in lines if line.strip()]
    try:
        values = _parsed(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        values = []
    if len(values) != len(lines):
        values = [_record(line) for line in lines]
    return [value for value in values if isinstance(value, dict)]
