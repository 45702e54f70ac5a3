"""Muon in fewer launches: `copycat.training.optimiser.orthogonal` with all matrices padded to one size.

Rows or columns of zeros add nothing to a product ``x @ x.T``, to its trace or to the rows of the result, so the padding
changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from copycat.training.optimiser import _inverse_roots
from torch import Tensor


def one_series(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """`orthogonal` with the products ``x @ x.T`` padded to one size, so that one series of rounds does for all."""
    side = max(matrix.shape[1] for matrix in matrices)
    stacks = [matrix.to(dtype) for matrix in matrices]
    margins = [side - x.shape[1] for x in stacks]
    products = torch.cat([F.pad(x @ x.mT, (0, more, 0, more)) for x, more in zip(stacks, margins, strict=True)])
    factors = torch.split(_inverse_roots(products) * scale, [len(x) for x in stacks])
    return [
        (factor[:, : x.shape[1], : x.shape[1]] * x.shape[-1] ** 0.5).to(dtype) @ x
        for x, factor in zip(stacks, factors, strict=True)
    ]


def one_batch(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """`orthogonal` with the matrices themselves gathered into one padded batch, and the results spread again.

    The results are float32, as one kernel can then add them all to the weights.
    """
    shapes = tuple(tuple(matrix.shape) for matrix in matrices)
    sources, targets, roots = _places(shapes, matrices[0].device)
    flat = torch.cat([*(matrix.reshape(-1) for matrix in matrices), matrices[0].new_zeros(1)]).to(dtype)
    batch = flat.index_select(0, sources.view(-1)).view(sources.shape)
    factors = (_inverse_roots(batch @ batch.mT) * scale * roots).to(dtype)
    spread = (factors @ batch).view(-1).index_select(0, targets).float()
    parts = torch.split(spread, [matrix.numel() for matrix in matrices])
    return [part.view(matrix.shape) for part, matrix in zip(parts, matrices, strict=True)]


@cache
def _places(shapes: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """How matrices [k, r, c], flat one after another, lie in a padded batch [K, R, C].

    Returns:
        For each place of the batch, [K, R, C], where its value lies among all values; the one behind the last is zero.
        For each value where it lies in the batch, flat. The square root of each matrix's columns, [K, 1, 1].
    """
    number = sum(shape[0] for shape in shapes)
    rows, columns = (max(shape[axis] for shape in shapes) for axis in (1, 2))
    places = torch.arange(number * rows * columns).view(number, rows, columns)
    starts = [sum(shape[0] for shape in shapes[:i]) for i in range(len(shapes))]
    targets = torch.cat([places[a : a + k, :r, :c].reshape(-1) for a, (k, r, c) in zip(starts, shapes, strict=True)])
    sources = torch.full((places.numel(),), len(targets))
    sources[targets] = torch.arange(len(targets))
    roots = torch.cat([torch.full((k, 1, 1), c**0.5) for k, _, c in shapes])
    return sources.view(places.shape).int().to(device), targets.int().to(device), roots.to(device)
