"""The targets: which numbers the parts must reach, found in their results. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
Found = Callable[[Callable[[str], Rows]], float | None]
"""Takes a function from a result's name to its rows; None where the rows do not tell."""


@dataclass(frozen=True)
class Target:
    """A number that one part must reach."""

    text: str
    part: str
    least: float
    found: Found


def _cell(part: str, cell: str, **cells: object) -> Found:
    """The least of a column, of the rows with these cells."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        matching = [row for row in rows(part) if all(row.get(key) == value for key, value in cells.items())]
        return min((row[cell] for row in matching if row.get(cell) is not None), default=None)

    return found


def _of_copy(*beginnings: str) -> Found:
    """The least share of the copy bandwidth, of the kernels whose names begin so."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        shares = [row["of_copy"] for row in rows("kernels") if str(row["name"]).startswith(beginnings)]
        return min(shares, default=None)

    return found


def _of_the_slower(rows: Callable[[str], Rows]) -> float | None:
    shares = [max(row["compute"], row["files"]) / row["seconds"] for row in rows("inference") if row.get("sequence")]
    return min(shares, default=None)


def _of_compute(rows: Callable[[str], Rows]) -> float | None:
    return min((row["compute"] / row["seconds"] for row in rows("inference") if row.get("shared")), default=None)


def _frames_per_second(rows: Callable[[str], Rows]) -> float | None:
    seconds = _cell("inference", "seconds", resolution="UHD", half=True, tile=0)(rows)
    return 1 / seconds if seconds else None


def _lead(task: str, figure: str = "psnr") -> Found:
    """How many dB copycat is ahead of the best peer."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        tools = ("copycat", "emlcpfx-paintout" if task == "paintout" else "emlcpfx", "tpc2233")
        results = [_cell(f"shotbench-{task}-{tool}-120s-wall", figure, run="mean")(rows) for tool in tools]
        ours, peers = results[0], [result for result in results[1:] if result is not None]
        return ours - max(peers) if ours is not None and peers else None

    return found


TARGETS = (
    Target("Medium, crop 256, batch 5: steps/s", "training", 400, _cell("training", "steps_per_second", batch=5)),
    Target(
        "Medium, crop 256, batch 16: share of the matrix rate",
        "training",
        0.25,
        _cell("training", "of_matrix_rate", batch=16),
    ),
    Target("the GPU is busy, share of the time", "training", 0.95, _cell("training", "gpu_busy")),
    Target("times an eager loop with a DataLoader", "training", 3, _cell("training", "ratio")),
    Target("times torch.compile's best mode", "compiled", 1, _cell("compiled", "of_compiled")),
    Target("sample_crops, batch 512, share of copying", "kernels", 0.75, _of_copy("sample_crops 512 x 256, ")),
    Target(
        "downsize, normalize, statistics on UHD, share of copying",
        "kernels",
        0.8,
        _of_copy("downsize", "normalize", "statistics"),
    ),
    Target("Medium, UHD, bfloat16: frames/s", "inference", 40, _frames_per_second),
    Target("frames in a host's memory, share of the compute alone", "inference", 0.9, _of_compute),
    Target("a sequence, share of the slower of compute and files", "inference", 0.9, _of_the_slower),
    *(
        Target(f"{task} after 120 s: dB ahead of the best peer", f"{task}-copycat", 0, _lead(task, figure))
        for task, figure in (("t1", "psnr"), ("t2", "psnr"), ("paintout", "inside"))
    ),
)
PASSES = {
    "tests": "the tests that need a GPU pass",
    "memcheck": "memcheck finds nothing",
    "racecheck": "racecheck finds nothing",
    "sizes": "curves of Small, Medium and Large",
    "processes": "one process per GPU",
}


def targets(out: Path, status: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every target with what was found, and whether that is enough; None where its part has not told."""

    def rows(name: str) -> Rows:
        try:
            found: Rows = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError):
            return []
        return found

    table: list[dict[str, Any]] = []
    for target in TARGETS:
        found = target.found(rows)
        met = None if found is None else found >= target.least
        table.append({"target": target.text, "part": target.part, "least": target.least, "found": found, "met": met})
    for part, text in PASSES.items():
        ended = status.get(part, {}).get("status")
        met = None if ended in (None, "not run") else ended == "passed"
        table.append({"target": text, "part": part, "least": "passed", "found": ended, "met": met})
    return table


def lines(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The targets as text."""
    for row in table:
        found = row["found"]
        number = f"{found:.3g}" if isinstance(found, float) else str(found) if found is not None else "not measured"
        mark = {True: "met", False: "MISSED", None: ""}[row["met"]]
        yield f"{row['target']}: {number} (target {row['least']}) {mark}".rstrip()
