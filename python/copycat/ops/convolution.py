"""The 3x3 convolution with padding of 1, by the fastest kernel for the processor.

On x86-64 CPUs it and its gradients are Winograd's F(2x2, 3x3), 16 multiplications where the definition has 36: Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). The registered operators
(``torch.ops.copycat``) take float32 or bfloat16 in channels-last memory, else they copy; channels are multiples of 16,
see ``_core.pyi`` for the limits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from copycat.ops import native

_OPERATORS: Any = torch.ops.copycat


def conv3x3(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Applies a convolution with padding of 1 and a bias.

    Args:
        layer: with weights [O, I, 3, 3].
        x: [B, I, H, W].

    Returns:
        [B, O, H, W]; in channels-last memory if the CPU has a kernel.
    """
    if _has_kernel(x, layer.weight):
        return _Conv3x3.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]
    result: Tensor = layer(x)
    return result


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    if native.is_recording():
        return False
    fits = all(channels % native.LANES == 0 and channels <= native.core.WIDEST_BLOCK for channels in weight.shape[:2])
    return fits and x.device.type == "cpu" and x.dtype == weight.dtype and conv3x3_is_fast(x.dtype)


@cache
def conv3x3_is_fast(dtype: torch.dtype) -> bool:
    """Whether these operators are faster than torch's on this processor; if not, they may refuse to run."""
    supported = dtype in (torch.float32, torch.bfloat16)
    return supported and native.core.conv3x3_is_fast(bfloat16=dtype == torch.bfloat16)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        result: Tensor = _OPERATORS.conv3x3(x, weight, bias)
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = context.saved_tensors
        of_x = _OPERATORS.conv3x3_input_gradient(gradient, weight) if context.needs_input_grad[0] else None
        return of_x, *_OPERATORS.conv3x3_weight_gradient(x, gradient)


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _conv3x3_empty(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return native.channels_last((x.shape[0], weight.shape[0], *x.shape[2:]), x.dtype, x.device)


def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = _conv3x3_empty(x, weight, bias)
    native.core.conv3x3(
        x=native.pixels(_dense(x)),
        weight=native.pixels(_dense(weight)),
        bias=native.capsule(bias),
        out=native.pixels(out),
        threads=torch.get_num_threads(),
    )
    return out


def _input_gradient_empty(gradient: Tensor, weight: Tensor) -> Tensor:
    size = (gradient.shape[0], weight.shape[1], *gradient.shape[2:])
    return native.channels_last(size, gradient.dtype, gradient.device)


def _input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    out = _input_gradient_empty(gradient, weight)
    native.core.conv3x3_input_gradient(
        gradient=native.pixels(_dense(gradient)),
        weight=native.pixels(_dense(weight)),
        out=native.pixels(out),
        threads=torch.get_num_threads(),
    )
    return out


def _weight_gradient_empty(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    channels = gradient.shape[1]
    of_weight = native.channels_last((channels, x.shape[1], 3, 3), x.dtype, x.device)
    return of_weight, x.new_empty(channels)


def _weight_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    of_weight, of_bias = _weight_gradient_empty(x, gradient)
    native.core.conv3x3_weight_gradient(
        x=native.pixels(_dense(x)),
        gradient=native.pixels(_dense(gradient)),
        weight_gradient=native.pixels(of_weight),
        bias_gradient=native.capsule(of_bias),
        threads=torch.get_num_threads(),
    )
    return of_weight, of_bias


native.register("conv3x3(Tensor x, Tensor weight, Tensor? bias) -> Tensor", _conv3x3, _conv3x3_empty)
native.register(
    "conv3x3_input_gradient(Tensor gradient, Tensor weight) -> Tensor", _input_gradient, _input_gradient_empty
)
native.register(
    "conv3x3_weight_gradient(Tensor x, Tensor gradient) -> (Tensor, Tensor)", _weight_gradient, _weight_gradient_empty
)
