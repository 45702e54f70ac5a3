"""What this process may use of the machine: memory and cores, within its control groups and its affinity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_MEMBERSHIP = Path("/proc/self/cgroup")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this process may keep busy: those of its affinity, no more than its control groups allow."""
    process = psutil.Process()
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(cores, core_quota() or cores))


def core_quota() -> int | None:
    """The cores that the control groups allow, rounded up; None without a limit."""
    quotas = [quota for group in _groups("cpu") if (quota := _quota(group)) is not None]
    return math.ceil(min(quotas)) if quotas else None


def free_memory() -> int:
    """Bytes that this process can take without swapping and without being killed by its control groups."""
    limits = [free for group in _groups("memory") if (free := _free_within(group)) is not None]
    available: int = psutil.virtual_memory().available
    return max(0, min(available, *limits)) if limits else available


def _groups(controller: str) -> Iterator[Path]:
    """The directories of the control groups that hold this process, for versions 1 and 2, each below its parents.

    In a container the path within the group may be that of the host; then only the last one, the container's own root,
    is there.
    """
    for line in _lines(_MEMBERSHIP):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        names = [controllers, controller] if controllers else [".", "unified"]
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for root in dict.fromkeys(_CONTROL_GROUPS / name for name in names):
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _quota(group: Path) -> float | None:
    """Cores, as processor time over time; None without a limit."""
    quota, *period = [word for line in _lines(group / "cpu.max") for word in line.split()] or [""]
    if not period:  # version 1
        quota, *period = [*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")] or [""]
    if not (period and quota.isdigit() and period[0].isdigit() and int(period[0])):  # "max", or -1
        return None
    return int(quota) / int(period[0])


def _free_within(group: Path) -> int | None:
    """Bytes until the group's limit, counting what it can drop of the files it has read; None without a limit."""
    limits = [_number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    used = [_number(group / name) for name in ("memory.current", "memory.usage_in_bytes")]
    limit = min((number for number in limits if number is not None), default=None)
    usage = next((number for number in used if number is not None), None)
    if limit is None or usage is None:
        return None
    statistics = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat") if " " in line)
    return limit - usage + int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
