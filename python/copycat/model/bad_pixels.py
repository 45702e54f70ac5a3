"""Pixels that a network must not see: NaN, infinite, or too large to encode.

One such value would spoil every pixel within the network's receptive field. The network sees a substitute in its place,
and where an output channel starts from that input channel the value comes back unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from copycat import ops
from copycat.sequence.non_finite import LARGEST

_LARGEST_FLOAT = 1e38  # leaves float32 room for the arithmetic that follows
_MOST_STDS = 1e16  # of an unencoded channel: the square must still be a float32


@dataclass(frozen=True)
class BadPixels:
    """The bad values of one image.

    Attributes:
        mask: [C, H, W] bool.
        values: for each channel, its bad values in the order of the mask.
    """

    mask: Tensor
    values: tuple[Tensor, ...]

    @classmethod
    def find(cls, image: Tensor, encoding: ops.Encoding) -> BadPixels | None:
        """Finds the bad values of an image [C, H, W] as a training does; None, in one pass, if there are none.

        Values that the model's encoding cannot take without overflow are bad too.
        """
        limits = [
            min(_LARGEST_FLOAT / max(scale, 1.0) if scale else abs(mean) + _MOST_STDS * std, LARGEST)
            for scale, mean, std in zip(encoding.log_scale, encoding.mean, encoding.std, strict=True)
        ]
        # NaN fails every comparison.
        if all(_within(*torch.aminmax(plane), limit) for plane, limit in zip(image, limits, strict=True)):
            return None
        mask = torch.stack([~(plane.abs() <= limit) for plane, limit in zip(image, limits, strict=True)])
        return cls(mask, tuple(plane[bad] for plane, bad in zip(image, mask, strict=True)))

    def filled(self, image: Tensor, zero: bool) -> Tensor:
        """A copy of the image with substitutes.

        Args:
            image: [C, H, W].
            zero: substitute 0, as a training with Non-Finite Pixels: Mask does; else the mean of the nearest pixels.
        """
        if zero:
            return image.masked_fill(self.mask, 0)
        weight = (~self.mask).to(image.dtype)
        return _from_neighbours(image.masked_fill(self.mask, 0)[None], weight[None])[0]

    def restore(self, result: Tensor, residual: Sequence[int]) -> None:
        """Puts the bad values back into a result [M, H, W], where a channel starts from an input channel (or -1)."""
        for channel, source in enumerate(residual):
            if source >= 0 and self.values[source].numel():
                bad = self.mask[source].to(result.device)
                result[channel][bad] = self.values[source].to(result)

    def sentence(self, zero: bool, origin: tuple[int, int]) -> str:
        """Says how many pixels are bad and what happens; ``origin``: x, y of the image in its frame."""
        pixels = self.mask.any(dim=0)
        count = int(pixels.sum())
        y, x = pixels.nonzero()[0].tolist()
        return (
            f"{count} {'pixel is' if count == 1 else 'pixels are'} NaN, infinite or too large, the first at "
            f"x {x + origin[0]}, y {y + origin[1]} from the top left; the network sees "
            f"{'0' if zero else 'their neighbours'} there, and the result keeps them"
        )


def _within(low: Tensor, high: Tensor, limit: float) -> bool:
    return bool((low >= -limit) & (high <= limit))


def _from_neighbours(values: Tensor, weight: Tensor) -> Tensor:
    """Fills [1, C, H, W] where the weight is 0 from ever coarser averages of the pixels whose weight is 1."""
    height, width = values.shape[-2:]
    if bool(weight.all()) or height == width == 1:
        return values
    share = F.avg_pool2d(weight, 2, ceil_mode=True)
    coarse = F.avg_pool2d(values * weight, 2, ceil_mode=True) / share.clamp(min=0.1)
    coarse = _from_neighbours(coarse, (share > 0).to(values.dtype))
    return torch.where(weight > 0, values, F.interpolate(coarse, scale_factor=2)[..., :height, :width])
