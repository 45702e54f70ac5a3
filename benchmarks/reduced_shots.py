"""The five shots of the ablations at a fraction of their size, so that trainings are short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, read_frame, write_frame
from copycat.sequence.pairs import Pair

from benchmarks.ablations.recipe import BASE, Task, Variant
from benchmarks.tasks import build_frames

RGB = ("R", "G", "B")


@dataclass(frozen=True)
class Shot:
    """A shot with a few painted frames.

    Attributes:
        source, truth: patterns below the directory of the shots; empty for T1 and T2.
        first, count: its frames.
        scale: factor by which frames are reduced.
        defocus: radius in pixels of the disc that blurs the truth into the Input; 0 reads the Input from a file.
        matte: learn rgb -> alpha.
    """

    source: str
    truth: str
    first: int
    count: int
    scale: float = 2
    defocus: int = 0
    matte: bool = False

    def at(self, *fractions: float) -> list[int]:
        """Frames at fractions of the shot, from 0, the first, to 1, the last."""
        return [self.first + round(fraction * (self.count - 1)) for fraction in fractions]

    @property
    def variant(self) -> Variant:
        """The recipe of its trainings."""
        channels = {"input_channels": "R,G,B", "ground_truth_channels": "A"} if self.matte else {}
        return replace(BASE, knobs={"model_size": "Small", "crop_size": 64, **channels})


SHOTS = {
    "t1": Shot("", "", 0, 132),
    "t2": Shot("", "", 0, 50),
    "deblur": Shot("", "tos_captain/plate.%04d.exr", 1001, 24, scale=4, defocus=2),
    "matte": Shot("dancer_alpha/comp.%04d.exr", "dancer_alpha/fg.%04d.exr", 1001, 24, scale=1.5, matte=True),
    "paintout": Shot("paintout_table/plate.%04d.exr", "paintout_table/clean.%04d.exr", 1001, 40),
}


def prepare(name: str, shots: Path, out: Path, trained: Sequence[int], held_out: Sequence[int]) -> Task:
    """Writes the possible training frames and the scored frames, reduced."""
    shot = SHOTS[name]
    extension = "exr" if shot.truth else "png"
    numbers = [
        frame for frame in sorted({*trained, *held_out}) if not (out / f"truth/{frame:04d}.{extension}").exists()
    ]
    if shot.truth:
        patterns = [shots / (shot.source or shot.truth), shots / shot.truth]
    else:
        full = build_frames(name, numbers, out / "full")
        patterns = [full / "src/%04d.png", full / "dst/%04d.png"]
    pair = Pair(str(out / f"input/%04d.{extension}"), str(out / f"truth/%04d.{extension}"))
    for side, pattern in zip(("input", "truth"), patterns, strict=True):
        channels = ("A",) if shot.matte and side == "truth" else RGB
        for frame in numbers:
            pixels = read_frame(ImageSequence.parse(pattern).path(frame), channels).pixels
            small = cv2.resize(pixels, None, fx=1 / shot.scale, fy=1 / shot.scale, interpolation=cv2.INTER_AREA)
            if shot.defocus and side == "input":
                small = _defocused(small, shot.defocus)
            write_frame(out / f"{side}/{frame:04d}.{extension}", small.reshape(*small.shape[:2], -1), channels)
    source, truth = ImageSequence.parse(pair.input), ImageSequence.parse(pair.ground_truth)
    return Task(pair, "", source, truth, None, tuple(held_out))


def _defocused(pixels: np.ndarray, radius: int) -> np.ndarray:
    side = 2 * radius + 1
    disc = cv2.circle(np.zeros((side, side), np.float32), (radius, radius), radius, 1.0, -1)
    return cv2.filter2D(pixels, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
