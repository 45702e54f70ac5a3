"""Settings of OpenMP and of the C library's allocator for copycat's own processes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from copycat.machine import core_quota, usable_cores

# Options of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_ALL = 1 << 30


def wait_politely() -> None:
    """Lets OpenMP's idle threads sleep, and limits their number to the cores that the control groups allow.

    Call it before torch is imported. By default idle threads spin for milliseconds. On a machine that has other work
    (a compositing host, another training) they keep the processor from the threads they wait for, and a step takes
    many times as long. OpenMP itself honours only the affinity. The user's environment variables take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if core_quota() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def keep_memory() -> None:
    """Keeps freed memory in the process, where the C library is glibc 2.35 or newer.

    By default a large block goes back to the system when it is freed, and the system clears the next of its size page
    by page: 5 to 13 % of a training step on the CPU and a fifth of a frame's inference (``benchmarks.bench_memory``).
    All threads share one arena, because other arenas take blocks beyond 64 MiB from the system. The user's environment
    variables stay. Older versions of glibc refuse the first option; the others alone would switch off their own
    adaptation to large blocks, so nothing is changed there.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = _of_glibc("mallopt")
    if mallopt and mallopt(_M_MMAP_THRESHOLD, _KEEP_ALL):
        mallopt(_M_TRIM_THRESHOLD, _KEEP_ALL)
        mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Returns free memory to the system after :func:`keep_memory`, before the process idles."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
