"""``python -m benchmarks.shotbench``: every tool on every task, on one clock."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.shotbench import page
from benchmarks.shotbench.clock import Limit
from benchmarks.shotbench.task import NAMES, Task, prepare
from benchmarks.shotbench.tool import Job, Setup, Tool
from benchmarks.shotbench.tools import REPOSITORIES, TOOLS, adapters

KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"
_DAVIS = "https://github.com/MathLee/EOR-VOS"


def main() -> None:
    """Prints and records a row for each run, and the mean of the runs; then writes the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shotbench", description="Compares tools that learn from painted frames."
    )
    parser.add_argument("--tasks", nargs="+", default=["t1", "t2"], metavar="TASK", help=f"{', '.join(NAMES)}")
    parser.add_argument("--tools", nargs="+", default=["nothing", "copycat"], metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="file with a further tool")
    parser.add_argument("--runs", type=int, default=3, help="repetitions (of copycat: seeds); each number's spread")
    parser.add_argument("--budget", type=float, help="CPU-seconds of a training, instead of the task's own")
    parser.add_argument("--seconds", type=float, help="wall seconds of a training instead, for a GPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shots", type=Path, help="folder of the real shots")
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--peers", type=Path, help=f"folder with clones named {', '.join(REPOSITORIES)}")
    parser.add_argument("--python", default=sys.executable, help="interpreter that runs the peers")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--fetch", action="store_true", help="clone peers and DAVIS below --out if they are missing")
    parser.add_argument("--out", type=Path, default=Path("build/shotbench"), help="for tasks, models, frames, the page")
    parser.add_argument("--results", type=Path, default=record.FOLDER, help="folder of the results")
    options = parser.parse_args()
    if options.fetch:
        _fetch(options)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    setup = Setup(options.peers, options.python, options.knobs)
    try:
        known = TOOLS | {tool.name: tool for path in options.adapter for tool in adapters(path)}
        if unknown := [name for name in options.tools if name not in known]:
            raise ValueError(f"{unknown[0]} is no tool; there are {', '.join(known)}")
        tools = [known[name](setup) for name in options.tools]
        tasks = [prepare(name, options.out / "tasks", options.shots, options.davis) for name in options.tasks]
    except ValueError as problem:
        parser.error(str(problem))
    failed = 0
    for task in tasks:
        for tool in tools:
            try:
                _measure(tool, task, options)
            except RuntimeError as problem:  # the other tools still run
                print(f"{task.name}, {tool.name}: {problem}", file=sys.stderr, flush=True)
                failed += 1
    print(page.write(options.results, options.out, tasks))
    raise SystemExit(min(failed, 1))


def _measure(tool: Tool, task: Task, options: argparse.Namespace) -> None:
    limit = Limit(options.seconds, wall=True) if options.seconds else Limit(options.budget or task.budget)
    name = result_name(task.name, tool.name, options)
    rows: list[dict[str, record.Value]] = []
    runs = []
    for number in range(1 if tool.name == "nothing" else options.runs):
        out = options.out / task.name / tool.name / f"run{number}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        runs.append(tool.run(Job(task, number, limit, options.threads, options.device, out)))
        rows.append({"run": str(number), **runs[-1]})
        print(f"{task.name}, {tool.name}, run {number}, {limit}:", _line(runs[-1]), flush=True)
        mean = {key: float(np.mean([figures[key] for figures in runs])) for key in runs[-1]}
        head: dict[str, record.Value] = {"run": "mean", "version": tool.version(), "device": options.device}
        record.write(name, [*rows, head | mean], options.results / f"{name}.json")


def result_name(task: str, tool: str, options: argparse.Namespace) -> str:
    """The name of a result: the task, the tool, and the limit if it is not the task's own."""
    limit = f"-{options.seconds:.0f}s-wall" if options.seconds else f"-{options.budget:.0f}s" if options.budget else ""
    return f"shotbench-{task}-{tool}{limit if tool != 'nothing' else ''}"


def _line(figures: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in figures.items())


def _fetch(options: argparse.Namespace) -> None:
    """Clones what is missing and names the clones in ``options``."""
    if options.peers is None:
        options.peers = options.out / "peers"
        for name, url in REPOSITORIES.items():
            _clone(url, options.peers / name)
    if options.davis is None and any(task.startswith("davis-") for task in options.tasks):
        _clone(_DAVIS, options.out / "davis")
        options.davis = options.out / "davis/DAVIS"


def _clone(url: str, folder: Path) -> None:
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, str(folder)], check=True)


if __name__ == "__main__":
    main()
