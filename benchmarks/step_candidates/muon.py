"""Muon in fewer launches: `copycat.training.optimiser.orthogonal` with all matrices padded to one size.

Rows or columns of zeros add nothing to a product ``x @ x.T``, to its trace or to the rows of the result, so the padding
changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from copycat.training.optimiser import _inverse_roots
from torch import Tensor


def one_series(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """`orthogonal` with the products ``x @ x.T`` padded to one size, so that one series of rounds does for all.

    All matrices are cast at once. The results are float32, as one kernel can then add them all to the weights.
    """
    sizes, lengths = [matrix.numel() for matrix in matrices], [len(matrix) for matrix in matrices]
    side = max(matrix.shape[1] for matrix in matrices)
    flat = torch.cat([matrix.reshape(-1) for matrix in matrices]).to(dtype)
    products, results = flat.new_zeros(sum(lengths), side, side), torch.empty_like(flat)

    def stacks(vector: Tensor) -> list[Tensor]:
        return [part.view(m.shape) for part, m in zip(torch.split(vector, sizes), matrices, strict=True)]

    def corners(batch: Tensor) -> list[Tensor]:
        parts = zip(torch.split(batch, lengths), matrices, strict=True)
        return [part[:, : m.shape[1], : m.shape[1]] for part, m in parts]

    for x, product in zip(stacks(flat), corners(products), strict=True):
        torch.bmm(x, x.mT, out=product)
    roots = _roots(tuple(tuple(matrix.shape) for matrix in matrices), flat.device)
    factors = (_inverse_roots(products) * (scale * roots)).to(dtype)
    for x, factor, result in zip(stacks(flat), corners(factors), stacks(results), strict=True):
        torch.bmm(factor, x, out=result)
    return stacks(results.float())


def one_batch(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """`orthogonal` with the matrices themselves gathered into one padded batch, and the results spread again."""
    shapes = tuple(tuple(matrix.shape) for matrix in matrices)
    sources, targets = _places(shapes, matrices[0].device)
    flat = torch.cat([*(matrix.reshape(-1) for matrix in matrices), matrices[0].new_zeros(1)]).to(dtype)
    batch = flat.index_select(0, sources.view(-1)).view(sources.shape)
    factors = (_inverse_roots(batch @ batch.mT) * (scale * _roots(shapes, flat.device))).to(dtype)
    spread = (factors @ batch).view(-1).index_select(0, targets).float()
    parts = torch.split(spread, [matrix.numel() for matrix in matrices])
    return [part.view(matrix.shape) for part, matrix in zip(parts, matrices, strict=True)]


@cache
def _roots(shapes: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """The square root of each matrix's columns, [K, 1, 1]."""
    return torch.cat([torch.full((count, 1, 1), columns**0.5) for count, _, columns in shapes]).to(device)


@cache
def _places(shapes: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """How matrices [k, r, c], flat one after another, lie in a padded batch [K, R, C].

    Returns:
        For each place of the batch, [K, R, C], where its value lies among all values; the one behind the last is zero.
        For each value where it lies in the batch, flat.
    """
    number = sum(shape[0] for shape in shapes)
    rows, columns = (max(shape[axis] for shape in shapes) for axis in (1, 2))
    places = torch.arange(number * rows * columns).view(number, rows, columns)
    starts = [sum(shape[0] for shape in shapes[:i]) for i in range(len(shapes))]
    targets = torch.cat([places[a : a + k, :r, :c].reshape(-1) for a, (k, r, c) in zip(starts, shapes, strict=True)])
    sources = torch.full((places.numel(),), len(targets))
    sources[targets] = torch.arange(len(targets))
    return sources.view(places.shape).int().to(device), targets.int().to(device)
