"""What do several processes gain? The time of a training step, alone and together, on this machine.

    python -m benchmarks.bench_distributed [--sizes Small,Medium] [--crops 128] [--processes 1x2,1x1,2x1] [--steps 40]
        [--json FILE]

``2x1`` are two processes of one thread each. T1 through the real command line, five crops in a step; the median time
between the steps of the ``.summary`` without its first quarter. Processes that share a processor show the cost of
working together, not the gain of more machines.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise, product
from pathlib import Path

from copycat.runs import SummaryReader, find_run

from benchmarks import record
from benchmarks.tasks import build


def step_seconds(task: Path, processes: int, threads: int, size: str, crop: int, steps: int) -> float:
    """Trains, and returns the median time of a step."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "copycat", "train", str(task / "train/src"), str(task / "train/dst")]
        command += ["--data-directory", out, "--epochs", str(steps), "--model-size", size, "--crop-size", str(crop)]
        command += ["--image-interval", "100000", "--no-use-multi-resolution-training"]
        command += ["--processes", str(processes)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        lines = SummaryReader(find_run(out).summary).poll()[0]
    times = [line["time"] for line in lines if "loss" in line][steps // 4 :]
    return statistics.median(b - a for a, b in pairwise(times))


def main() -> None:
    """Prints a row for each case; the ratio is to the first of its size and crop."""
    parser = argparse.ArgumentParser(description="Training steps of several processes")
    parser.add_argument("--sizes", default="Small,Medium")
    parser.add_argument("--crops", default="128")
    parser.add_argument("--processes", default="1x2,1x1,2x1", help="PROCESSESxTHREADS, with commas")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"))
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    task = build("t1", options.frames)
    print("| size, crop | processes x threads | ms a step | ratio |\n|---|---|---|---|", flush=True)
    for size, crop in product(options.sizes.split(","), map(int, options.crops.split(","))):
        first = 0.0
        for case in options.processes.split(","):
            processes, threads = map(int, case.split("x"))
            seconds = step_seconds(task, processes, threads, size, crop, options.steps)
            first = first or seconds
            case_row = {"size": size, "crop": crop, "processes": processes, "threads": threads}
            rows.append({**case_row, "milliseconds": 1000 * seconds, "ratio": first / seconds})
            record.write("bench_distributed", rows, options.json)
            print(f"| {size}, {crop} | {case} | {1000 * seconds:.0f} | {first / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
