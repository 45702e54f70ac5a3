"""The optimiser: Muon for the convolutions inside the network, AdamW for all other weights.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) moves a matrix by its orthogonalised momentum, so
that it learns in all directions at one speed. This one orthogonalises blocks of rows, which costs a fraction of the
whole matrix and learns about as well (``docs/explanation/benchmarks.md``). The scale of its steps, with which one
learning rate suits both parts, is that of Liu et al. 2025 (arXiv:2502.16982).

Why not ``torch.optim.Muon`` (torch 2.9): it takes matrices only, one by one, where these are convolutions stacked by
shape so that a step is a few batched products; it orthogonalises whole matrices, in bfloat16 on every device; its rate
is a Python number, which a recorded CUDA graph would freeze; and it cannot skip a step on the device when the loss is
not finite.
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
# Root mean square of a step's change of a matrix at a rate of 1. AdamW's steps have 0.2 to 0.4.
STEP_SIZE = 0.4
_GRADIENT_LIMIT = 1.0
_WEIGHT_DECAY = 0.01
# Newton-Schulz iteration with Jordan's coefficients: three rounds bring singular values of 0.03 to 1 near 1.
_ROUNDS = 3
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Optimiser:
    """Muon and AdamW over the weights of ``parameters``; everything stays on the device.

    Attributes:
        updates: the number of steps that changed the weights, repeated for each of AdamW's tensors, as torch wants it.
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
        """Changes the weights by ``parameters.gradient``, which is clipped in place.

        A step with a loss or gradient that is not finite changes no weight; the device decides, the host does not wait.

        Args:
            rate: learning rate, a scalar on the device.
            loss: a scalar on the device.
        """
        gradient = self._parameters.gradient
        norm = gradient.norm()
        bad = ~torch.isfinite(norm + loss)
        # A bad gradient is multiplied by 0; the NaN that this leaves become 0 as well.
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
        if not weights:  # an ablation's network has no inner convolution
            return
        torch._foreach_lerp_(first, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, first, MOMENTUM)
        torch._foreach_add_(weights, orthogonal(ahead, -STEP_SIZE * rate * ~bad, self._parameters.dtype))

    def state(self) -> dict[str, Tensor]:
        """The moments, [n] float32, by their names in a resume state. Muon's weights have a second moment of zero."""
        return {"exp_avg": self._first_moment, "exp_avg_sq": self._second_moment}

    def restore(self, updates: int, vectors: Mapping[str, Tensor]) -> None:
        """Takes what :meth:`state` returned after so many updates."""
        self.updates.fill_(updates)
        for name, vector in self.state().items():
            vector.copy_(vectors[name])


def _is_inner_matrix(name: str, part: Tensor) -> bool:
    """Whether it is the weight of a convolution other than the first and the last, as is usual with Muon."""
    return part.ndim == 4 and not name.startswith(("head.", "tail."))


def _blocks(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of [N, rows, columns] cut into blocks of rows: at most BLOCK_ROWS, and no more rows than columns."""
    count, rows, columns = shape
    cuts = -(-rows // min(BLOCK_ROWS, columns))
    while rows % cuts:
        cuts += 1
    return count * cuts, rows // cuts, columns


def orthogonal(matrices: Sequence[Tensor], scale: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Orthogonalises matrices: about the same row and column spaces, all singular values about equal.

    Args:
        matrices: each [K, r, c] float32, r <= c; zeros stay zeros.
        scale: scalar, the root mean square of the returned values.
        dtype: of the products.

    Returns:
        Matrices of the same shapes in ``dtype``: ``scale * sqrt(c)`` times the orthogonal factor of each.
    """
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    by_rows: dict[int, list[int]] = defaultdict(list)
    for i, matrix in enumerate(matrices):
        by_rows[matrix.shape[1]].append(i)
    for indices in by_rows.values():
        stacks = [matrices[i].to(dtype) for i in indices]
        factors = _inverse_roots(torch.cat([x @ x.mT for x in stacks])) * scale
        parts = torch.split(factors, [len(x) for x in stacks])
        for i, x, factor in zip(indices, stacks, parts, strict=True):
            results[i] = (factor * x.shape[-1] ** 0.5).to(dtype) @ x
    return results


def _inverse_roots(products: Tensor) -> Tensor:
    """[K, r, r], each ``x @ x.T`` -> about its power of -1/2, without a decomposition.

    The rounds are those of x, ``x <- (a + b x x' + c (x x')^2) x``, computed as polynomials of the product, which is
    smaller than x.
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
