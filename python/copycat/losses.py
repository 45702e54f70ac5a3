"""What the network is trained to make small."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """Weighted mean absolute and mean squared error.

    The squared error finds small edits that a median cannot see (a repair of 0.3 % of the area), the absolute error
    keeps the rest sharp.

    Attributes:
        l1_weight, l2_weight: weights of the two means.
    """

    l1_weight: float = 1.0
    l2_weight: float = 4.0

    def __call__(self, output: Tensor, target: Tensor, scale: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Args:
            output, target: [B, C, H, W] float32, normalised.
            scale: [1, C, 1, 1], turns normalised differences into display-like units.
            mask: [B, 1, H, W] weights, or None.

        Returns:
            The loss (scalar), and its two unweighted means ``[l1, l2]``, detached.
        """
        error = (output - target) * scale
        absolute, square = error.abs(), error.square()
        if mask is None:
            l1, l2 = absolute.mean(), square.mean()
        else:
            weight = mask / (mask.mean() + 1e-6)
            l1, l2 = (absolute * weight).mean(), (square * weight).mean()
        parts = l1.new_empty(2)
        parts[0], parts[1] = l1.detach(), l2.detach()
        return self.l1_weight * l1 + self.l2_weight * l2, parts
