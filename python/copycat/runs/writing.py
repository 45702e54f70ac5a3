"""Files written so that they exist whole or not at all, and regular files read. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copycat import system_files
from copycat.errors import CopycatError

_LEFTOVER_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{6}\.tmp")
_JSON_LIMIT = 256 << 20
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NO_USE_IN_TRYING_AGAIN = (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EDQUOT)


class RunError(CopycatError):
    """A run cannot be found, named, locked or written."""


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, whatever interrupts it.

    On Linux the data first go to a file without a name, so that even a killed process leaves no partial file.

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
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | system_files.ALWAYS, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            if not named:
                # With a directory descriptor Python calls linkat and follows the link in /proc; else it would not.
                os.link(f"/proc/self/fd/{stream.fileno()}", temporary, src_dir_fd=stream.fileno(), follow_symlinks=True)
        system_files.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _open_nameless(directory: Path) -> int | None:
    """A descriptor of a file without a name; None where the system or the file system has none."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(directory, flag | os.O_WRONLY | system_files.ALWAYS, 0o666)
    except OSError as error:
        if error.errno in _NO_USE_IN_TRYING_AGAIN:
            raise
        return None


def temporary_beside(path: Path) -> Path:
    """A hidden name for a file that is about to become ``path``; :func:`leftovers` finds it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")


def leftovers(directory: Path) -> list[tuple[Path, str]]:
    """(path, intended name) of every temporary file that a killed process left at least an hour ago."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if match := _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFTOVER_SECONDS:
                        found.append((Path(entry.path), match["name"]))
    return found


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Opens a regular file and returns its descriptor; never waits for a FIFO, never opens a device.

    A file that is opened to be written must not be a symbolic link either: whoever can write to a shared Data Directory
    could point it at any file of the trainer's user.

    Raises:
        OSError: the file cannot be opened, or is something else.
    """
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    try:
        status = os.stat(path, follow_symlinks=not writes)
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise _irregular(path, status)
    more = system_files.NO_LINK if writes else 0
    descriptor = os.open(path, flags | more | system_files.NO_WAIT | system_files.ALWAYS, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _irregular(path, status)
    return descriptor


def _irregular(path: Path, status: os.stat_result) -> OSError:
    kind = next((word for test, word in _KINDS if test(status.st_mode)), "not a regular file")
    return OSError(errno.EINVAL, f"it is {kind}", str(path))


def read_regular(path: Path, limit: int) -> bytes:
    """Reads a regular file of at most ``limit`` bytes.

    Raises:
        OSError: it cannot be read, is something else, or is larger.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return data


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems refuse to sync a directory
        descriptor = os.open(directory, os.O_RDONLY | system_files.ALWAYS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """:func:`write_whole` of an object as JSON."""
    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing, is not regular, or holds no JSON object."""
    try:
        value = json.loads(read_regular(path, _JSON_LIMIT))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return value if isinstance(value, dict) else {}
