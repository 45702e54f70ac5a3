"""The value encoding of a data set, chosen from its pixels.

Display-referred values and mattes stay as they are. Scene-linear colour goes through a reversible signed logarithm,
``sign(x) * log1p(s * |x|)``, which distributes the network's precision as the eye does and keeps negative values and
highlights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from copycat import ops
from copycat.data.frames import as_float, is_matte

LOG_SCALE = 20.0
_LEAST_STD = 1e-4
# A matte's values this near to 0 or 1 mean 0 or 1: the error of 8 bits and lossy files.
_NEARLY = 1 / 255
_OUTLIER = 100
_HUGE = 1e30  # times LOG_SCALE it may not fit into float32


def choose_encoding(
    bank: Tensor, valid: Tensor, channels: Sequence[str], linear: bool, mask: Tensor | None = None
) -> ops.Encoding:
    """Chooses the encoding of each channel and measures its mean and standard deviation.

    Args:
        bank: [N, H, W, C] frames.
        valid: [N, 4] int32 rectangles that hold data.
        channels: names of the channels.
        linear: whether the files are scene-linear.
        mask: [N, H, W, 1] weights; pixels of weight 0 are left out.
    """
    scales = tuple(LOG_SCALE if linear and not is_matte(name) else 0.0 for name in channels)
    means, stds = [], []
    for index, scale in enumerate(scales):
        sample = _sample(bank, valid, index, mask)
        values = _without_outliers(np.sign(sample) * np.log1p(scale * np.abs(sample)) if scale else sample)
        means.append(float(values.mean()) if values.size else 0.0)
        stds.append(max(float(values.std()), _LEAST_STD) if values.size else 1.0)
    return ops.Encoding(scales, tuple(means), tuple(stds))


def mattes(
    bank: Tensor, valid: Tensor, encoding: ops.Encoding, choice: str, mask: Tensor | None = None
) -> tuple[bool, ...]:
    """Finds the mattes among the channels of a Ground Truth.

    Args:
        bank: [N, H, W, C] frames.
        valid: [N, 4] int32 rectangles that hold data.
        encoding: of the channels.
        choice: On takes all, Off none; Auto takes channels without a logarithm whose values lie within 0 and 1 and are
            0 or 1 in at least half of the pixels.
        mask: [N, H, W, 1] weights; pixels of weight 0 are left out.

    Returns:
        As ``matte`` of :class:`copycat.ops.Encoding`.
    """

    def looks_like_one(channel: int) -> bool:
        if encoding.log_scale[channel]:
            return False
        values = _sample(bank, valid, channel, mask)
        if not values.size:
            return False
        distance = np.minimum(np.abs(values), np.abs(values - 1))
        inside = (values > -_NEARLY) & (values < 1 + _NEARLY)
        return bool(inside.all()) and bool(np.mean(distance <= _NEARLY) >= 0.5)

    channels = range(len(encoding.log_scale))
    found = tuple(choice == "On" or (choice == "Auto" and looks_like_one(channel)) for channel in channels)
    return found if any(found) else ()


def matte_limits(encoding: ops.Encoding) -> tuple[Tensor, Tensor] | None:
    """The normalised values, [1, C, 1, 1] each, up to which a matte counts as 0 and from which it counts as 1.

    Infinite for channels that are no mattes; None if there is no matte.
    """
    if not encoding.matte:
        return None
    ends = torch.tensor([_NEARLY, 1 - _NEARLY]).view(2, 1, 1, 1).expand(2, len(encoding.matte), 1, 1)
    low, high = ops.normalize(ends.contiguous(), encoding).unsqueeze(1)
    matte = torch.tensor(encoding.matte).view(1, -1, 1, 1)
    return torch.where(matte, low, -math.inf), torch.where(matte, high, math.inf)


def encode(pixels: np.ndarray, encoding: ops.Encoding) -> np.ndarray:
    """Encodes [..., C] float32 values without normalising them, and scales the logarithm so that 1 stays 1."""
    scale = np.array(encoding.log_scale, np.float32)
    safe = np.where(scale > 0, scale, 1).astype(np.float64 if np.abs(pixels).max(initial=0) > _HUGE else np.float32)
    logged = np.sign(pixels) * np.log1p(safe * np.abs(pixels)) / np.log1p(safe)
    return np.where(scale > 0, logged, pixels).astype(np.float32)


def loss_scale(encoding: ops.Encoding) -> Tensor:
    """[1, C, 1, 1] factors of the loss, from normalised units to those of :func:`encode`.

    The standard deviation of a picture is about a quarter of its range; the factor is clamped to values near it, so
    that a depth channel or a very dark plate counts no more and no less than a picture.
    """
    units = [
        std / (math.log1p(scale) if scale else 1.0) for std, scale in zip(encoding.std, encoding.log_scale, strict=True)
    ]
    return torch.tensor([min(max(unit, 0.1), 0.5) for unit in units]).view(1, -1, 1, 1)


def _sample(bank: Tensor, valid: Tensor, channel: int, mask: Tensor | None) -> np.ndarray:
    """About a million of the channel's values that are trained on, float64."""
    stride = max(1, math.isqrt(bank[..., 0].numel() // 1_000_000))
    parts = []
    for index, (x0, y0, x1, y1) in enumerate(valid.tolist()):
        window = (index, slice(y0, y1, stride), slice(x0, x1, stride))
        values = as_float(bank[(*window, channel)].numpy()).astype(np.float64)
        parts.append(values.ravel() if mask is None else values[mask[(*window, 0)].numpy() > 0])
    values = np.concatenate(parts)
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def _without_outliers(values: np.ndarray) -> np.ndarray:
    """Clamps values a hundred times as large as nearly all others, which would hide the picture."""
    if not values.size:
        return values
    size = np.abs(values)
    limit = _OUTLIER * np.quantile(size, 0.999)
    return np.clip(values, -limit, limit) if 0 < limit < size.max() else values
