"""Operators between the convolutions of a gated block: one pass over memory each, forward and backward.

``copycat.gated_block`` makes differentiable functions of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from copycat.ops import native

LANES = 16  # numbers of channels are multiples of it
WIDEST_ON_GPU = 512  # channels
_PIXELS_PER_PART = 1024  # whose gradients are summed in float32 before they are joined
_PIXELS_PER_PART_ON_GPU, _MOST_PARTS_ON_GPU = 32, 1024  # enough for every multiprocessor, and few to join


def gate(x: Tensor) -> Tensor:
    """The product of the halves of each pixel's channels.

    Args:
        x: ``[P, 2C]`` without gaps, float32 or bfloat16, C a multiple of LANES.

    Returns:
        ``[P, C]``.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    result: Tensor = torch.ops.copycat.gate(x)
    return result


def gate_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient ``[P, 2C]`` of `gate`'s argument from that of its result ``[P, C]``."""
    result: Tensor = torch.ops.copycat.gate_gradient(x, gradient.contiguous())
    return result


def residual_norm(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``sum = x + branch * scale``, and its layer normalisation over the channels with epsilon 1e-6.

    Args:
        x: ``[P, C]`` without gaps, float32 or bfloat16, C a multiple of LANES; the others are of its dtype.
        branch: ``[P, C]``, and its ``[C]`` scale; None when there is nothing to add.
        scale: see branch.
        weight: ``[C]``, and the ``[C]`` bias of the normalisation; None when only the sum is wanted.
        bias: see weight.

    Returns:
        sum and normalised sum, ``[P, C]``; empty where there is no branch or no weight.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    total, normed = torch.ops.copycat.residual_norm(x, branch, scale, weight, bias)
    return total, normed


def residual_norm_gradient(
    total: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor | None,
    total_gradient: Tensor | None,
    normed_gradient: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `residual_norm`'s arguments from those of its results; the same on any number of CPU threads.

    Args:
        total: the sum, or x where there was no branch.
        branch: as given to `residual_norm`, and so are scale and weight.
        scale: see branch.
        weight: see branch.
        total_gradient: ``[P, C]``; None when nothing flows back to the sum.
        normed_gradient: ``[P, C]``, with a weight.

    Returns:
        The gradients of x (empty without a weight: it is then `total_gradient`) and of the branch, ``[P, C]``, and
        float32 ``[3, C]``: of weight, bias and scale, 0 where there was none.
    """
    of_x, of_branch, numbers = torch.ops.copycat.residual_norm_gradient(
        total, branch, scale, weight, total_gradient, normed_gradient
    )
    return of_x, of_branch, numbers


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------


def _call(kernel: str, output: Tensor, **tensors: Tensor | None) -> None:
    capsules = {name: native.capsule(tensor) for name, tensor in tensors.items()}
    getattr(native.core, kernel)(**capsules, **native.place(output))


def _parts(total: Tensor) -> int:
    """How many parts of the pixels have their gradients summed apart; a function of the shape and the device's kind."""
    if total.is_cuda:
        return min(-(-total.shape[0] // _PIXELS_PER_PART_ON_GPU), _MOST_PARTS_ON_GPU)
    return -(-total.shape[0] // _PIXELS_PER_PART)


def _gate_empty(x: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1] // 2))


def _gate(x: Tensor) -> Tensor:
    out = _gate_empty(x)
    _call("gate", out, x=x, out=out)
    return out


def _gate_gradient_empty(x: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(x)


def _gate_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    out = _gate_gradient_empty(x, gradient)
    _call("gate_gradient", out, x=x, gradient=gradient, out=out)
    return out


def _like_or_empty(x: Tensor, wanted: bool) -> Tensor:
    return torch.empty_like(x) if wanted else x.new_empty(0)


def _residual_norm_empty(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    return _like_or_empty(x, branch is not None), _like_or_empty(x, weight is not None)


def _residual_norm(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    total, normed = _residual_norm_empty(x, branch, scale, weight, bias)
    _call(
        "residual_norm",
        x,
        x=x,
        branch=branch,
        scale=scale,
        weight=weight,
        bias=bias,
        sum=None if branch is None else total,
        normed=None if weight is None else normed,
    )
    return total, normed


def _residual_norm_gradient_empty(
    total: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, *_: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _like_or_empty(total, weight is not None),
        _like_or_empty(total, branch is not None),
        total.new_empty((3, total.shape[1]), dtype=torch.float32),
    )


def _residual_norm_gradient(
    total: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor | None,
    total_gradient: Tensor | None,
    normed_gradient: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_branch, numbers = _residual_norm_gradient_empty(total, branch, scale, weight)
    _call(
        "residual_norm_gradient",
        numbers,
        sum=total,
        branch=branch,
        scale=scale,
        weight=weight,
        sum_gradient=total_gradient,
        normed_gradient=normed_gradient,
        x_gradient=None if weight is None else of_x,
        branch_gradient=None if branch is None else of_branch,
        partial=numbers.new_empty((_parts(total), *numbers.shape)),
        out=numbers,
    )
    return of_x, of_branch, numbers


native.register("gate(Tensor x) -> Tensor", _gate, _gate_empty)
native.register("gate_gradient(Tensor x, Tensor gradient) -> Tensor", _gate_gradient, _gate_gradient_empty)
native.register(
    "residual_norm(Tensor x, Tensor? branch, Tensor? scale, Tensor? weight, Tensor? bias) -> (Tensor, Tensor)",
    _residual_norm,
    _residual_norm_empty,
)
native.register(
    "residual_norm_gradient(Tensor total, Tensor? branch, Tensor? scale, Tensor? weight, Tensor? total_gradient, "
    "Tensor? normed_gradient) -> (Tensor, Tensor, Tensor)",
    _residual_norm_gradient,
    _residual_norm_gradient_empty,
)
