"""Measures the shift of a Ground Truth frame against its Input, and moves pictures by fractions of a pixel.

Pictures are ``[H, W, C]`` numpy arrays of one size, origin top left, finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
# Side of the blocks that are compared, halved for small pictures, and their number: those with most detail.
_BLOCK = 256
_BLOCKS = 12
# Standard deviation of the low-pass in cycles per pixel; beyond it grain and defocus leave no common phase.
_BAND = 0.1
_LEAST_CONFIDENCE = 0.3
_LEAST_AGREEMENT = 0.6
_LEAST_SHIFT = 0.2
_LARGEST_LEFTOVER = 0.9
_LOBES = 3
_NO_FACTOR = 1e-6  # rounding of the filter's zeros


@dataclass(frozen=True)
class BlockShift:
    """The shift of one block of the Ground Truth against the Input.

    Attributes:
        dx: pixels to the right.
        dy: pixels down.
        confidence: 0..1, the share of the common detail that has this shift.
        leftover: the share of the squared difference that remains when the shift is undone.
    """

    dx: float
    dy: float
    confidence: float
    leftover: float


def luminance(pixels: Array) -> Array:
    """The square root of the mean of the first three channels, in which grain is alike in light and shadow."""
    mean = pixels[..., :3].mean(axis=-1)
    root: Array = np.sign(mean) * np.sqrt(np.abs(mean))
    return root


def block_shifts(source: Array, target: Array) -> list[BlockShift]:
    """Measures shifts block by block with phase correlation.

    The whitened cross power spectrum of two shifted pictures is a plane wave whose transform peaks at the shift
    (Kuglin and Hines 1975). It is weighted with a Gaussian, so that the peak is one too, and the logarithms of three
    neighbours locate it to a fraction of a pixel.

    Args:
        source: luminance ``[H, W]`` of the Input.
        target: luminance ``[H, W]`` of the Ground Truth.

    Returns:
        The shifts of blocks with detail in both; none if the pictures are too small.
    """
    height, width = source.shape
    size = _BLOCK
    while size > min(height, width) // 2 and size > 64:
        size //= 2
    if size > min(height, width):
        return []
    corners = [
        (y, x)
        for y in np.linspace(0, height - size, max(1, height // size)).astype(int)
        for x in np.linspace(0, width - size, max(1, width // size)).astype(int)
    ]
    hann = np.hanning(size).astype(np.float32)
    window = hann[:, None] * hann
    detail = []
    for y, x in corners:
        a, b = source[y : y + size, x : x + size], target[y : y + size, x : x + size]
        detail.append(min(_gradient(a), _gradient(b)))
    order = sorted(range(len(corners)), key=lambda i: -detail[i])[:_BLOCKS]
    shifts = []
    for i in order:
        y, x = corners[i]
        if detail[i] > 0:
            shifts.append(_block_shift(source[y : y + size, x : x + size], target[y : y + size, x : x + size], window))
    return shifts


def agreed_shift(blocks: Sequence[BlockShift]) -> BlockShift | None:
    """The shift that most blocks agree on; None if they do not agree, or the shift is too small to matter.

    Undoing it must also reduce the difference, which a chance agreement does not.
    """
    confident = [block for block in blocks if block.confidence >= _LEAST_CONFIDENCE]
    if len(confident) < max(3, len(blocks) // 3):
        return None
    shifts = np.array([(block.dx, block.dy) for block in confident])
    middle = np.median(shifts, axis=0)
    size = float(np.hypot(*middle))
    agree = np.hypot(*(shifts - middle).T) <= max(0.15, 0.1 * size)
    if size < _LEAST_SHIFT or agree.mean() < _LEAST_AGREEMENT:
        return None
    leftover = float(np.median([block.leftover for block, near in zip(confident, agree, strict=True) if near]))
    if leftover > _LARGEST_LEFTOVER:
        return None
    return BlockShift(float(middle[0]), float(middle[1]), float(agree.mean()), leftover)


def picture_shift(source: Array, target: Array) -> BlockShift | None:
    """The shift that most blocks of a picture ``[H, W, C]`` agree on; None if there is none."""
    return agreed_shift(block_shifts(luminance(source), luminance(target)))


def moved(pixels: Array, dx: float, dy: float) -> Array:
    """Moves a picture ``[H, W, C]`` to the right and down by fractions of a pixel; its edges repeat.

    Separable Lanczos filter of three lobes (Turkowski 1990), clamped to the range of the pixels under the filter, so
    that highlights do not ring. OpenImageIO's ``warp`` has the same filter without the clamp: a square of 50 on a
    ground of 0.1 comes out between -6.4 and 62.
    """
    for axis, shift in ((0, dy), (1, dx)):
        weights, taps = _taps(pixels, axis, shift)
        mean = sum(float(w) * tap for w, tap in zip(weights, taps, strict=True))
        pixels = np.clip(mean, np.minimum.reduce(taps), np.maximum.reduce(taps)).astype(np.float32)
    return pixels


def moved_weights(weights: Array, dx: float, dy: float) -> Array:
    """Moves weights ``[H, W, 1]`` as :func:`moved` does; 0 where the filter covers a pixel of weight 0."""
    counts = weights > 0
    for axis, shift in ((0, dy), (1, dx)):
        factors, taps = _taps(counts, axis, shift)
        counts = np.logical_and.reduce([tap for f, tap in zip(factors, taps, strict=True) if abs(f) > _NO_FACTOR])
    result: Array = moved(weights, dx, dy) * counts
    return result


def _taps(pixels: NDArray[Any], axis: int, shift: float) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """The filter's factors along an axis, and the pixels that each applies to."""
    whole_pixels = int(np.floor(shift))
    offsets = np.arange(-_LOBES + 1, _LOBES + 1)
    distance = offsets - (shift - whole_pixels)
    factors = np.sinc(distance) * np.sinc(distance / _LOBES)
    margin = [(0, 0)] * 3
    margin[axis] = (_LOBES + abs(whole_pixels),) * 2
    padded = np.pad(pixels, margin, mode="edge")
    first = np.arange(pixels.shape[axis]) + margin[axis][0] - whole_pixels
    return factors / factors.sum(), [np.take(padded, first - offset, axis) for offset in offsets]


def _gradient(block: Array) -> float:
    return float(np.abs(np.diff(block, axis=0)).mean() * np.abs(np.diff(block, axis=1)).mean())


def _block_shift(source: Array, target: Array, window: Array) -> BlockShift:
    size = len(window)
    a = np.fft.rfft2((source - source.mean()) * window)
    b = np.fft.rfft2((target - target.mean()) * window)
    fy, fx = np.fft.fftfreq(size).astype(np.float32)[:, None], np.fft.rfftfreq(size).astype(np.float32)
    weight = np.exp(-(fx**2 + fy**2) / (2 * _BAND**2))
    weight[0, 0] = 0
    cross = b * np.conj(a)
    surface = np.fft.irfft2(weight * cross / (np.abs(cross) + 1e-12), s=(size, size))
    peak = np.fft.irfft2(weight.astype(np.complex64), s=(size, size))[0, 0]
    y, x = np.unravel_index(int(np.argmax(surface)), surface.shape)
    dy = _centred(y + _vertex(surface[(y - 1) % size, x], surface[y, x], surface[(y + 1) % size, x]), size)
    dx = _centred(x + _vertex(surface[y, (x - 1) % size], surface[y, x], surface[y, (x + 1) % size]), size)
    wave = np.exp(-2j * np.pi * (fx * dx + fy * dy))
    moved = np.fft.irfft2(np.fft.rfft2(source) * wave, s=(size, size)).astype(np.float32)
    middle = slice(size // 4, size - size // 4)
    before, after = (_misfit(picture[middle, middle], target[middle, middle]) for picture in (source, moved))
    return BlockShift(dx, dy, float(surface[y, x] / peak), after / before if before > 0 else 1.0)


def _vertex(left: Any, middle: Any, right: Any) -> float:
    """The peak of the Gaussian through three neighbours, -0.5 to 0.5."""
    if min(left, right) <= 0:
        return 0.0
    a, b, c = np.log(left), np.log(middle), np.log(right)
    curve = a - 2 * b + c
    return float(np.clip(0.5 * (a - c) / curve, -0.5, 0.5)) if curve < 0 else 0.0


def _centred(position: float, size: int) -> float:
    return float(position - size if position > size / 2 else position)


def _misfit(source: Array, target: Array) -> float:
    """Variance of the target that gain and offset of the source leave unexplained."""
    a, b = source - source.mean(), target - target.mean()
    spread = float((a * a).mean())
    common = float((a * b).mean())
    return float((b * b).mean()) - (common * common / spread if spread > 0 else 0.0)
