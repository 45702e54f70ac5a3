"""How the threads of copycat's own processes wait for one another. Standard library only."""

from __future__ import annotations

import os


def wait_politely() -> None:
    """Lets OpenMP's threads sleep soon after they run out of work; to be called before torch is imported.

    By default they spin for milliseconds. On a machine that has anything else to do (a compositing host, another
    training) they spin instead of those they wait for, and a step takes many times as long. What the user has set in
    the environment stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
