"""A loss in which the edges of a matte count more, as a variant of ``benchmarks.ablations.recipe``."""

from __future__ import annotations

from typing import Any

import torch
from copycat.training.step import Learner
from torch import Tensor
from torch.nn.functional import max_pool2d

from benchmarks.whole_shot import updated

_REACH, _WEIGHT = 4, 3.0  # pixels to each side of an edge; what its pixels count beyond 1


class Edges(Learner):
    """Pixels near an edge of the Ground Truth count four times as much as all others."""

    def _work(self, stage: Any) -> Tensor:
        source, target, mask, plate = stage.sampler.crops(self._step, 0, self.batch)
        side = 2 * _REACH + 1
        spread = max_pool2d(target, side, 1, _REACH) + max_pool2d(-target, side, 1, _REACH)
        near = (spread.amax(1, keepdim=True) > 0.5).to(torch.float32)
        weight = 1 + _WEIGHT * near
        # A crop counts as before, however much of an edge it shows.
        weight = weight / weight.mean((1, 2, 3), keepdim=True)
        weight = weight if mask is None else weight * mask
        return updated(self, *self._loss(self.network(source, plate), target, self._scale, weight))
