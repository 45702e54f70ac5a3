"""For how long `make test-long` mutates each kind of file and message: 15 minutes, or COPYCAT_FUZZ_SECONDS.

A failure names the mutated file, which stays there: images hold the time of day, so the seed alone does not repeat one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

SECONDS = float(os.environ.get("COPYCAT_FUZZ_SECONDS", "900"))


def for_minutes(test: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a test that mutates until :func:`time_is_left` ends."""
    return pytest.mark.long(pytest.mark.timeout(SECONDS + 300)(test))


def time_is_left() -> Callable[..., bool]:
    """True for that time from now on, whatever it is given."""
    end = time.monotonic() + SECONDS
    return lambda *_: time.monotonic() < end


def new_seed() -> int:
    """Another one for each run."""
    return random.SystemRandom().randrange(1 << 32)
