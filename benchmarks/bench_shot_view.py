"""How long does Shot view take to show a frame, and what does it cost the trainer?

A real training on HD frames, and the real page's server, args over HTTP as the browser asks it. First the time from
asking for the result of a frame to its picture, while the training goes on and after it, each time for another frame.
Then periods in turn: nobody looks, and somebody does, so that the picture follows the training. The trainer's rate in
each comes from its ``.summary``. Other work disturbs both; the result's ``load`` says how much there was.

    python -m benchmarks.bench_shot_view [--size Small] [--crop-size 128] [--frames 6] [--periods 4] [--seconds 60]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from copycat.runs import Run, SummaryReader, trainer_lives
from copycat.sequence import write_frame

from benchmarks import record

HD = (1080, 1920)
FIRST = 1001
POLL_SECONDS = 1.5  # as in static/shot.js
CHANNELS = ("R", "G", "B")


def write_shot(folder: Path, frames: int) -> None:
    """Writes noisy HD frames as half EXR (ZIP); the first is painted."""
    for number in range(FIRST, FIRST + frames):
        pixels = np.random.default_rng(number).random((*HD, 3), np.float32)
        write_frame(folder / f"plate.{number}.exr", pixels, CHANNELS, dtype="half", compression="zip")
        if number == FIRST:
            write_frame(folder / f"clean.{number}.exr", pixels * 0.5, CHANNELS, dtype="half", compression="zip")


class View:
    """A browser's requests for results of one run.

    Attributes:
        have: the version of the weights that the last picture shows.
        cpu_seconds: what each picture cost the process that made it.
    """

    def __init__(self, address: str, run: str) -> None:
        parts = urllib.parse.urlsplit(address)
        token = urllib.parse.parse_qs(parts.query)["token"][0]
        self._base = f"{parts.scheme}://{parts.netloc}/shot/{run}/0/result"
        self._cookie = f"copycat_{parts.port}={token}"
        self.have = ""
        self.cpu_seconds: list[float] = []

    def ask(self, frame: int, newer: bool = False) -> float | None:
        """Asks for a frame's result, or for a newer one; seconds until it came, None where there is none."""
        have = f"&have={urllib.parse.quote(self.have)}" if newer else ""
        request = urllib.request.Request(f"{self._base}/{frame}?viewer=bench{have}", headers={"Cookie": self._cookie})
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=300) as answer:
            answer.read()
            if answer.status == 204:
                return None
            facts = json.loads(answer.headers["copycat-picture"])
        self.have = facts["version"]
        self.cpu_seconds.append(facts["cpu_seconds"])
        return time.perf_counter() - started


@contextmanager
def page(directory: Path) -> Iterator[str]:
    """The page's server; yields its address."""
    command = [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip().rpartition(" ")[2]
        time.sleep(3)
        try:
            yield address
        finally:
            server.terminate()


@contextmanager
def training(folder: Path, run: Run, size: str, crop: int) -> Iterator[None]:
    """A training without an end; begins when the first steps are made."""
    command = [sys.executable, "-m", "copycat", "train", folder / "plate.####.exr", folder / "clean.####.exr"]
    command += ["-d", run.directory, "--run-name", run.name, "--minutes", 600, "--model-size", size]
    command += ["--crop-size", crop, "--no-use-multi-resolution-training"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as trainer:
        try:
            while not run.summary.exists() or reached(run)[0] < 3:
                time.sleep(1)
            yield
        finally:
            trainer.send_signal(signal.SIGTERM)


def reached(run: Run) -> tuple[int, float]:
    """The last step in the summary, and its seconds of training."""
    steps = [entry for entry in SummaryReader(run.summary).poll()[0] if "loss" in entry]
    return (int(steps[-1]["step"]), float(steps[-1]["time"])) if steps else (0, 0.0)


def period(run: Run, seconds: float, view: View | None) -> tuple[float, int]:
    """The trainer's steps per second while somebody looks or nobody does, and how many pictures came."""
    first, began = reached(run)
    deadline, pictures = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        if view and view.ask(FIRST, newer=True) is not None:
            pictures += 1
        time.sleep(POLL_SECONDS)
    last, ended = reached(run)
    return (last - first) / max(ended - began, 1e-9), pictures


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="Small", choices=("Small", "Medium", "Large"))
    parser.add_argument("--crop-size", type=int, default=128)
    parser.add_argument("--frames", type=int, default=6, help="frames to ask for")
    parser.add_argument("--periods", type=int, default=4, help="periods of each kind")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a period")
    record.add_option(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="copycat-") as temporary:
        folder = Path(temporary)
        run = Run(folder / "runs", "r")
        write_shot(folder, args.frames + 1)
        run.directory.mkdir()
        with page(run.directory) as address:
            view, rates, pictures = View(address, run.name), {"alone": [], "watched": []}, 0
            with training(folder, run, args.size, args.crop_size):
                view.ask(FIRST)  # starts the process and reads the weights
                while_training = [view.ask(FIRST + i) or 0.0 for i in range(1, args.frames + 1)]
                for _ in range(args.periods):
                    rates["alone"].append(period(run, args.seconds, None)[0])
                    rate, shown = period(run, args.seconds, view)
                    rates["watched"].append(rate)
                    pictures += shown
            while trainer_lives(run):
                time.sleep(0.5)
            view.ask(FIRST)
            alone = [view.ask(FIRST + i) or 0.0 for i in range(1, args.frames + 1)]
    row = {
        "size": args.size,
        "crop": args.crop_size,
        "cpu_seconds": round(statistics.median(view.cpu_seconds), 3),
        "seconds": round(statistics.median(alone), 3),
        "seconds_slowest": round(max(alone), 3),
        "seconds_training": round(statistics.median(while_training), 3),
        "seconds_training_slowest": round(max(while_training), 3),
        "steps_per_second": round(statistics.mean(rates["alone"]), 3),
        "steps_per_second_watched": round(statistics.mean(rates["watched"]), 3),
        "pictures_per_minute": round(pictures / args.periods / args.seconds * 60, 2),
    }
    row["cost"] = round(1 - row["steps_per_second_watched"] / row["steps_per_second"], 4)
    print(json.dumps(row, indent=1))
    print(record.write("bench_shot_view", [row], args.json))


if __name__ == "__main__":
    main()
