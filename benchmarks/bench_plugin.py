"""How much time do plugin and worker add to the network's own, and how fast are pairs handed over?

Runs the real plugin and the real worker in the test host. The model is a stand-in that does next to nothing, or
``--model``; its own time is measured around the call inside the worker and subtracted.

    python -m benchmarks.bench_plugin [--model FILE.cat] [--renders 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import ofx_host  # noqa: E402

UHD = (2160, 3840, 4)
LIMIT_MILLISECONDS = 60.0
LIMIT_GIGABYTES = 1.0

WORKER = """
import sys, time, torch
from copycat.worker import server

class Timed:
    def __init__(self, model):
        self.model, self.channels_in, self.channels_out = model, model.channels_in, model.channels_out
    def __call__(self, planes, **options):
        started = time.perf_counter()
        result = self.model(planes, **options)
        with open({times!r}, "a") as stream:
            print(time.perf_counter() - started, file=stream)
        return result

class Nothing:
    channels_in = channels_out = ("R", "G", "B")
    def __call__(self, planes, out, **options):
        return torch.mul(planes, 0.5, out=out)

def load(path, device, half_precision):
    if path.endswith("nothing.cat"):
        return Timed(Nothing())
    from copycat.inference.model import load
    return Timed(load(path))

server.serve_descriptor(int(sys.argv[-1]), load)
"""


def interpreter(folder: Path, times: Path) -> Path:
    """An "interpreter" that runs a worker whose model is timed."""
    worker, script = folder / "worker.py", folder / "python"
    worker.write_text(WORKER.format(times=str(times)))
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{worker}" "$@"\n')
    script.chmod(0o755)
    return script


def peak_kilobytes(pid: int) -> int:
    """The most memory a process has had, shared memory included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measure_renders(folder: Path, model: Path, renders: int) -> dict[str, Any]:
    """Milliseconds of a render beyond the model's own time, and the copies of the frame."""
    times = folder / "times"
    frame = np.random.default_rng(0).random(UHD, dtype=np.float32)
    tiny = frame[:16, :16]
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": str(interpreter(folder, times))}) as host:
        host.create("Inference", modelFile=str(model))
        host.clip("Source", {1.0: tiny, 2.0: frame})
        host.render(tiny, time=1)  # loads everything but the buffers of the frame
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()
        before = [peak_kilobytes(host.process.pid), peak_kilobytes(int(children[0]))]
        output = host.output(frame)
        del output["to"]
        total, model_time = [], []
        for _ in range(renders + 1):
            total.append(host.do("render", time=2, output=output)["seconds"])
            model_time.append(float(times.read_text().splitlines()[-1]))
        after = [peak_kilobytes(host.process.pid), peak_kilobytes(int(children[0]))]
    beyond = [1000 * (a - b) for a, b in zip(total[1:], model_time[1:], strict=True)]
    size = frame.nbytes / 1024
    return {
        "render ms": 1000 * statistics.median(total[1:]),
        "model ms": 1000 * statistics.median(model_time[1:]),
        "beyond ms": statistics.median(beyond),
        "beyond ms, best": min(beyond),
        # The host's own output picture is one of its two; the shared one is in both processes and counted once.
        "copies": (after[0] - before[0]) / size - 1 + (after[1] - before[1]) / size - 1,
    }


def measure_hand_over(folder: Path, pairs: int) -> dict[str, Any]:
    """Gigabytes a second at which pairs go from the host's clips to the worker."""
    frames = {float(i): np.random.default_rng(i).random(UHD, dtype=np.float32) for i in range(1, pairs + 1)}
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": sys.executable}) as host:
        host.create("CopyCat", "General", dataDirectory=str(folder / "data"))
        host.clip("Input", frames)
        host.clip("GroundTruth", frames)
        host.do("change", param="createInference")  # fails, for there is no run yet, but starts the worker
        steps = host.do("change", param="startTraining", cancel_at=0.8)["progress"]
    moments = [seconds for seconds, _ in steps]
    rates = [2 * frames[1.0].nbytes / (b - a) / 1e9 for a, b in itertools.pairwise(moments)]
    return {"first pair GB/s": rates[0], "median GB/s": statistics.median(rates), "best GB/s": max(rates)}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--renders", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=4)
    record.add_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nothing = folder / "nothing.cat"
        nothing.write_bytes(b"a model that does nothing")
        load = os.getloadavg()[0]
        found: dict[str, Any] = {
            "render": measure_renders(folder, (options.model or nothing).absolute(), options.renders),
            "hand over": measure_hand_over(folder, options.pairs),
        }
        found["load"] = [round(load, 1), round(os.getloadavg()[0], 1)]
    print(f"UHD float RGBA, {UHD[0] * UHD[1] * 16 / 1e6:.0f} MB a frame; medians of {options.renders} renders")
    print(f"load of the machine before and after: {found['load']}")
    for name in ("render", "hand over"):
        for quantity, value in found[name].items():
            print(f"  {name:10} {quantity:20} {value:10.2f}")
    beyond, rate = found["render"]["beyond ms"], found["hand over"]["median GB/s"]
    print(f"  beyond the network: {beyond / LIMIT_MILLISECONDS:.2f} of the {LIMIT_MILLISECONDS:.0f} ms allowed")
    print(f"  handing over: {rate / LIMIT_GIGABYTES:.2f} times the {LIMIT_GIGABYTES:.0f} GB/s required")
    record.write("bench_plugin", [{"part": name, **found[name]} for name in ("render", "hand over")], options.json)


if __name__ == "__main__":
    main()
