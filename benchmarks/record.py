"""The result of a benchmark as a file: its numbers, and the commit, machine, date and command that made them.

A result is ``benchmarks/results/NAME.json``::

    {"commit": "0123abc", "date": "2026-11-29", "command": "python -m benchmarks.NAME ...",
     "machine": {"cpu": "...", "cores": 2, ...}, "rows": [{"psnr": 45.6, ...}, ...]}

A row maps names to numbers, words or null. ``make docs`` makes the tables of docs/explanation/benchmarks.md and of
README.md from these files (``docs.benchmark_tables``). Measure at a commit, then commit the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from copycat.runs.writing import write_whole

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks/results"

Value = float | int | str | bool | None | dict[str, float]
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Result:
    """What a file holds.

    Attributes:
        commit: of the code that was measured, with ``-dirty`` if tracked files had changed; ``unknown`` without git.
        date: of the run, ISO 8601.
        command: without folders that only the measuring machine has.
        machine: ``cpu``, ``cores``, ``memory_gib``, ``gpu``, ``torch``, ... ; what is unknown is missing.
        rows: the numbers.
        note: what else a reader must know.
        name: of the file; not written into it.
    """

    commit: str
    date: str
    command: str
    machine: dict[str, Value]
    rows: list[dict[str, Value]]
    note: str = ""
    name: str = ""

    def row(self, **cells: Value) -> dict[str, Value]:
        """The first row with these cells; an empty one if there is none."""
        return next((row for row in self.rows if all(row.get(k) == v for k, v in cells.items())), {})


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json FILE``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result's file instead of benchmarks/results/...")


def write(name: str, rows: Iterable[Row], path: Path | None = None) -> Path:
    """Writes a result; a benchmark may call it after each row, so that an interrupted run keeps its rows.

    Args:
        name: of the result, without extension.
        rows: all rows so far.
        path: another file than ``benchmarks/results/NAME.json``.
    """
    result = Result(commit(), time.strftime("%Y-%m-%d"), command(), machine(), [dict(row) for row in rows])
    path = path or FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, to_json(result).encode())
    return path


def to_json(result: Result) -> str:
    """The text of a result's file: one line for each row."""
    head = {name: value for name, value in asdict(result).items() if name not in ("rows", "name") and value != ""}
    rows = ",\n  ".join(json.dumps(row) for row in result.rows)
    return json.dumps(head, indent=1).removesuffix("\n}") + f',\n "rows": [\n  {rows}\n ]\n}}\n'


def read(path: Path) -> Result:
    """Reads a result's file."""
    return Result(**json.loads(path.read_text(encoding="utf-8")), name=path.stem)


def commit() -> str:
    """The short hash of HEAD, ``-dirty`` if tracked code differs; COPYCAT_COMMIT where there is no git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COPYCAT_COMMIT", "unknown")
    return head + ("-dirty" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def command() -> str:
    """The running command; of an absolute path only the last name stays."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"-m {spec.name}" if spec else Path(sys.argv[0]).name
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join(["python", program, shlex.join(words)]).strip()


def machine() -> dict[str, Value]:
    """The processor, the memory, the GPU if torch sees one, the versions, and the load at this moment."""
    import psutil
    import torch
    from copycat import ops

    build = ops.build_info()
    found: dict[str, Value] = {
        "cpu": _cpu_model(),
        "instructions": str(build["cpu_instructions"]),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": round(psutil.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
