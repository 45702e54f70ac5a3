"""Whether the values of a frame fit the encodings of a model that was begun on other frames."""

from __future__ import annotations

import math

import numpy as np

from copycat import ops
from copycat.data.dataset import Dataset
from copycat.data.frames import as_float

_FAR = 8.0  # standard deviations: a frame in other units, not another exposure
_OUTSIDE_SHARE = 0.01
_SLACK = 2 / 255
_SAMPLES = 1 << 16


def misfits(data: Dataset, index: int) -> list[str]:
    """Sentences about values of a frame pair that the encodings of its data set do not fit.

    Args:
        data: at level 1, with its banks.
        index: of the pair.
    """
    pair, found = data.pairs[index], []
    assert data.banks
    headers = data.banks.headers[index]
    for file, bank, encoding, info, linear in (
        (pair.input, data.banks.input, data.input_encoding, headers.input, data.banks.input_linear),
        (pair.ground_truth, data.banks.target, data.target_encoding, headers.target, data.banks.target_linear),
    ):
        if info.linear != linear:
            state = {True: "scene-linear", False: "not scene-linear"}
            found.append(f"{file}: is {state[info.linear]}, the frames that the run was begun with are {state[linear]}")
            continue
        values = _sample(bank[index], data.valid[index].tolist())
        if not values.size:
            continue
        for channel, mean, std in zip(range(values.shape[1]), encoding.mean, encoding.std, strict=True):
            encoded = _encoded(values[:, channel], encoding, channel)
            distance = math.sqrt(float(np.mean(np.square((encoded - mean) / std))))
            if distance > _FAR and abs(float(encoded.mean()) - mean) > 0.5:
                found.append(
                    f"{file}: the values of channel {_name(data, bank, channel)} are far from those of the frames that "
                    "the run was begun with, whose encoding it keeps; a new run takes both alike"
                )
                break
            outside = np.mean((values[:, channel] < -_SLACK) | (values[:, channel] > 1 + _SLACK))
            if encoding.matte and encoding.matte[channel] and outside > _OUTSIDE_SHARE:
                found.append(f"{file}: {outside:.0%} of the matte lie outside of 0 to 1, and count as 0 or 1")
    return found


def _name(data: Dataset, bank: np.ndarray, channel: int) -> str:
    assert data.banks
    names = data.input_channels if bank is data.banks.input else data.target_channels
    return names[channel]


def _sample(frame: np.ndarray, valid: list[int]) -> np.ndarray:
    """Some of the frame's values, [M, C] float32."""
    x0, y0, x1, y1 = valid
    stride = max(1, math.isqrt((x1 - x0) * (y1 - y0) // _SAMPLES))
    part = as_float(frame[y0:y1:stride, x0:x1:stride])
    return part.reshape(-1, part.shape[-1])


def _encoded(values: np.ndarray, encoding: ops.Encoding, channel: int) -> np.ndarray:
    scale = encoding.log_scale[channel]
    encoded: np.ndarray = np.sign(values) * np.log1p(scale * np.abs(values)) if scale else values
    return encoded.astype(np.float64)
