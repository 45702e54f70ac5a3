"""Files written so that they are there whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copycat.errors import CopycatError

_LEFTOVER_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{6}\.tmp")
_NO_USE_IN_TRYING_AGAIN = (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EDQUOT)


class RunError(CopycatError):
    """A run cannot be found, named, locked or written."""


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, whatever happens meanwhile.

    On Linux the data first go to a file without a name, so that even a killed process leaves nothing half written.

    Raises:
        RunError: the disk is full, or the directory cannot be written.
    """
    try:
        _write_whole(path, data)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_whole(path: Path, data: bytes) -> None:
    temporary = temporary_beside(path)
    descriptor = _open_nameless(path.parent)
    named = descriptor is None
    if descriptor is None:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            if not named:
                # With a directory descriptor Python calls linkat and follows the link in /proc; else it would not.
                os.link(f"/proc/self/fd/{stream.fileno()}", temporary, src_dir_fd=stream.fileno(), follow_symlinks=True)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _open_nameless(directory: Path) -> int | None:
    """A descriptor of a file without a name; None where the system or the file system knows no such thing."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(directory, flag | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _NO_USE_IN_TRYING_AGAIN:
            raise
        return None


def temporary_beside(path: Path) -> Path:
    """A name for a file that is about to become ``path``; :func:`sweep` knows it again."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")


def leftovers(directory: Path) -> list[tuple[Path, str]]:
    """(path, name it was to have) of every temporary file that a killed process left an hour ago or earlier."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if match := _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFTOVER_SECONDS:
                        found.append((Path(entry.path), match["name"]))
    return found


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems refuse to sync a directory
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """:func:`write_whole` of an object as JSON."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when the file is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
