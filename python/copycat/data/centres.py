"""Draws pixels at which Input and Ground Truth differ, around which crops train small edits (Difference Share)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from copycat import ops
from copycat.data.encodings import encode
from copycat.data.frames import as_float

_CENTRES_PER_FRAME = 4096
_SAMPLES = 1 << 20  # pixels of a frame from which centres are drawn
_LARGE = 1e9


def difference_centres(
    inputs: np.ndarray,
    targets: np.ndarray,
    valid: np.ndarray,
    encodings: tuple[ops.Encoding, ops.Encoding],
    seed: int,
    mask: np.ndarray | None = None,
    before: tuple[np.ndarray, np.ndarray] | None = None,
    kept: Collection[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pixels in proportion to the difference that remains after the best affine colour fit of a pair.

    Args:
        inputs, targets: [N, H, W, C] frames.
        valid: [N, 4] int32, x0, y0, x1, y1 (half open) of each frame's pixels.
        encodings: of inputs and targets.
        seed: of the random numbers.
        mask: [N, H, W, 1] weights; pixels of weight 0 are neither fitted nor drawn.
        before: centres and offsets of an earlier call with the same encodings and seed.
        kept: frames that are as they were then, at the same index.

    Returns:
        [M, 2] int32 x, y sorted by frame, and [N + 1] int32 offsets. A frame without a difference has no centres.
    """
    found, offsets = [], [0]
    for index, (x0, y0, x1, y1) in enumerate(valid):
        if before and index in kept:
            found.append(before[0][before[1][index] : before[1][index + 1]])
            offsets.append(offsets[-1] + len(found[-1]))
            continue
        stride = max(1, math.isqrt(int((x1 - x0) * (y1 - y0)) // _SAMPLES))
        window = (index, slice(y0, y1, stride), slice(x0, x1, stride))
        source = encode(as_float(inputs[window]), encodings[0])
        target = encode(as_float(targets[window]), encodings[1])
        counts = None if mask is None else mask[window][..., 0] > 0
        share = np.cumsum(_prominence(source, target, counts))
        total = share[-1]
        if total > 0:
            random = np.random.default_rng((seed, index)).random(_CENTRES_PER_FRAME)
            drawn = np.searchsorted(share / total, random, side="right")  # never a pixel of weight 0
            rows, columns = np.divmod(drawn, source.shape[1])
            found.append(np.stack([x0 + columns * stride, y0 + rows * stride], axis=1))
        offsets.append(offsets[-1] + (_CENTRES_PER_FRAME if total > 0 else 0))
    centres = np.concatenate(found) if found else np.zeros((0, 2))
    return centres.astype(np.int32), np.array(offsets, np.int32)


def _prominence(source: np.ndarray, target: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """How far each pixel's difference exceeds grain and coding noise, [H * W] float64."""
    if counts is not None and not counts.any():
        return np.zeros(source[..., 0].size)
    difference = affine_residual(source, target, counts)
    foot = np.median(difference if counts is None else difference[counts])
    weight = np.maximum(difference - 2 * foot, 0).astype(np.float64)
    result: np.ndarray = (weight if counts is None else weight * counts).ravel()
    return result


def affine_residual(source: np.ndarray, target: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The distance of ``target`` from the best affine function of ``source``, pixel by pixel.

    Args:
        source: [H, W, C] float32; target: [H, W, D] float32.
        counts: [H, W] bool, the pixels to fit; None for all.

    Returns:
        [H, W], the largest absolute difference over the channels. The second fit leaves out the tenth of the pixels
        that fitted worst in the first, so that a large repair does not bend it.
    """
    largest = max(float(np.abs(source).max()), float(np.abs(target).max()))
    # Squares of larger values overflow in float32.
    dtype = np.dtype(np.float32 if largest < _LARGE else np.float64)
    flat = source.reshape(-1, source.shape[-1]).astype(dtype, copy=False)
    columns = np.concatenate([flat, np.ones((len(flat), 1), dtype)], 1)
    truth = target.reshape(-1, target.shape[-1]).astype(dtype, copy=False)
    fitted = slice(None) if counts is None else counts.ravel()
    rows: Any = columns[fitted]
    step = max(1, len(rows) // 100_000)
    rows, values = rows[::step], truth[fitted][::step]
    fit = np.linalg.lstsq(rows, values, rcond=None)[0]
    misfit = np.abs(rows @ fit - values).max(axis=1)
    kept = misfit <= np.quantile(misfit, 0.9)
    fit = np.linalg.lstsq(rows[kept], values[kept], rcond=None)[0]
    residual: np.ndarray = np.abs(columns @ fit - truth).max(axis=1).reshape(source.shape[:2])
    return residual
