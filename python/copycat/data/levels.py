"""Banks, masks and difference centres at a lower level."""

from __future__ import annotations

import torch
from torch import Tensor

from copycat import ops


def downsized(bank: Tensor, level: int) -> Tensor:
    """A bank [N, H, W, C] at a lower level; the averages of 8-bit values are kept in half."""
    if bank.dtype != torch.uint8:
        return ops.downsize(bank, level)
    return torch.cat([ops.downsize(frame[None].float().div_(255).half(), level) for frame in bank])


def downsized_mask(mask: Tensor, level: int) -> Tensor:
    """Weights [N, H, W, 1] at a lower level, 0 where any of a cell's pixels has the weight 0."""
    levels = []
    for frame in mask:
        unmasked = ops.downsize((frame[None] > 0).to(mask.dtype), level) == 1
        levels.append(ops.downsize(frame[None], level) * unmasked)
    return torch.cat(levels)


def kept_centres(centres: Tensor, offsets: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The centres [M, 2] (x, y) whose pixel has a weight above 0, and their offsets."""
    if mask is None or not len(centres):
        return centres, offsets
    counts = offsets.diff()
    frames = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    at = [index.to(mask.device, torch.int64) for index in (frames, centres[:, 1], centres[:, 0])]
    kept = (mask[at[0], at[1], at[2], 0] > 0).to(centres.device)
    counts = torch.bincount(frames[kept], minlength=len(counts))
    return centres[kept], torch.cat([offsets[:1], counts.cumsum(0)]).to(offsets.dtype)
