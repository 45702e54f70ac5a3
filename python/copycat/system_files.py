"""Open files where Unix and Windows differ: flags, locks, reads and writes at an offset. Standard library only.

Windows has no ``fcntl``: its locks are of bytes and keep others from reading them, so one byte far behind the end of
any file stands for the whole file. It has no shared locks, and an open file can neither be removed nor replaced.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

fcntl: ModuleType | None
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

INHERITS_LOCKS = bool(fcntl)  # a child has the locks of the descriptors that it inherits
REMOVES_OPEN_FILES = bool(fcntl)  # and renames them
ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # for every os.open
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # neither for a FIFO nor for a terminal

_LOCKED_BYTE = (1 << 31) - 2  # the last that msvcrt locks
_HELD = errno.EAGAIN if fcntl else errno.EACCES
_PATIENCE_SECONDS = 2.0
_TRY_SECONDS = 0.02
_READER_TRIES = 2


def try_lock(descriptor: int, shared: bool = False) -> bool | None:
    """Takes the kernel's lock of an open file, until the file is closed.

    Args:
        descriptor: of the file.
        shared: together with others who ask for a shared one. Windows has none: another reader's lock, which lasts an
            instant, is waited for.

    Returns:
        False if another holds it, None on a file system without locks.
    """
    for last in (False,) * (_READER_TRIES if shared and not fcntl else 0) + (True,):
        try:
            if fcntl:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            else:
                _lock_byte(descriptor)
            return True
        except OSError as error:
            if error.errno != _HELD:
                return None
        if not last:
            time.sleep(_TRY_SECONDS)
    return False


def lock(descriptor: int) -> None:
    """Waits for the kernel's lock of an open file.

    Raises:
        OSError: the file system has no locks.
    """
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while True:
        try:
            _lock_byte(descriptor)
        except OSError as error:
            if error.errno != _HELD:
                raise
            time.sleep(_TRY_SECONDS)
        else:
            return


def _lock_byte(descriptor: int) -> None:
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes at an offset. On Windows it moves the position and may be used by one thread."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, offset, os.SEEK_SET)
    try:
        return os.read(descriptor, size)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Writes at an offset, as :func:`read_at` reads."""
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, offset)
        return
    os.lseek(descriptor, offset, os.SEEK_SET)
    os.write(descriptor, data)


def reserve(descriptor: int, size: int) -> None:
    """Makes a file ``size`` bytes long, and takes the room for them where the system can.

    Raises:
        OSError: there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def replace(source: Path, target: Path) -> None:
    """``os.replace``. Windows refuses while a reader has the target open, so there it waits for a moment.

    Raises:
        OSError: the target cannot be replaced.
    """
    _patiently(os.replace, source, target)


def remove(path: Path) -> None:
    """``os.unlink``, as patient as :func:`replace`.

    Raises:
        OSError: the file is not there, or cannot be removed.
    """
    _patiently(os.unlink, path)


def _patiently(change: Callable[..., None], *paths: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return change(*paths)
        except PermissionError:
            if fcntl or time.monotonic() > deadline:
                raise
            time.sleep(_TRY_SECONDS)
