"""What changes the weights: Muon for the matrices inside of the network, AdamW for all else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) moves a matrix by its momentum made orthogonal, so
that all directions of it learn alike. Here it is made so in blocks of rows, which costs a fraction of the whole and
does about as well (``docs/benchmarks.md``). The scale, by which one rate suits both, is that of Liu et al. 2025
(arXiv:2502.16982).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from copycat.training.weights import FlatParameters

BETAS = (0.9, 0.99)
MOMENTUM = 0.9
BLOCK_ROWS = 64
# Root mean square of what one step adds to a matrix, for a rate of 1. AdamW's steps have 0.2 to 0.4.
STEP_SIZE = 0.4
_GRADIENT_LIMIT = 1.0
_WEIGHT_DECAY = 0.01
# Newton and Schulz's iteration with Jordan's coefficients: three rounds bring singular values from 0.03 to 1 near 1.
_ROUNDS = 3
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Optimiser:
    """Muon and AdamW over the weights of ``parameters``; everything stays on the device.

    Attributes:
        updates: how many steps changed the weights, once for each tensor that AdamW changes, as torch wants it.
    """

    def __init__(self, parameters: FlatParameters) -> None:
        self._parameters = parameters
        self._first_moment, self._second_moment = (torch.zeros_like(parameters.weights) for _ in range(2))
        weights, gradient, first, second = (
            parameters.by_name(vector)
            for vector in (parameters.weights, parameters.gradient, self._first_moment, self._second_moment)
        )
        inner = {name for name, part in weights.items() if _is_inner_matrix(name, part)}
        self._matrices = [
            [stack.view(_blocks(stack.shape)) for stack in parameters.stacks(vector, inner)]
            for vector in (parameters.weights, parameters.gradient, self._first_moment)
        ]
        self._others = [
            [part[name] for name in weights if name not in inner] for part in (weights, gradient, first, second)
        ]
        self.updates = torch.zeros(len(self._others[0]), device=parameters.weights.device)
        self._update_counts = list(self.updates.unbind())

    @torch.no_grad()
    def step(self, rate: Tensor, loss: Tensor) -> None:
        """Changes the weights by ``parameters.gradient``, which is clipped.

        A step with a loss or gradient that is not finite changes no weight; nothing waits to know.

        Args:
            rate: learning rate, a scalar on the device.
            loss: a scalar on the device.
        """
        gradient = self._parameters.gradient
        norm = gradient.norm()
        bad = ~torch.isfinite(norm + loss)
        # Where it is bad, all of it times 0; what is no number then becomes 0 as well.
        gradient.mul_((_GRADIENT_LIMIT / (norm + 1e-6)).clamp(max=1.0).masked_fill(bad, 0)).nan_to_num_(0.0)
        weights, gradients, first, second = self._others
        adamw(
            weights,
            gradients,
            first,
            second,
            [],
            self._update_counts,
            fused=True,
            found_inf=bad.float(),
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=_WEIGHT_DECAY,
            eps=1e-8,
            maximize=False,
        )
        weights, gradients, first = self._matrices
        if not weights:  # a network without any, as an ablation has it
            return
        torch._foreach_lerp_(first, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, first, MOMENTUM)
        torch._foreach_add_(weights, orthogonal(ahead, -STEP_SIZE * rate * ~bad, self._parameters.dtype))

    def state(self) -> dict[str, Tensor]:
        """The moments, [n] float32, as a resume state names them. AdamW's second is zero where Muon is used."""
        return {"exp_avg": self._first_moment, "exp_avg_sq": self._second_moment}

    def restore(self, updates: int, vectors: Mapping[str, Tensor]) -> None:
        """Goes on from what :meth:`state` gave after so many updates."""
        self.updates.fill_(updates)
        for name, vector in self.state().items():
            vector.copy_(vectors[name])


def _is_inner_matrix(name: str, part: Tensor) -> bool:
    """Whether it is a convolution's weight, and neither the first's nor the last's, as is usual with Muon."""
    return part.ndim == 4 and not name.startswith(("head.", "tail."))


def _blocks(shape: Sequence[int]) -> tuple[int, int, int]:
    """How [N, rows, columns] are cut: blocks, rows in each (BLOCK_ROWS at most, and no more than columns), columns."""
    count, rows, columns = shape
    cuts = -(-rows // min(BLOCK_ROWS, columns))
    while rows % cuts:
        cuts += 1
    return count * cuts, rows // cuts, columns


def orthogonal(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Matrices with about the same row and column spaces, and all singular values about equal.

    Args:
        matrices: each [K, r, c] float32, r <= c; zeros stay zeros.
        scale: scalar, the root mean square of the values that come back.
        dtype: what the products are computed in.

    Returns:
        As many of the same shapes, of ``dtype``: ``scale * sqrt(c)`` times the orthogonal factor.
    """
    made: list[Tensor] = [torch.empty(0)] * len(matrices)
    by_rows: dict[int, list[int]] = defaultdict(list)
    for i, matrix in enumerate(matrices):
        by_rows[matrix.shape[1]].append(i)
    for those in by_rows.values():
        stacks = [matrices[i].to(dtype) for i in those]
        factors = _inverse_roots(torch.cat([x @ x.mT for x in stacks])) * scale
        parts = torch.split(factors, [len(x) for x in stacks])
        for i, x, factor in zip(those, stacks, parts, strict=True):
            made[i] = (factor * x.shape[-1] ** 0.5).to(dtype) @ x
    return made


def _inverse_roots(products: Tensor) -> Tensor:
    """[K, r, r], each ``x @ x.T`` -> about its power of -1/2, found without a decomposition.

    The rounds are those of x itself, ``x <- (a + b x x' + c (x x')^2) x``, but all of them are polynomials of the one
    product, which is smaller than x.
    """
    size = products.diagonal(dim1=-2, dim2=-1).float().sum(-1)[:, None, None] + 1e-20
    product = (products / size).to(products.dtype)
    total = _factor(product)
    grown = total
    for _ in range(_ROUNDS - 1):
        product = grown @ product @ grown
        grown = _factor(product)
        total = grown @ total
    return total * size.rsqrt()


def _factor(product: Tensor) -> Tensor:
    a, b, c = _COEFFICIENTS
    factor = torch.baddbmm(product, product, product, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor
