"""Which model size is the best after how long? Quality of Small, Medium and Large on T1 over wall time, on any device.

    python -m benchmarks.size_curves [--device cuda] [--sizes Small,Medium,Large] [--seconds 20,60] [--json FILE]

Each size and time is a training of its own, through the command line: its schedule ends with the time, as a user's
does. The seconds are those of its Time Limit: reading counts; starting, saving and rendering do not.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import product
from pathlib import Path

from copycat.model.network import ROWS

from benchmarks import record
from benchmarks.shotbench.clock import Limit
from benchmarks.shotbench.task import prepare
from benchmarks.shotbench.tool import Job, Setup
from benchmarks.shotbench.tools import Copycat

_AROUND_IT = 300.0  # seconds for starting and saving; the training ends by itself


def main() -> None:
    """Prints and records a row for each training, then the best size for each time."""
    parser = argparse.ArgumentParser(description="Quality of each model size over time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--sizes", default=",".join(ROWS))
    parser.add_argument("--seconds", default="20,60", help="Time Limits, each in turn")
    parser.add_argument("--knobs", default="--crop-size 256")
    parser.add_argument("--tasks", type=Path, default=Path("build/tasks"), help="folder of the tasks")
    record.add_option(parser)
    options = parser.parse_args()
    task = prepare("t1", options.tasks, None, None)
    rows: list[record.Row] = []
    best: dict[float, tuple[float, str]] = {}
    for seconds, size in product(map(float, options.seconds.split(",")), options.sizes.split(",")):
        out = options.tasks / "curves" / f"{size}-{seconds:.0f}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        tool = Copycat(Setup(None, "", f"--model-size {size} --image-interval 100000 {options.knobs}"))
        tool.RESERVE = _AROUND_IT
        limit = Limit(seconds + _AROUND_IT, wall=True)
        figures = tool.run(Job(task, 0, limit, 1, options.device, out))
        rows.append({"size": size, "seconds": seconds, "device": options.device, **figures})
        record.write("size_curves", rows, options.json)
        print(f"{size:7} {seconds:5.0f} s  {figures['steps']:7.0f} steps  {figures['psnr']:6.2f} dB", flush=True)
        best[seconds] = max(best.get(seconds, (0.0, "")), (figures["psnr"], size))
    print("\n".join(f"after {seconds:.0f} s the best is {size}" for seconds, (_, size) in best.items()))


if __name__ == "__main__":
    main()
