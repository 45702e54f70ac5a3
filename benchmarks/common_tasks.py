"""How good is the picture after a fixed CPU time? The common tasks through the real command line, PNG in, PNG out.

``python -m benchmarks.common_tasks t1`` (or t2) trains with each seed in two threads, renders the held-out frames with
``copycat infer``, and prints the scores, the CPU time of the training's whole process tree and the exact commands.
What no option names is the default. ``flicker`` is that of five consecutive frames (``benchmarks.flicker``).
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
from pathlib import Path

import numpy as np

from benchmarks.score import flicker8, score
from benchmarks.tasks import NEIGHBOURS, build, build_frames

BUDGET = {"t1": 600.0, "t2": 300.0}
# Start-up counts as CPU time too, so a little less than the budget is asked for.
RESERVE = 14.0
KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"
THREADS = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def run(task: Path, budget: float, seed: int, knobs: str, out: Path) -> dict[str, float]:
    """Trains and renders once; returns the scores, the steps and the CPU seconds."""
    minutes = (budget - RESERVE) / 2 / 60
    train = [sys.executable, "-m", "copycat", "train", str(task / "train/src"), str(task / "train/dst")]
    train += ["--data-directory", str(out), "--run-name", "run", "--minutes", f"{minutes:.3f}", "--seed", str(seed)]
    train += shlex.split(knobs)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _call(train)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    model = max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    _call([sys.executable, "-m", "copycat", "infer", str(model), str(task / "test/src"), str(out / "made/%04d.png")])
    if cpu > budget:
        raise RuntimeError(f"the training took {cpu:.0f} CPU-seconds, more than the {budget:.0f} allowed")
    neighbours = build_frames(task.name, NEIGHBOURS[task.name], task / "neighbours")
    _call([sys.executable, "-m", "copycat", "infer", str(model), str(neighbours / "src"), str(out / "run/%04d.png")])
    scores = score(out / "made", task / "test") | {"flicker": flicker8(out / "run", neighbours)}
    return {**scores, "steps": float(model.stem.split("_")[-1]), "cpu_seconds": cpu}


def _call(command: list[str]) -> None:
    print("$", shlex.join(["copycat", *command[3:]]), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **THREADS})


def main() -> None:
    """Prints a row per seed and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=("t1", "t2"))
    parser.add_argument("--budget", type=float, help="CPU-seconds of the training (T1 600, T2 300)")
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
            rows.append(run(task, budget, seed, asked.knobs, Path(out)))
        print(_row(f"seed {seed}", rows[-1]), flush=True)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print(_row("mean", mean))
    print(f"{asked.task}, {budget:.0f} CPU-seconds, 2 threads, {platform.processor() or platform.machine()}")
    if asked.json:
        asked.json.write_text(json.dumps({"task": asked.task, "budget": budget, "rows": rows, "mean": mean}, indent=1))


def _row(name: str, values: dict[str, float]) -> str:
    return f"{name:8}" + "".join(f"  {key} {value:.4g}" for key, value in values.items())


if __name__ == "__main__":
    main()
