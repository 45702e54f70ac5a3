"""A file of JSON lines that processes add to and one takes from: requests and answers. Standard library only.

Each change happens under the file's kernel lock and leaves whole lines; the last line to be taken removes the file. On
a file system without locks two changes within the same millisecond may lose one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from copycat import system_files
from copycat.runs.writing import RunError, open_regular

Message = dict[str, Any]

_PATIENCE_SECONDS = 3.0
_TRY_SECONDS = 0.01
_LIMIT = 1 << 20


def post(path: Path, message: Mapping[str, Any]) -> None:
    """Adds a message at the end.

    Raises:
        RunError: the file cannot be written.
    """
    _change(path, lambda messages: [*messages, dict(message)], create=True)


def take(path: Path, fits: Callable[[Message], bool] = lambda message: True) -> Message | None:
    """Removes and returns the first message that fits; None if there is none.

    Raises:
        RunError: the file cannot be written.
    """
    taken: list[Message] = []

    def without_first(messages: list[Message]) -> list[Message]:
        taken[:] = [message for message in messages if fits(message)][:1]
        return [message for message in messages if not any(message is one for one in taken)]

    _change(path, without_first, create=False)
    return taken[0] if taken else None


def _change(path: Path, change: Callable[[list[Message]], list[Message]], create: bool) -> None:
    if not create and not path.exists():
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while True:
            try:
                descriptor = open_regular(path, os.O_RDWR | (os.O_CREAT if create else 0))
            except FileNotFoundError:
                if create:
                    raise
                return
            try:
                if _lock(descriptor, deadline) and _is_file(descriptor, path):
                    _rewrite(descriptor, path, change)
                    return
            finally:
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise RunError(f"{path}: another process holds the file")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _lock(descriptor: int, deadline: float) -> bool:
    while system_files.try_lock(descriptor) is False:  # None: a file system without locks
        if time.monotonic() > deadline:
            return False
        time.sleep(_TRY_SECONDS)
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the opened file is still the one at ``path``; taking the last message removes it."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _rewrite(descriptor: int, path: Path, change: Callable[[list[Message]], list[Message]]) -> None:
    before = system_files.read_at(descriptor, _LIMIT, 0)
    messages = change(_parse(before))
    after = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    if not after and system_files.REMOVES_OPEN_FILES:
        os.unlink(path)
    elif after != before:
        system_files.write_at(descriptor, after, 0)
        os.ftruncate(descriptor, len(after))


def _parse(data: bytes) -> list[Message]:
    """The objects on the lines, or the single object of older versions; torn lines are dropped."""
    found = []
    for text in (data,) if data.startswith(b"{\n") else data.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text)
            if isinstance(value, dict):
                found.append(value)
    return found
