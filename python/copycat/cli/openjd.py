"""Reports progress to farms that run Open Job Description: ``--render-progress copycat.cli.openjd:report``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def report(event: Mapping[str, Any]) -> None:
    """Prints a training's or render's progress as the lines that an Open Job Description session parses."""
    if event.get("error"):
        print(f"openjd_fail: {event['error']}", flush=True)
        return
    print(f"openjd_progress: {100 * event['progress']:.1f}", flush=True)
    if event.get("loss") is not None:
        print(f"openjd_status: step {event['frame']}, loss {event['loss']:.6f}", flush=True)
