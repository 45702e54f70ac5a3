"""How copycat's own processes keep their memory, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MEASURE = """
import ctypes, resource, sys, threading
from copycat.data.memory import give_memory_back, keep_memory
if sys.argv[1] == "keep":
    keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 128 << 20
def use():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def faults():
    thread = threading.Thread(target=use)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
again, held = faults(), resident()
give_memory_back()
print(again, held, resident())
"""


def measured(what: str, **environment: str) -> tuple[int, int, int]:
    """Page faults of a block's second use, and the resident bytes before and after giving memory back."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | environment
    command = [sys.executable, "-c", MEASURE, what]
    done = subprocess.run(command, env=clean, text=True, capture_output=True, check=True)
    again, held, left = map(int, done.stdout.split())
    return again, held, left


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_freed_block_stays_with_the_process_until_it_is_given_back() -> None:
    pages = (128 << 20) // os.sysconf("SC_PAGESIZE")
    again, held, left = measured("keep")
    assert again < pages / 100
    assert held - left > 100 << 20
    assert measured("leave")[0] > pages / 1000 > again  # by default each use is cleared anew, in pages of any size


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_the_user_has_set_stays() -> None:
    pages = (128 << 20) // os.sysconf("SC_PAGESIZE")
    assert measured("keep", MALLOC_MMAP_THRESHOLD_="131072")[0] > pages / 1000
