"""The 3x3 convolution of a gated block, with the kernel that is the fastest here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from copycat import ops


def conv3x3(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution with padding of 1 and a bias makes of ``x``.

    Args:
        layer: with weights [O, I, 3, 3].
        x: [B, I, H, W].

    Returns:
        [B, O, H, W]; on a CPU for which there is a kernel, in channels-last memory.
    """
    if _has_kernel(x, layer.weight):
        return _Conv3x3.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]
    result: Tensor = layer(x)
    return result


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    if ops.is_recording():
        return False
    fits = all(channels % ops.LANES == 0 and channels <= ops.WIDEST_CONV3X3 for channels in weight.shape[:2])
    return fits and x.device.type == "cpu" and x.dtype == weight.dtype and ops.conv3x3_is_fast(x.dtype)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return ops.conv3x3(x, weight, bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = context.saved_tensors
        of_x = ops.conv3x3_input_gradient(gradient, weight) if context.needs_input_grad[0] else None
        return of_x, *ops.conv3x3_weight_gradient(x, gradient)
