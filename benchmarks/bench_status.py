"""How long does a host's interface wait for a status while renders are queued?

Runs the real plugin and the real worker in the test host, with a model that takes a quarter of a second for a frame.

    python -m benchmarks.bench_status [--renders 16] [--json FILE]
"""

from __future__ import annotations

import argparse
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


def measure(folder: Path, renders: int, changes: int = 10) -> dict[str, Any]:
    """Milliseconds from a knob's change to the status on the interface thread, with renders queued all the while."""
    model = folder / "stand-in.cat"
    model.write_bytes(b"a model of one line")
    data = folder / "data"
    data.mkdir()
    (data / "r.summary").write_text('{"step": 1, "loss": 1}\n')
    frame = np.random.default_rng(0).random((540, 960, 4), dtype=np.float32)
    variables = {"COPYCAT_PYTHON": str(ofx_host.stand_in(folder)), "COPYCAT_STAND_IN_SECONDS": "0.25"}
    with ofx_host.Host(folder, variables) as host:
        host.create("Inference", modelFile=str(model))
        host.clip("Source", {float(time): frame for time in range(renders)})
        host.render(frame, time=0)  # starts the worker
        host.create("CopyCat", "General", instance="copycat", dataDirectory=str(data))
        change = {"do": "change", "instance": "copycat", "param": "epochs"}
        answer = host.do(
            "render_together",
            renders=[{"time": time, "output": host.output(frame)} for time in range(renders)],
            meanwhile=[{**change, "value": 100 + number} for number in range(changes)],
        )
        shown = [message["text"] for message in host.messages()]
    assert shown
    assert not any("busy" in text for text in shown)
    times = [1000 * one["seconds"] for one in answer["meanwhile"]]
    return {
        "queued renders": renders,
        "renders s": max(one["seconds"] for one in answer["answers"]),
        "median ms": statistics.median(times),
        "worst ms": max(times),
    }


def main() -> None:
    """Prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=int, default=16)
    record.add_option(parser)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), options.renders)
    print(f"load of the machine before and after: {load:.1f}, {os.getloadavg()[0]:.1f}")
    for quantity, value in found.items():
        print(f"  {quantity:16} {value:8.1f}")
    record.write("bench_status", [{**found, "load": round(load, 1)}], options.json)


if __name__ == "__main__":
    main()
