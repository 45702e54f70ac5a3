"""What it costs to paint a frame more: a run of four frames to which the fifth is added, against one of all five.

``python -m benchmarks.living`` trains T1 with all five frames for ``--steps`` steps. Then it trains with four of them
for as long, adds the fifth while that run goes on, and has it end a quarter of the steps later. Both models render the
held-out frames. ``--steps`` counts steps, so that a busy machine changes nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from copycat.runs import SummaryReader, find_run, find_runs

from benchmarks import record
from benchmarks.score import score
from benchmarks.tasks import TRAINING, build

KNOBS = "--model-size Small --crop-size 128 --image-interval 100000 --checkpoint-interval 100000"
ADDED = 66
SHARE = 0.25  # of the first run's steps, in which the second must have caught up
_PATIENCE_SECONDS = 3600.0


def main() -> None:
    """Prints and records a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2000, help="of the run with all frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--added", type=int, default=ADDED, choices=TRAINING["t1"], help="the frame that is added")
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"), help="folder of the built tasks")
    record.add_option(parser)
    args = parser.parse_args()
    task = build("t1", args.frames)
    rows: list[record.Row] = []
    with tempfile.TemporaryDirectory(prefix="copycat-living-") as folder:
        five = _five(Path(folder) / "five", task, args)
        rows.append({"run": "all five from the start", **five})
        print(rows[-1], flush=True)
        living = _living(Path(folder) / "living", task, args, five["steps"])
        rows.append({"run": "the fifth added", **living})
        print(rows[-1], flush=True)
    difference = living["psnr"] - five["psnr"]
    rows.append({"run": "difference", "psnr": difference, "share_of_steps": living["steps_after"] / five["steps"]})
    print(rows[-1], flush=True)
    record.write("living-t1", rows, args.json)


def _five(out: Path, task: Path, args: argparse.Namespace) -> dict[str, Any]:
    with _train(out, task / "train", args, args.steps) as process:
        process.wait(_PATIENCE_SECONDS)
    return _scored(out, task)


def _living(out: Path, task: Path, args: argparse.Namespace, steps: int) -> dict[str, Any]:
    """Trains with four frames for ``steps``, adds the fifth, and finishes after a quarter of ``steps`` more."""
    shot = out / "shot"
    for folder in ("src", "dst"):
        shutil.copytree(task / "train" / folder, shot / folder)
        (shot / folder / f"{args.added:04d}.png").unlink()
    more = int(steps * SHARE)
    # The plan of an artist who expects to paint more.
    with _train(out, shot, args, 2 * steps) as process:
        _await(out, lambda lines: _step(lines) >= steps, process)
        for folder in ("src", "dst"):
            shutil.copy(task / "train" / folder / f"{args.added:04d}.png", shot / folder)
        began = time.monotonic()
        change = _await(out, lambda lines: next((line for line in lines if "frames" in line), None), process)
        taken = time.monotonic() - began
        _call("ask", str(out), "plan", "--epochs", str(change["step"] + more))
        process.wait(_PATIENCE_SECONDS)
    return _scored(out, task) | {
        "seconds_until_taken": taken,
        "step_of_change": change["step"],
        "steps_after": _step(_lines(out)) - change["step"],
    }


def _train(out: Path, shot: Path, args: argparse.Namespace, epochs: int) -> subprocess.Popen[bytes]:
    """Starts a training; with Batch Size Auto an epoch is a step."""
    words = ["train", str(shot / "src"), str(shot / "dst"), "--data-directory", str(out), "--epochs", str(epochs)]
    words += ["--seed", str(args.seed), *shlex.split(args.knobs)]
    print("$", shlex.join(["copycat", *words]), flush=True)
    return subprocess.Popen([sys.executable, "-m", "copycat", *words], stdout=subprocess.DEVNULL)


def _call(*words: str) -> None:
    print("$", shlex.join(["copycat", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "copycat", *words], check=True, stdout=subprocess.DEVNULL)


def _lines(out: Path) -> list[dict[str, Any]]:
    runs = find_runs(out) if out.is_dir() else []
    return SummaryReader(runs[0].summary).poll()[0] if runs else []


def _step(lines: list[dict[str, Any]]) -> int:
    return max((line["step"] for line in lines if "loss" in line), default=0)


def _await(out: Path, found: Any, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (result := found(_lines(out))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the training of {out} ended too soon")
        time.sleep(0.2)
    return result


def _scored(out: Path, task: Path) -> dict[str, Any]:
    model = find_run(out).checkpoints()[-1][1]
    _call("infer", str(model), str(task / "test/src"), str(out / "rendered/%04d.png"))
    return {**score(out / "rendered", task / "test"), "steps": _step(_lines(out))}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
