"""Gain and cost of keeping freed memory in the process (``copycat.data.memory.keep_memory``).

    python -m benchmarks.bench_memory [--rounds N] [--threads N] [--json FILE]

Each case runs in processes of its own, with and without in turns, on the CPU: training steps of five crops, and the
inference of a whole HD frame. CPU time, page faults and the process's peak memory; medians over the rounds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from copycat.data.memory import keep_memory
from copycat.model import tiles
from copycat.model.network import ROWS, Network

from benchmarks import record
from benchmarks.bench_training import ENCODING, Ours, synthetic

CPU = torch.device("cpu")
STEPS = 6
CASES = {
    "step, Small, 128": ("Small", 128),
    "step, Small, 256": ("Small", 256),
    "step, Medium, 128": ("Medium", 128),
    "step, Medium, 256": ("Medium", 256),
    "HD frame, Small": ("Small", 0),
    "HD frame, Medium": ("Medium", 0),
}


def work(size: str, crop: int) -> Callable[[], object]:
    """A training step, or the inference of a frame if ``crop`` is 0."""
    if crop:
        return Ours(size, crop, 5, synthetic(CPU), CPU).step
    network, frame = Network(ROWS[size], 3, (0, 1, 2)).bfloat16(), torch.rand(3, 1080, 1920)
    return torch.inference_mode()(lambda: tiles.render(network, frame, (ENCODING, ENCODING)))


def measure(case: str) -> dict[str, float]:
    """CPU milliseconds, page faults and the peak memory in MB, in this process."""
    repeat = work(*CASES[case])
    for _ in range(2):
        repeat()
    faults, milliseconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(STEPS):
        began = time.process_time()
        repeat()
        milliseconds.append((time.process_time() - began) * 1e3)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "milliseconds": statistics.median(milliseconds),
        "faults": (used.ru_minflt - faults) / STEPS,
        "peak": used.ru_maxrss / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", choices=list(CASES), help="one case in this process, as JSON")
    parser.add_argument("--keep", action="store_true")
    record.add_option(parser)
    options = parser.parse_args()
    if options.measure:
        if options.keep:
            keep_memory()
        torch.set_num_threads(options.threads)
        print(json.dumps(measure(options.measure)))
        return
    print(f"torch {torch.__version__}, {options.threads} threads; freed memory goes back / is kept")
    rows: list[record.Row] = []
    for case in CASES:
        rounds: list[list[dict[str, float]]] = [[], []]
        for _ in range(options.rounds):
            for kept, found in enumerate(rounds):
                command = [sys.executable, "-m", "benchmarks.bench_memory", "--measure", case]
                command += ["--threads", str(options.threads), *["--keep"] * kept]
                found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        back, held = ({key: statistics.median(one[key] for one in found) for key in found[0]} for found in rounds)
        for kept, found in enumerate((back, held)):
            rows.append({"case": case, "kept": bool(kept), "threads": options.threads, **found})
        record.write("bench_memory", rows, options.json)
        print(
            f"{case:18} {back['milliseconds']:7.0f} / {held['milliseconds']:5.0f} ms of CPU time "
            f"({1 - held['milliseconds'] / back['milliseconds']:4.0%} less), "
            f"{back['faults']:7.0f} / {held['faults']:5.0f} page faults, "
            f"peak {back['peak']:5.0f} / {held['peak']:5.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
