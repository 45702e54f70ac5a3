"""Progress as farms read it that run Open Job Description: ``--render-progress copycat.cli.openjd:report``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def report(known: Mapping[str, Any]) -> None:
    """Prints what a training or a render has done, in the lines that a session of Open Job Description looks for."""
    if known.get("error"):
        print(f"openjd_fail: {known['error']}", flush=True)
        return
    print(f"openjd_progress: {100 * known['progress']:.1f}", flush=True)
    if known.get("loss") is not None:
        print(f"openjd_status: step {known['frame']}, loss {known['loss']:.6f}", flush=True)
