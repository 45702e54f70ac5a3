"""How steady must a shot be for a Clean Plate?

``python -m benchmarks.ablations.clean_plate SHOTS`` trains the paint-out of ``benchmarks.shots`` with Clean Plate Auto
and Off for ``--budget`` CPU-seconds of one thread each: the shot as it is, with grain that differs between Input and
Ground Truth inside the patch, with frames that weave by half a pixel, and with an exposure that changes by a tenth of a
stop from frame to frame. The scored frames are changed in the same way.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, read_frame, write_frame
from copycat.sequence.pairs import Pair

from benchmarks import record
from benchmarks.ablations.recipe import BASE, Task, train
from benchmarks.shots import RGB, SHOTS

GRAIN, WEAVE, STOPS = 0.01, 0.5, 0.1
CHANGES = ("as it is", "grain", "weave", "exposure")


def changed(pixels: np.ndarray, change: str, frame: int, side: str, inside: np.ndarray) -> np.ndarray:
    """A frame [H, W, 3] of a less steady shot; ``side`` is input or truth, ``inside`` [H, W] the patch."""
    random = np.random.default_rng(frame)
    if change == "grain":
        grain = random.normal(0, GRAIN, pixels.shape)
        own = np.random.default_rng((frame, 1)).normal(0, GRAIN, pixels.shape)
        grain = np.where(inside[..., None] & (side == "truth"), own, grain)
        # Equally strong at every brightness, as displayed.
        return (pixels + grain * 2.2 * np.maximum(pixels, 0.002) ** (1.2 / 2.2)).astype(np.float32)
    if change == "weave":
        matrix = np.concatenate([np.eye(2), random.uniform(-WEAVE, WEAVE, (2, 1))], axis=1)
        size = pixels.shape[1::-1]
        return cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if change == "exposure":
        return (pixels * 2 ** random.uniform(-STOPS, STOPS)).astype(np.float32)
    return pixels


def prepare(change: str, shots: Path, out: Path) -> Task:
    """Writes the training frames and the scored frames."""
    shot, task = SHOTS["paintout"](shots, out), Task.real("paintout", shots, out)
    for side, sequence in (("input", shot.plate), ("truth", shot.truth)):
        for frame in sorted({*shot.training, *task.held_out}):
            pixels = read_frame(sequence.path(frame), RGB, np.float32).pixels
            unsteady = changed(pixels, change, frame, side, shot.inside(frame))
            write_frame(out / change / f"{side}.{frame:04d}.exr", unsteady, RGB, dtype="half")
    source, truth = (ImageSequence.parse(str(out / change / f"{side}.%04d.exr")) for side in ("input", "truth"))
    return replace(task, pair=Pair(str(source), str(truth)), source=source, truth=truth)


def main() -> None:
    """Prints a row per training."""
    parser = argparse.ArgumentParser(description="Clean Plate on unsteady shots")
    parser.add_argument("shots", type=Path, help="directory with paintout_table")
    parser.add_argument("--budget", type=float, default=60)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=CHANGES)
    parser.add_argument("--out", type=Path, default=Path("build/clean_plate"))
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    print("| paint-out | Clean Plate | steps | PSNR | inside | outside |\n|---|---|---|---|---|---|")
    for change in options.only:
        task = prepare(change, options.shots, options.out)
        for choice in ("Off", "Auto"):
            scored = train(task, replace(BASE, knobs={**BASE.knobs, "clean_plate": choice}), options.budget, 0)
            rows.append({"change": change, "clean_plate": choice, "budget": options.budget, **scored})
            record.write("clean_plate", rows, options.json)
            cells = " | ".join(f"{scored[name]:.2f}" for name in ("psnr", "inside", "outside"))
            print(f"| {change} | {choice} | {scored['steps']:.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
