"""The clock of ShotBench: stops a training when its CPU time or its wall time is used up."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# A tool that was asked to stop may take this long to save its model.
_GRACE = 300.0


@dataclass(frozen=True)
class Limit:
    """What a training may take.

    Attributes:
        seconds: CPU-seconds of its whole process tree, or of wall time.
        wall: which of both.
    """

    seconds: float
    wall: bool = False

    def __str__(self) -> str:
        return f"{self.seconds:.0f} {'wall seconds' if self.wall else 'CPU-seconds'}"


def train(
    command: Sequence[str],
    limit: Limit,
    log: Path,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    ends_itself: bool = False,
) -> dict[str, float]:
    """Runs a training and sends it SIGINT, as Ctrl-C does, when the limit is reached.

    Args:
        command: the command line.
        limit: start-up and saving count as well; only the saving may go beyond it.
        log: file for its output.
        folder: its working directory.
        environment: variables beside those of this process.
        ends_itself: whether it may end before the limit.

    Returns:
        ``cpu_seconds`` of its process tree and ``wall_seconds``.

    Raises:
        RuntimeError: it failed, did not stop, or ended too early.
    """
    before, began = children_seconds(), time.monotonic()
    with log.open("w") as stream:
        process = psutil.Popen(
            command, cwd=folder, stdout=stream, stderr=stream, env={**os.environ, **(environment or {})}
        )
        try:
            status = _until(process, limit, began)
            if status is None:
                process.send_signal(signal.SIGINT)
                status = process.wait(_GRACE)
            elif not ends_itself:
                raise RuntimeError(f"{_name(command)} ended before its time, with status {status}; see {log}")
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            raise RuntimeError(f"{_name(command)} did not stop within {_GRACE:.0f} s of Ctrl-C; see {log}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if status != 0:
        raise RuntimeError(f"{_name(command)} failed with status {status}; see {log}")
    return {"cpu_seconds": children_seconds() - before, "wall_seconds": time.monotonic() - began}


def _until(process: psutil.Popen, limit: Limit, began: float) -> int | None:
    """Waits for the limit; the exit status if the process ends before it."""
    while (time.monotonic() - began if limit.wall else cpu_seconds(process)) < limit.seconds:
        if process.poll() is not None:
            return int(process.returncode)
        time.sleep(0.2)
    return None


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a living process and all its children, ended ones included."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            total += sum(member.cpu_times()[:4])  # its own and that of its ended children, user and system
        except psutil.NoSuchProcess:
            continue
    return total


def children_seconds() -> float:
    """CPU time of all ended children of this process, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _name(command: Sequence[str]) -> str:
    return " ".join(Path(word).name for word in command[:3])
