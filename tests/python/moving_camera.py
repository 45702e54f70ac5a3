"""What a moving camera sees of a picture that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import write_frame
from copycat.sequence.pairs import Pair

SIZE = (216, 384)


@cache
def landscape(seed: int = 0, size: tuple[int, int] = (400, 600)) -> np.ndarray:
    """[H, W] a picture with structure of all sizes, 0 to 255."""
    random = np.random.default_rng(seed)
    picture = np.zeros(size, np.float32)
    for cell in (4, 12, 40, 120):
        noise = random.normal(0, 1, (size[0] // cell + 2, size[1] // cell + 2)).astype(np.float32)
        picture += cell**0.4 * cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    return ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.float32)


def camera(pan: float, tilt: float, zoom: float, roll: float, keystone: float = 0.0) -> np.ndarray:
    """From pixels of a view to pixels of the landscape, about the middle of both."""
    angle = np.deg2rad(roll)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [keystone, 0, 1]])
    matrix[:2, :2] /= zoom
    middle = np.array([[1, 0, -SIZE[1] / 2], [0, 1, -SIZE[0] / 2], [0, 0, 1]])
    back = np.array([[1, 0, 300 + pan], [0, 1, 200 + tilt], [0, 0, 1]])
    return back @ matrix @ middle


def view_of(picture: np.ndarray, matrix: np.ndarray, grain: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A view of a picture, with grain."""
    view = cv2.warpPerspective(picture, matrix, size[::-1], flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP)
    return (view + np.random.default_rng(grain).normal(0, 1.3, size)).astype(np.float32)


def write_shot(
    folder: Path,
    frames: int = 5,
    size: tuple[int, int] = (128, 176),
    same: bool = True,
    exposures: Sequence[float] = (),
    grade: float = 1.0,
) -> Pair:
    """A grey square before a landscape of which the camera pans, zooms and rolls, and the landscape without it.

    Without ``same`` each frame shows another landscape. Each frame's values are multiplied by its exposure, and those
    without the square by the grade too.
    """
    for frame in range(frames):
        random = np.random.default_rng(frame)
        matrix = camera(14 * frame - 28 + random.uniform(-3, 3), random.uniform(-6, 6), 1 + 0.01 * frame, frame - 2.0)
        ground = np.dstack([view_of(landscape(3 * (0 if same else frame) + i), matrix, frame, size) for i in range(3)])
        truth = (ground / 255).clip(0, 1)
        plate = truth.copy()
        left = 20 + 22 * frame
        plate[40:80, left : left + 32] = 0.5
        factor = np.float32(exposures[frame] if exposures else 1)
        write_frame(folder / f"plate.{frame:04d}.exr", factor * plate, ("R", "G", "B"))
        write_frame(folder / f"clean.{frame:04d}.exr", np.float32(factor * grade) * truth, ("R", "G", "B"))
    return Pair(str(folder / "plate.%04d.exr"), str(folder / "clean.%04d.exr"))
