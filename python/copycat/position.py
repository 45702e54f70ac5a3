"""Where in its frame a pixel lies, for networks that are told (knob Frame Position).

A position is u to the right and v downwards, -1 and 1 at the frame's edges. What the network gets are both, and sine
and cosine of each at three octaves: slow waves that say what a straight line alone does not (Tancik et al., "Fourier
Features Let Networks Learn High Frequency Functions in Low Dimensional Domains", NeurIPS 2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_OCTAVES = 3
CHANNELS = 2 + 4 * _OCTAVES


def of_box(frame: tuple[int, int], box: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Positions [1, 2, h, w] of a part of a frame.

    Args:
        frame: height and width.
        box: y0, x0, y1, x1 of the part.
        device: where they are wanted.
    """
    y0, x0, y1, x1 = box
    rows = torch.arange(y0, y1, device=device)[None, :, None]
    columns = torch.arange(x0, x1, device=device)[None, None, :]
    return _positions(rows, columns, frame)


def of_crops(places: Tensor, crop: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """Positions [B, 2, h, w] of the pixels of crops, turned and mirrored as they are.

    Args:
        places: [B, 5] as :func:`copycat.ops.crop_positions` gives them.
        crop: height and width of the crops.
        frame: height and width of the frames.
    """
    height, width = crop
    x, y, mirrored, quarters = (places[:, i, None, None] for i in range(1, 5))
    i = torch.arange(height, device=places.device)[None, :, None]
    j = torch.arange(width, device=places.device)[None, None, :]
    # Back the way that a crop is made: turned against the clock, then mirrored, then turned upside down.
    i = torch.where(mirrored & 1 > 0, height - 1 - i, i)
    j = torch.where(mirrored & 2 > 0, width - 1 - j, j)
    last_row, last_column = height - 1 - i, width - 1 - j
    down = torch.where(
        quarters == 0, i, torch.where(quarters == 1, j, torch.where(quarters == 2, last_row, last_column))
    )
    right = torch.where(
        quarters == 0, j, torch.where(quarters == 1, last_row, torch.where(quarters == 2, last_column, i))
    )
    return _positions(y + down, x + right, frame)


def waves(position: Tensor, octaves: int = _OCTAVES) -> Tensor:
    """What a network is told of positions [B, 2, H, W]: [B, CHANNELS, H, W]."""
    parts = [position]
    for octave in range(octaves):
        turn = math.pi * 2.0**octave * position
        parts += [torch.sin(turn), torch.cos(turn)]
    return torch.cat(parts, dim=1)


def _positions(rows: Tensor, columns: Tensor, frame: tuple[int, int]) -> Tensor:
    height, width = frame
    v, u = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    return torch.stack([u + 0 * v, v + 0 * u], dim=1)
