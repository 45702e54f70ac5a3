"""The loss of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from copycat.training.perceptual import Perceptual

# Below this squared error (30 dB) a crop counts by its error and not by the logarithm: else the grain and coding noise
# of crops that need no change would outweigh a repair that is not learned yet.
_FLOOR = 1e-3


@dataclass(frozen=True)
class Loss:
    """The mean over the crops of the logarithm of each crop's error.

    The error is a weighted sum of mean absolute error, mean squared error and, with a backbone, perceptual difference.

    The logarithm keeps a few crops that are far off from outweighing all others (``docs/explanation/benchmarks.md``).
    The squared error finds small edits that a median cannot see, such as a repair of 0.3 % of the area.

    Attributes:
        l1_weight: weight of the mean absolute error.
        l2_weight: weight of the mean squared error.
        perceptual: the perceptual difference; None without one.
        perceptual_weight: weight of the perceptual difference.
        matte_limits: from :func:`copycat.data.encodings.matte_limits`, on the device. Where a matte's target is 0 or 1,
            an output beyond it is no error, as it renders as 0 or 1.
    """

    l1_weight: float
    l2_weight: float
    perceptual: Perceptual | None = None
    perceptual_weight: float = 0.0
    matte_limits: tuple[Tensor, Tensor] | None = None

    def __call__(self, output: Tensor, target: Tensor, scale: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Args:
            output, target: [B, C, H, W] float32, normalised.
            scale: [1, C, 1, 1], converts normalised differences to display-like units.
            mask: [B, 1, H, W] weights, or None.

        Returns:
            The objective to differentiate (scalar), and ``[error, mean absolute, mean squared]`` to show, detached.
        """
        error = (output - target) * scale
        if self.matte_limits is not None:
            low, high = self.matte_limits
            beyond = ((target <= low) & (output < target)) | ((target >= high) & (output > target))
            error = error.masked_fill(beyond, 0)
        if mask is None:
            weight: Tensor | None = None
            l1, l2 = error.abs().mean((1, 2, 3)), error.square().mean((1, 2, 3))
        else:
            weight = mask.float().mean((1, 2, 3))
            share = mask / (weight.view(-1, 1, 1, 1) + 1e-6)
            l1, l2 = (error.abs() * share).mean((1, 2, 3)), (error.square() * share).mean((1, 2, 3))
        crops = self.l1_weight * l1 + self.l2_weight * l2
        if self.perceptual is not None:
            crops = crops + self.perceptual_weight * self.perceptual(output, target, mask)
        objective = torch.log(crops + _FLOOR)
        if weight is not None:
            objective = objective * weight
        return objective.mean(), torch.stack([crops.mean(), l1.mean(), l2.mean()]).detach()
