"""Where Input and Ground Truth differ, so that small edits are trained on often enough."""

from __future__ import annotations

import math

import numpy as np

from copycat import ops
from copycat.data.encodings import encode

_CENTRES_PER_FRAME = 4096
_SAMPLES = 1 << 20  # of a frame, among which they are drawn


def difference_centres(
    inputs: np.ndarray,
    targets: np.ndarray,
    valid: np.ndarray,
    encodings: tuple[ops.Encoding, ops.Encoding],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels where a pair differs after the best affine colour fit, drawn in proportion to the difference.

    Args:
        inputs, targets: [N, H, W, C] frames.
        valid: [N, 4] int32, x0, y0, x1, y1 (half open) of each frame's pixels.
        encodings: of inputs and targets.
        seed: of the drawing.

    Returns:
        [M, 2] int32 x, y sorted by frame, and [N + 1] int32 offsets. A frame without a difference has none.
    """
    found, offsets = [], [0]
    for index, (x0, y0, x1, y1) in enumerate(valid):
        stride = max(1, math.isqrt(int((x1 - x0) * (y1 - y0)) // _SAMPLES))
        window = (index, slice(y0, y1, stride), slice(x0, x1, stride))
        source = encode(inputs[window].astype(np.float32), encodings[0])
        target = encode(targets[window].astype(np.float32), encodings[1])
        difference = affine_residual(source, target)
        # The foot of the distribution is grain and coding noise; what stands out of it is the edit.
        weight = np.maximum(difference - 2 * np.median(difference), 0).ravel().astype(np.float64)
        total = weight.sum()
        if total > 0:
            random = np.random.default_rng((seed, index))
            drawn = np.searchsorted(np.cumsum(weight) / total, random.random(_CENTRES_PER_FRAME)).clip(
                0, weight.size - 1
            )
            rows, columns = np.divmod(drawn, difference.shape[1])
            found.append(np.stack([x0 + columns * stride, y0 + rows * stride], axis=1))
        offsets.append(offsets[-1] + (_CENTRES_PER_FRAME if total > 0 else 0))
    centres = np.concatenate(found) if found else np.zeros((0, 2))
    return centres.astype(np.int32), np.array(offsets, np.int32)


def affine_residual(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How far ``target`` is from the best affine function of ``source``, pixel by pixel.

    Args:
        source: [H, W, C] float32; target: [H, W, D] float32.

    Returns:
        [H, W] float32, the largest absolute difference over the channels. The fit is made twice, the second time
        without the tenth of the pixels that fitted worst, so that a large repair does not bend it.
    """
    columns = np.concatenate([source.reshape(-1, source.shape[-1]), np.ones((source[..., 0].size, 1), np.float32)], 1)
    wanted = target.reshape(-1, target.shape[-1])
    step = max(1, len(columns) // 100_000)
    rows, values = columns[::step], wanted[::step]
    fit = np.linalg.lstsq(rows, values, rcond=None)[0]
    misfit = np.abs(rows @ fit - values).max(axis=1)
    kept = misfit <= np.quantile(misfit, 0.9)
    fit = np.linalg.lstsq(rows[kept], values[kept], rcond=None)[0]
    residual: np.ndarray = np.abs(columns @ fit - wanted).max(axis=1).reshape(source.shape[:2])
    return residual
