"""The operators between the convolutions of a gated block: the gate, and the residual sum with its normalisation.

On the CPU and on CUDA each is one pass over memory, forward and backward; on other devices, in other dtypes, and while
a graph is recorded for another program, torch's own operators do the same. The registered operators
(``torch.ops.copycat``) take pixels as rows, ``[P, C]`` without gaps, and raise a ValueError that names the argument
that does not fit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from copycat.ops import native

_WIDEST = {"cpu": native.core.WIDEST_BLOCK, "cuda": native.core.WIDEST_BLOCK_ON_GPU}  # channels
_PIXELS_PER_PART = 1024  # of pixels whose gradients are summed in float32 before they are joined
_PIXELS_PER_PART_ON_GPU, _MOST_PARTS_ON_GPU = 32, 1024  # enough for every multiprocessor, and few to join
_OPERATORS: Any = torch.ops.copycat


def gate(x: Tensor) -> Tensor:
    """The product of the first and the second half of the channels.

    Args:
        x: [B, 2C, H, W].

    Returns:
        [B, C, H, W].
    """
    channels = int(x.shape[1]) // 2  # int(): a constant while a graph is recorded
    if _has_kernel(x, channels):
        return _Gate.apply(x)  # type: ignore[no-any-return, no-untyped-call]
    return x[:, :channels] * x[:, channels:]


def residual_sum(x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
    """``x + branch * scale``.

    Args:
        x, branch: [B, C, H, W].
        scale: [C, 1, 1].
    """
    if _has_kernel(x, x.shape[1]):
        return _ResidualSum.apply(x, branch, scale)  # type: ignore[no-any-return, no-untyped-call]
    return torch.addcmul(x, branch, scale)


def residual_norm(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """``x + branch * scale``, and the sum normalised over the channels of each pixel.

    Args:
        x, branch: [B, C, H, W]; without a branch the sum is x.
        scale: [C, 1, 1], with a branch.
        weight, bias: [C], of the normalisation.

    Returns:
        The sum and its normalisation, [B, C, H, W] in channels-last memory.
    """
    if _has_kernel(x, x.shape[1]):
        return _ResidualNorm.apply(x, branch, scale, weight, bias)  # type: ignore[no-any-return, no-untyped-call]
    if branch is not None and scale is not None:
        x = torch.addcmul(x, branch, scale)
    pixels = x.permute(0, 2, 3, 1)
    return x, F.layer_norm(pixels, (int(x.shape[1]),), weight, bias, native.NORM_EPSILON).permute(0, 3, 1, 2)


def _has_kernel(x: Tensor, channels: int) -> bool:
    if native.is_recording():
        return False
    widest = _WIDEST.get(x.device.type, 0)
    return channels <= widest and channels % native.LANES == 0 and x.dtype in (torch.float32, torch.bfloat16)


def _rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B * H * W, C], without a copy if the memory is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).contiguous()


def _planes(rows: Tensor, like: Tensor) -> Tensor:
    """[B * H * W, C] -> [B, C, H, W] with the batch, height and width of ``like``."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, rows.shape[1]).permute(0, 3, 1, 2)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return _planes(_OPERATORS.gate(_rows(x)), x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        return _planes(_OPERATORS.gate_gradient(_rows(x), _rows(gradient)), x)


class _ResidualSum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
        context.save_for_backward(branch, scale)
        return _planes(_OPERATORS.residual_norm(_rows(x), _rows(branch), scale.view(-1), None, None)[0], x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        branch, scale = context.saved_tensors
        rows = _rows(branch)
        _, of_branch, numbers = _OPERATORS.residual_norm_gradient(
            rows, rows, scale.view(-1), None, _rows(gradient), None
        )
        return gradient, _planes(of_branch, branch), numbers[2].to(scale.dtype).view(scale.shape)


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        branch_rows = None if branch is None else _rows(branch)
        scale_row = None if scale is None else scale.view(-1)
        sums, normed = _OPERATORS.residual_norm(_rows(x), branch_rows, scale_row, weight, bias)
        # x is passed through, so that this backward adds the other gradients that flow back to it.
        total = x.view_as(x) if branch is None else _planes(sums, x)
        context.save_for_backward(total, branch, scale, weight)
        context.set_materialize_grads(False)
        return total, _planes(normed, x)

    @staticmethod
    def backward(context: Any, of_total: Tensor | None, of_normed: Tensor) -> tuple[Tensor | None, ...]:
        total, branch, scale, weight = context.saved_tensors
        of_x, of_branch, numbers = _OPERATORS.residual_norm_gradient(
            _rows(total),
            None if branch is None else _rows(branch),
            None if scale is None else scale.view(-1),
            weight,
            None if of_total is None else _rows(of_total),
            _rows(of_normed),
        )
        numbers = numbers.to(weight.dtype)
        return (
            _planes(of_x, total),
            None if branch is None else _planes(of_branch, total),
            None if scale is None else numbers[2].view(scale.shape),
            numbers[0],
            numbers[1],
        )


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------


def _call(kernel: str, output: Tensor, **tensors: Tensor | None) -> None:
    capsules = {name: native.capsule(tensor) for name, tensor in tensors.items()}
    getattr(native.core, kernel)(**capsules, **native.launch_options(output))


def _parts(total: Tensor) -> int:
    """The number of parts whose gradients are summed separately; a function of the shape and the device type."""
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


def _like_or_empty(x: Tensor, needed: bool) -> Tensor:
    return torch.empty_like(x) if needed else x.new_empty(0)


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
