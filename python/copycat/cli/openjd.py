"""Progress as farms read it that run Open Job Description: ``--render-progress copycat.cli.openjd:report``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def report(facts: Mapping[str, Any]) -> None:
    """Prints what a training or a render has done, in the lines that a session of Open Job Description looks for."""
    if facts.get("error"):
        print(f"openjd_fail: {facts['error']}", flush=True)
        return
    print(f"openjd_progress: {100 * facts['progress']:.1f}", flush=True)
    if facts.get("loss") is not None:
        print(f"openjd_status: step {facts['frame']}, loss {facts['loss']:.6f}", flush=True)
