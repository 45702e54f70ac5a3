"""paintout_table as a moving camera would have shot it: locked off, moved, and moved with two layers in depth.

The window of 640x360 moves over the frames of 768x432 by a pan of 60 pixels, a zoom, a roll, a drift and a shake, all
sub-pixel; each frame has grain of its own, which inside the patch differs between Input and Ground Truth. With parallax
the wall is far and floor, table and person are near: the near layer moves by a further 24 pixels, and by a shake of its
own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, read_frame, write_frame
from copycat.sequence.colour import srgb
from copycat.training.pictures import write_png

from benchmarks.shots import RGB, Shot, paintout

KINDS = ("locked-off", "moved", "parallax")
SIZE = (360, 640)
GRAIN = 0.005  # standard deviation, as displayed
_FLOOR_LINE = 246  # row where the wall ends
_TABLE = ((454, 116), (74, 42))  # centre and half axes of its top
_POLE = ((440, 464), (140, 250))


def build(kind: str, shots: Path, out: Path, size: tuple[int, int] = SIZE) -> Shot:
    """Writes plate, clean and patch of a kind below ``out``; ``size`` is the height and width of the window."""
    shot = paintout(shots, out)
    frames = shot.plate.frames()
    far = _without_near(_displayed(shot.truth.path(frames[0])))
    for index, frame in enumerate(frames):
        plate, clean = (_displayed(s.path(frame)) for s in (shot.plate, shot.truth))
        inside = shot.inside(frame).astype(np.float32)[..., None]
        steady = camera(0, 1, 0, 0, clean.shape[:2], size)
        near = steady if kind == "locked-off" else path(index, len(frames), clean.shape[:2], size)
        pictures = [_warped(picture, near, size) for picture in (plate, clean)]
        patch = _warped(inside, near, size)[..., None] > 0.5
        if kind == "parallax":
            nearer = path(index, len(frames), clean.shape[:2], size, parallax=True)
            coverage = np.maximum(_near_mask(clean.shape[:2]), cv2.GaussianBlur(inside, (0, 0), 1.0)[..., None])
            own = np.clip(_warped(_near_mask(clean.shape[:2]), nearer, size)[..., None], 0, 1)
            with_person = np.clip(_warped(coverage, nearer, size)[..., None], 0, 1)
            wall = _warped(far, near, size)
            pictures = [
                _warped(picture, nearer, size) * alpha + wall * (1 - alpha)
                for picture, alpha in ((plate, with_person), (clean, own))
            ]
            patch = cv2.dilate((_warped(inside, nearer, size) > 0.3).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            patch = patch[..., None]
            pictures[0] = np.where(patch, pictures[0], pictures[1])
        random = np.random.default_rng(index)
        grains = [random.normal(0, GRAIN, pictures[0].shape) for _ in range(2)]
        grains[1] = np.where(patch, grains[1], grains[0])
        for name, picture, grain in zip(("plate", "clean"), pictures, grains, strict=True):
            linear = _linear(np.clip(picture + grain, 0, 1)).astype(np.float32)
            write_frame(out / f"{name}/{name}.{frame:04d}.exr", linear, RGB, dtype="half")
        (out / "patch").mkdir(exist_ok=True)
        write_png(out / f"patch/patch.{frame:04d}.png", np.repeat(patch.astype(np.float32), 3, axis=-1))
    moved = {name: ImageSequence.parse(out / f"{name}/{name}.%04d.exr") for name in ("plate", "clean")}
    mask = ImageSequence.parse(out / "patch/patch.%04d.png")
    return replace(shot, plate=moved["plate"], truth=moved["clean"], mask=mask)


def path(index: int, count: int, picture: tuple[int, int], size: tuple[int, int], parallax: bool = False) -> np.ndarray:
    """The camera at a frame: 3x3, from pixels of the window to pixels of the picture."""
    at = index / (count - 1)
    shake = np.random.default_rng((7, index)).uniform(-4, 4, 2)
    pan, drift = 60 * at - 30 + shake[0], 10 * np.sin(2.3 * np.pi * at) + shake[1]
    if parallax:
        pan += 24 * (at - 0.5) + 1.5 * np.sin(1.7 * index)
        drift += 4 * np.sin(3 * np.pi * at)
    return camera(pan, 1 + 0.06 * at, 1.5 * np.sin(1.5 * np.pi * at), drift, picture, size)


def camera(
    pan: float, zoom: float, roll: float, drift: float, picture: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """3x3 matrix of a camera: pan and drift in pixels, roll in degrees, about the picture's centre."""
    angle = np.deg2rad(roll)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    middle = [(size[1] - 1) / 2, (size[0] - 1) / 2]
    matrix[:2, 2] = np.array([(picture[1] - 1) / 2 + pan, (picture[0] - 1) / 2 + drift]) - turn @ middle
    return matrix


def _warped(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    result: np.ndarray = cv2.warpPerspective(
        picture, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return result


def _near_mask(size: tuple[int, int]) -> np.ndarray:
    """[H, W, 1] coverage of floor and table."""
    mask = np.zeros(size, np.float32)
    mask[_FLOOR_LINE:] = 1
    cv2.ellipse(mask, *_TABLE, 0, 0, 360, 1.0, -1)
    (left, right), (top, bottom) = _POLE
    mask[top:bottom, left:right] = 1
    return cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None]


def _without_near(clean: np.ndarray) -> np.ndarray:
    """The wall, continued behind the table and below the floor's edge."""
    table = cv2.dilate((_near_mask(clean.shape[:2]) > 0.01).astype(np.uint8), np.ones((13, 13), np.uint8))
    table[_FLOOR_LINE - 8 :] = 0
    shown = (np.clip(clean, 0, 1) * 255).astype(np.uint8)
    filled = cv2.inpaint(shown, table, 5, cv2.INPAINT_TELEA).astype(np.float32) / 255
    wall = np.where(table[..., None] > 0, filled, clean)
    wall[_FLOOR_LINE - 4 :] = wall[_FLOOR_LINE - 5]
    return wall.astype(np.float32)


def _displayed(path: Path) -> np.ndarray:
    shown: np.ndarray = np.clip(srgb(read_frame(path, RGB).pixels), 0, 1).astype(np.float32)
    return shown


def _linear(shown: np.ndarray) -> np.ndarray:
    """The inverse of `srgb`."""
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
