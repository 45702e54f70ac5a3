"""Exposure of frames that are aligned: how much brighter one is, and what it would be with the exposure of the other.

A change of exposure multiplies scene-linear values, and nearly so display-referred ones, so each channel of the file
values has one factor. Pictures are normalised values of one encoding; NaN is where a picture shows nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from copycat import ops

Picture = NDArray[np.floating]
Factors = NDArray[np.float64]
"""[C] logarithms."""

_COMPARED = 40_000  # pixels
_LEAST_COMPARED = 400
_DARK = 0.2  # of the middle value: darker pixels are mostly grain
_SAME = 0.005  # a smaller logarithm is no change, but grain


@dataclass(frozen=True, eq=False)
class Exposure:
    """What the painted frames of a plate are matched with.

    Attributes:
        values: [H, W, C] the frame's Input.
        encoding: of its channels.
        edit: what the work itself does to the exposure, from a Ground Truth to its Input.
    """

    values: Picture
    encoding: ops.Encoding
    edit: Factors

    def matched(self, painted: NDArray[np.float16]) -> NDArray[np.float16]:
        """A painted frame [H, W, C] that was moved onto the frame, as this one's exposure would show it."""
        factors = usual_factors(painted, self.values, self.encoding) - self.edit
        if np.abs(factors).max() < _SAME:
            return painted
        values = ops.denormalize(torch.from_numpy(painted).movedim(-1, 0)[None], self.encoding)
        values *= torch.from_numpy(np.exp(factors)).float()[:, None, None]
        result: NDArray[np.float16] = ops.normalize(values, self.encoding, torch.float16)[0].movedim(0, -1).numpy()
        return result


def usual_factors(one: Picture, other: Picture, encoding: ops.Encoding) -> Factors:
    """How much larger the file values of ``other`` usually are, channel by channel.

    The median over pixels that both show, so that what is on one of them only does not matter while it is less than
    half. 0 where they have too little in common.
    """
    step = max(1, math.isqrt(one.shape[0] * one.shape[1] // _COMPARED))
    pixels = [part[::step, ::step].reshape(-1, part.shape[-1]) for part in (one, other)]
    shown = np.isfinite(pixels[0]).all(axis=-1) & np.isfinite(pixels[1]).all(axis=-1)
    factors = np.zeros(one.shape[-1])
    if np.count_nonzero(shown) < _LEAST_COMPARED:
        return factors
    values = [_file_values(part[shown], encoding).double().numpy() for part in pixels]
    for channel, (a, b) in enumerate(zip(*values, strict=True)):
        bright = (a > 0) & (b > 0)
        if bright.any():
            product = a * b  # the same pixels whichever of the two is the brighter one
            bright &= product > _DARK**2 * np.median(product[bright])
        if np.count_nonzero(bright) >= _LEAST_COMPARED:
            factors[channel] = np.median(np.log(b[bright] / a[bright]))
    return factors


def _file_values(pixels: Picture, encoding: ops.Encoding) -> Tensor:
    """[N, C] -> [C, N] float32."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.T, np.float32))[None, :, None]
    return ops.denormalize(planes, encoding)[0, :, 0]
