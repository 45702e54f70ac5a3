"""How good is the picture after a fixed CPU time? The common tasks through the real command line, PNG in, PNG out.

``python -m benchmarks.common_tasks t1`` (or t2, or ``paintout --shots DIR``) trains with each seed in two threads,
renders the held-out frames with ``copycat infer``, and prints the scores, those of doing nothing, the CPU time of the
training's whole process tree and the exact commands. Options that are not named have their defaults. ``flicker`` is
that of five consecutive frames (``benchmarks.flicker``), on a real shot of all held-out frames. ``--seconds`` limits
the wall time of the training instead, for a GPU. ``benchmarks.peers`` runs other tools in the same way.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.score import flicker8, score
from benchmarks.tasks import NEIGHBOURS, build, build_frames

# The tasks, and the CPU-seconds of their training.
BUDGET = {"t1": 600.0, "t2": 300.0, "paintout": 300.0}
# Start-up counts too, so the training gets a little less than the budget.
RESERVE = 14.0
KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"


def run(task: Path, minutes: float, seed: int, knobs: str, out: Path) -> dict[str, float]:
    """Trains and renders once; returns the scores, the steps and the seconds that the training took.

    Args:
        task: the folder that ``build`` returns.
        minutes: wall time of the training, without its start.
        seed: the knob Seed.
        knobs: options of copycat train.
        out: an empty directory.
    """
    train = [sys.executable, "-m", "copycat", "train", str(task / "train/src"), str(task / "train/dst")]
    train += ["--data-directory", str(out), "--run-name", "run", "--minutes", f"{minutes:.3f}", "--seed", str(seed)]
    train += shlex.split(knobs)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    _call(train)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    model = max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)

    def render(frames: Path, rendered: Path) -> None:
        _call([sys.executable, "-m", "copycat", "infer", str(model), str(frames), str(rendered / "%04d.png")])

    steps = float(model.stem.split("_")[-1])
    return {**scores(task, out, render), "steps": steps, "cpu_seconds": cpu, "wall_seconds": wall}


def scores(task: Path, out: Path, render: Callable[[Path, Path], None]) -> dict[str, float]:
    """Renders and scores the held-out frames, and neighbouring frames for the flicker if these have none.

    Args:
        task: the folder that ``build`` returns.
        out: folder for the results.
        render: called with a directory of frames and one for the results, which get the frames' names.
    """
    run, rendered = task / "test", out / "rendered"
    render(run / "src", rendered)
    found = score(rendered, run)
    if task.name in NEIGHBOURS:
        run, rendered = build_frames(task.name, NEIGHBOURS[task.name], task / "neighbours"), out / "run"
        render(run / "src", rendered)
    return found | {"flicker": flicker8(rendered, run)}


def _call(command: list[str]) -> None:
    print("$", shlex.join(["copycat", *command[3:]]), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def options(parser: argparse.ArgumentParser) -> None:
    """Options of every tool."""
    parser.add_argument("task", choices=list(BUDGET))
    parser.add_argument("--shots", type=Path, help="directory with the real shots")
    parser.add_argument("--budget", type=float, help=f"CPU-seconds of the training ({BUDGET})")
    parser.add_argument("--seconds", type=float, help="wall seconds of the training instead")
    record.add_option(parser)
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"), help="folder of the built tasks")


def main() -> None:
    """Prints and records a row for doing nothing, one per seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    args = parser.parse_args()
    task = build(args.task, args.frames, args.shots)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    budget = args.budget or BUDGET[args.task]
    clock, allowed = ("wall_seconds", args.seconds) if args.seconds else ("cpu_seconds", budget)
    minutes = (allowed - RESERVE) / (1 if args.seconds else args.threads) / 60
    name = result_name("common_tasks", args)
    rows: list[record.Row] = []

    def keep(label: str, values: dict[str, float]) -> None:
        rows.append({"run": label, **values})
        print(line(label, values), flush=True)
        record.write(name, rows, args.json)

    with tempfile.TemporaryDirectory(prefix="copycat-task-") as out:
        keep("nothing", scores(task, Path(out), shutil.copytree))
    trained = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory(prefix="copycat-task-") as out:
            trained.append(run(task, minutes, seed, args.knobs, Path(out)))
        keep(f"seed {seed}", trained[-1])
        if trained[-1][clock] > allowed:
            raise RuntimeError(
                f"the training took {trained[-1][clock]:.0f} {clock}, more than the {allowed:.0f} allowed"
            )
    keep("mean", {key: float(np.mean([values[key] for values in trained])) for key in trained[0]})
    limit = f"{allowed:.0f} wall seconds" if args.seconds else f"{allowed:.0f} CPU-seconds, {args.threads} threads"
    print(f"{args.task}, {limit}")


def result_name(tool: str, args: argparse.Namespace) -> str:
    """The name of a result: the tool, the task, and the limit if it is not the task's own."""
    limit = f"-{args.seconds:.0f}s-wall" if args.seconds else f"-{args.budget:.0f}s" if args.budget else ""
    return f"{tool}-{args.task}{limit}"


def line(name: str, values: dict[str, float]) -> str:
    """One line of figures."""
    return f"{name:8}" + "".join(f"  {key} {value:.4g}" for key, value in values.items())


if __name__ == "__main__":
    main()
