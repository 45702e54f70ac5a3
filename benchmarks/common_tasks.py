"""How good is the picture after a fixed CPU time? The common tasks through the real command line, PNG in, PNG out.

``python -m benchmarks.common_tasks t1`` (or t2) trains with each seed in two threads, renders the held-out frames with
``copycat infer``, and prints the scores, the CPU time of the training's whole process tree and the exact commands.
What no option names is the default. ``flicker`` is that of five consecutive frames (``benchmarks.flicker``).
``--seconds`` limits the wall time of the training instead, for a GPU; ``benchmarks.peers`` runs other tools like this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.score import flicker8, score
from benchmarks.tasks import NEIGHBOURS, build, build_frames

BUDGET = {"t1": 600.0, "t2": 300.0}
# Start-up counts too, so a little less than the budget is asked for.
RESERVE = 14.0
KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"
THREADS = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def run(task: Path, budget: float, seconds: float | None, seed: int, knobs: str, out: Path) -> dict[str, float]:
    """Trains and renders once; returns the scores, the steps and the seconds that the training took.

    Args:
        task: what ``build`` made.
        budget: CPU-seconds of the training.
        seconds: wall seconds of the training, instead of the budget.
        seed: of the training.
        knobs: options of copycat train.
        out: an empty directory.

    Raises:
        RuntimeError: the training took more than it may.
    """
    minutes = (seconds - RESERVE if seconds else (budget - RESERVE) / 2) / 60
    train = [sys.executable, "-m", "copycat", "train", str(task / "train/src"), str(task / "train/dst")]
    train += ["--data-directory", str(out), "--run-name", "run", "--minutes", f"{minutes:.3f}", "--seed", str(seed)]
    train += shlex.split(knobs)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    _call(train)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    model = max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    taken, allowed = (wall, seconds) if seconds else (cpu, budget)
    if taken > allowed:
        raise RuntimeError(f"the training took {taken:.0f} seconds, more than the {allowed:.0f} allowed")

    def render(frames: Path, made: Path) -> None:
        _call([sys.executable, "-m", "copycat", "infer", str(model), str(frames), str(made / "%04d.png")])

    steps = float(model.stem.split("_")[-1])
    return {**scores(task, out, render), "steps": steps, "cpu_seconds": cpu, "wall_seconds": wall}


def scores(task: Path, out: Path, render: Callable[[Path, Path], None]) -> dict[str, float]:
    """Renders the held-out frames and the neighbours, and scores them.

    Args:
        task: what ``build`` made.
        out: where to render to.
        render: is given a directory of frames and one for its results, which get the frames' names.
    """
    neighbours = build_frames(task.name, NEIGHBOURS[task.name], task / "neighbours")
    render(task / "test/src", out / "made")
    render(neighbours / "src", out / "run")
    return score(out / "made", task / "test") | {"flicker": flicker8(out / "run", neighbours)}


def _call(command: list[str]) -> None:
    print("$", shlex.join(["copycat", *command[3:]]), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **THREADS})


def main() -> None:
    """Prints a row per seed and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=("t1", "t2"))
    parser.add_argument("--budget", type=float, help="CPU-seconds of the training (T1 600, T2 300)")
    parser.add_argument("--seconds", type=float, help="wall seconds of the training instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"), help="where the task is built")
    asked = parser.parse_args()
    task = build(asked.task, asked.frames)
    budget = asked.budget or BUDGET[asked.task]
    rows = []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory(prefix="copycat-task-") as out:
            rows.append(run(task, budget, asked.seconds, seed, asked.knobs, Path(out)))
        print(line(f"seed {seed}", rows[-1]), flush=True)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print(line("mean", mean))
    limit = f"{asked.seconds:.0f} wall seconds" if asked.seconds else f"{budget:.0f} CPU-seconds, 2 threads"
    print(f"{asked.task}, {limit}, {platform.processor() or platform.machine()}")
    if asked.json:
        asked.json.write_text(json.dumps({"task": asked.task, "limit": limit, "rows": rows, "mean": mean}, indent=1))


def line(name: str, values: dict[str, float]) -> str:
    """One line of figures."""
    return f"{name:8}" + "".join(f"  {key} {value:.4g}" for key, value in values.items())


if __name__ == "__main__":
    main()
