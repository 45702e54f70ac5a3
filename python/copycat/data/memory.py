"""How copycat's own processes use the machine that they share. Standard library only."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

# Options of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ALL_IS_KEPT = 1 << 30


def wait_politely() -> None:
    """Lets OpenMP's threads sleep soon after they run out of work; to be called before torch is imported.

    By default they spin for milliseconds. On a machine that has anything else to do (a compositing host, another
    training) they spin instead of those they wait for, and a step takes many times as long. What the user has set in
    the environment stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def keep_memory() -> None:
    """Lets freed memory stay with the process, where the C library is glibc.

    By default a large block goes back to the system when it is freed, and the next of its size is cleared by the system
    page by page: 5 to 13 % of a training step on the CPU and a fifth of a frame's inference (``docs/benchmarks.md``).
    Threads share one arena, as blocks beyond 64 MiB come from the system in any other. What the user has set in the
    environment stays.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if mallopt := _of_glibc("mallopt"):
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, _ALL_IS_KEPT)
        mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Gives what is free back to the system after :func:`keep_memory`, before a long rest."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
