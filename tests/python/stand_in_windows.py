"""A stand-in for Windows: takes away what it does not have, and refuses what it refuses. For Linux.

``python stand_in_windows.py train ...`` runs the command line so, with tiny networks. It shows that copycat calls
nothing that is missing there, closes files before it replaces or removes them, and locks by ``msvcrt``. It does not
show Windows' own paths, consoles or signals.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import types
from typing import Any

MISSING = (
    *("pread", "pwrite", "posix_fallocate", "memfd_create", "setpriority", "getuid", "fork", "mkfifo", "fchmod"),
    *("O_TMPFILE", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_DIRECTORY"),
)
LOADED_BEFORE = (
    *("matplotlib.pyplot", "numpy", "OpenImageIO", "psutil", "rich.progress", "safetensors.torch"),
    *("torch.distributed", "typer.main"),
)
_LOCKED_BYTE = (1 << 31) - 2


def locking(descriptor: int, mode: int, size: int) -> None:
    """``msvcrt.locking`` of one byte; another handle's lock is EACCES."""
    assert (mode, size, os.lseek(descriptor, 0, os.SEEK_CUR)) == (2, 1, _LOCKED_BYTE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


def is_open(path: Any) -> bool:
    """Whether this process has the file open."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.path.samestat(os.fstat(int(descriptor)), status):
                return True
        except OSError:
            continue
    return False


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        if options.get("pass_fds"):
            raise ValueError("pass_fds not supported on Windows.")
        super().__init__(*arguments, **options)


def use() -> None:
    """Makes this process one of Windows; before copycat is imported, after what copycat needs."""
    assert not any(name.partition(".")[0] == "copycat" for name in sys.modules)
    for name in LOADED_BEFORE:
        importlib.import_module(name)

    real_open = os.open

    def refusing(name: str) -> None:
        real = getattr(os, name)

        def call(*paths: Any, **options: Any) -> None:
            for path in paths:
                if is_open(path):
                    raise PermissionError(errno.EACCES, "the process cannot access the file: it is being used", path)
            real(*paths, **options)

        setattr(os, name, call)

    def open_no_directory(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real_open(path, flags, *arguments, **options)

    for name in ("unlink", "remove", "rename", "replace"):
        refusing(name)
    os.open = open_no_directory
    for name in MISSING:
        if hasattr(os, name):
            delattr(os, name)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[assignment]
    subprocess.Popen = Popen  # type: ignore[misc]
    sys.modules["fcntl"] = None  # type: ignore[assignment]
    sys.modules["msvcrt"] = types.ModuleType("msvcrt")
    sys.modules["msvcrt"].__dict__.update(locking=locking, LK_NBLCK=2, LK_LOCK=1, LK_UNLCK=0)


if __name__ == "__main__":
    use()
    from tiny_copycat import shrink

    shrink()
    from copycat.cli import main

    main()
