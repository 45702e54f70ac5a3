"""The active run of a Data Directory and what there is to say about it in a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copycat.runs import Display, Run, RunError, find_run, find_runs, glance, read_json


def directory_of(settings: Mapping[str, Any]) -> Path:
    """The Data Directory.

    Raises:
        RunError: the knob is empty.
    """
    directory = str(settings.get("dataDirectory", "")).strip()
    if not directory:
        raise RunError("Data Directory is empty: choose the directory that receives checkpoints and run data")
    return Path(directory).expanduser().absolute()


def find(settings: Mapping[str, Any]) -> Run | None:
    """The chosen run, else the newest; None where there is none yet."""
    directory = directory_of(settings)
    if not directory.is_dir():
        return None
    chosen = Display.read(directory).active
    runs = find_runs(directory)
    return next((run for run in runs if run.name == chosen), runs[0] if runs else None)


def expect(settings: Mapping[str, Any]) -> Run:
    """Like :func:`find`.

    Raises:
        RunError: there is none.
    """
    return find(settings) or find_run(directory_of(settings))


def status(run: Run | None) -> dict[str, Any]:
    """What the host shows of the active run."""
    if run is None:
        return {"status": "", "can_resume": False, "failed": False}
    info = glance(run).info()
    header = info.header
    batch = int(header.get("batch", 0))
    settings = read_json(run.provenance).get("settings")
    manual = isinstance(settings, dict) and settings.get("batchSizeType") == "Manual"
    total = info.total_steps
    lines = [
        f"Channels: {header.get('channels', 'rgb -> rgb')}",
        f"Batch Size: {batch}" + ("" if manual else " (Auto)"),
        f"Total Steps: {total if total is not None else 'by time limit'}",
    ]
    reached = f"step {info.steps}" + (f" of {total}" if total else "")
    loss = f", loss {info.loss:.4g}" if info.loss is not None else ""
    reason = f": {info.reason}" if info.reason and info.state in ("failed", "killed") else ""
    return {
        "status": f"{run.name}: {info.state}, {reached}{loss}{reason}",
        "training_info": "\n".join(lines) if header else "",
        "can_resume": run.resume_state.exists() and info.state != "training",
        "failed": info.state == "failed",
    }
