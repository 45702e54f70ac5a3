"""What does a clean plate that moves cost, beside the network?

    python -m benchmarks.bench_plate SHOTS [--kinds moved parallax] [--enlarged 1 3 6] [--threads N] [--json FILE]

The shots of ``benchmarks.moved_shots`` (SHOTS is a directory with ``paintout_table``), enlarged from 640x360 up to UHD,
with grain on top. The plate of a frame is made of twelve painted ones, as a render makes it; the network is Small.
CPU-seconds and wall time, medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from copycat import ops
from copycat.data import moving_plate
from copycat.data.painted_frames import PaintedFrames
from copycat.model import tiles
from copycat.model.network import ROWS, Network
from copycat.sequence import ImageSequence, read_frame

from benchmarks import record
from benchmarks.moved_shots import build
from benchmarks.shots import Shot

_PAINTED = 12
_MEAN, _STD = 0.3, 0.25
_GRAIN = 0.03
_ENCODING = ops.Encoding((0.0,) * 3, (_MEAN,) * 3, (_STD,) * 3)


def _enlarged(sequence: ImageSequence, frame: int, factor: int) -> np.ndarray:
    """[H, W, 3] float32, file values."""
    pixels = read_frame(sequence.path(frame), ("R", "G", "B")).pixels.astype(np.float32)
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(frame).normal(0, _GRAIN, large.shape)
    return np.asarray(large * (1 + grain), np.float32)


def _seconds(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of CPU time and wall time."""
    times = []
    for _ in range(rounds):
        began = time.process_time(), time.perf_counter()
        work()
        times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    cpu, wall = zip(*times, strict=True)
    return statistics.median(cpu), statistics.median(wall)


def measure(shot: Shot, factor: int, rounds: int) -> record.Row:
    """A row for the frame in the middle of a shot, enlarged."""
    frames = shot.plate.frames()
    chosen = [frames[round(i)] for i in np.linspace(0, len(frames) - 1, _PAINTED + 1)]
    middle = chosen.pop(_PAINTED // 2)
    truths = [(_enlarged(shot.truth, frame, factor) - _MEAN) / _STD for frame in chosen]
    painted = PaintedFrames([moving_plate.painted_frame(one) for one in truths], _ENCODING, np.zeros(3))
    image = torch.from_numpy(_enlarged(shot.plate, middle, factor)).movedim(-1, 0).contiguous()
    network = Network(ROWS["Small"], 3, (0, 1, 2)).eval()
    plate = _seconds(lambda: painted.plate(image, _ENCODING, (0, 1, 2)), rounds)
    with torch.inference_mode():
        render = _seconds(lambda: tiles.render(network, image, (_ENCODING, _ENCODING)), rounds)
    return {
        "width": image.shape[2], "height": image.shape[1],
        "plate_cpu": plate[0], "plate_wall": plate[1], "render_cpu": render[0], "render_wall": render[1],
        "share": plate[0] / render[0],
    }  # fmt: skip


def main() -> None:
    """Prints and records a row for each shot and size."""
    parser = argparse.ArgumentParser(description="Cost of a clean plate that moves")
    parser.add_argument("shots", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["moved", "parallax"])
    parser.add_argument("--enlarged", nargs="+", type=int, default=[3, 6], help="from 640x360: 3 is HD, 6 is UHD")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    record.add_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[record.Row] = []
    for kind in args.kinds:
        with tempfile.TemporaryDirectory(prefix="copycat-plate-") as folder:
            shot = build(kind, args.shots, Path(folder))
            for factor in args.enlarged:
                row = measure(shot, factor, args.rounds)
                rows.append({"shot": kind, "threads": args.threads, **row})
                record.write("bench_plate", rows, args.json)
                print(
                    f"{kind:9} {row['width']}x{row['height']}: plate {row['plate_cpu']:.2f} CPU-s "
                    f"({row['plate_wall']:.2f} s), network {row['render_cpu']:.2f} CPU-s ({row['render_wall']:.2f} s)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
