"""The crops of a step: from all frames, and while some were painted a short while ago, a share from these alone.

Which crops a step has is a function of the seed, the step, and of the data set and its recent frames, whose changes the
run records. The first crops of a step are those from recent frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from copycat import ops
from copycat.data.dataset import Dataset

# Input, target, mask and clean plate of some crops.
Crops = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
# Cut input, target and mask, and the clean plate if there is one; called with step, batch, first_sample, total_samples.
Cut = tuple[Callable[..., tuple[Tensor, Tensor, Tensor | None]], Callable[..., Tensor] | None]

_RECENT_SHARE = 1 / 3
_STREAM = 0xF5E5  # the recent frames' crops lie elsewhere than those of all frames


def recent_crops(batch: int) -> int:
    """How many of a step's crops come from recent frames alone: a third, rounded up; none of a single crop."""
    return -(-batch // round(1 / _RECENT_SHARE)) if batch > 1 else 0


@dataclass(frozen=True, eq=False)
class _Part:
    """Consecutive crops of a step from the same frames.

    Attributes:
        first: number of the first crop in the step.
        count: how many there are.
        cut: cuts crops of these frames.
    """

    first: int
    count: int
    cut: Cut


class Sampler:
    """Cuts the crops of a stage. For the training's thread alone."""

    def __init__(
        self,
        data: Dataset,
        recent: Dataset | None,
        rule_for: Callable[[Dataset], ops.CropRule],
        cut_for: Callable[[Dataset, ops.CropRule], Cut],
        batch: int,
    ) -> None:
        """Cuts nothing yet.

        Args:
            data: all frames.
            recent: frames of which crops come more often; None for none.
            rule_for: the rule of a data set; crops have the size that fits into all frames.
            cut_for: what cuts the crops of a data set by a rule.
            batch: crops in a step, over all processes.
        """
        rule = rule_for(data)
        self._parts: list[_Part] = []
        count = recent_crops(batch) if recent is not None else 0
        if recent is not None and count:
            own = replace(rule_for(recent), crop=rule.crop, seed=rule.seed ^ _STREAM)
            self._parts.append(_Part(0, count, cut_for(recent, own)))
        self._parts.append(_Part(count, batch - count, cut_for(data, rule)))

    def crops(self, step: int | Tensor, first: int, count: int) -> Crops:
        """Cuts ``count`` crops of a step, from number ``first`` on."""
        pieces: list[Crops] = []
        for part, at, number in self._pieces(first, count):
            cut, plate_of = part.cut
            which = {"step": step, "batch": number, "first_sample": at, "total_samples": part.count}
            pieces.append((*cut(**which), plate_of(**which) if plate_of else None))
        if len(pieces) == 1:
            return pieces[0]
        source, target, mask, plate = zip(*pieces, strict=True)
        return (
            torch.cat(source),
            torch.cat(target),
            None if mask[0] is None else torch.cat(mask),
            None if plate[0] is None else torch.cat(plate),
        )

    def _pieces(self, first: int, count: int) -> list[tuple[_Part, int, int]]:
        """The parts that some crops come from: part, number of the first crop in it, number of crops."""
        found = []
        for part in self._parts:
            begin, end = max(first, part.first), min(first + count, part.first + part.count)
            if begin < end:
                found.append((part, begin - part.first, end - begin))
        return found
