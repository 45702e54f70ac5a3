"""A 3x3 convolution with padding of 1 and its gradients on the CPU, with 16 multiplications where torch has 36.

Winograd's F(2x2, 3x3): Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). Tensors are
float32 or bfloat16 in channels-last memory, else they are copied; channels are multiples of 16, at most 1024.
``copycat.convolution`` makes a differentiable function of them.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from copycat.ops import native

WIDEST_CONV3X3 = 1024


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of ``x`` [B, I, H, W] with ``weight`` [O, I, 3, 3], plus ``bias`` [O]: [B, O, H, W].

    Raises:
        ValueError: a shape or dtype does not fit.
    """
    result: Tensor = torch.ops.copycat.conv3x3(x, weight, bias)
    return result


def conv3x3_input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient [B, I, H, W] of `conv3x3`'s x from that of its result, [B, O, H, W]."""
    result: Tensor = torch.ops.copycat.conv3x3_input_gradient(gradient, weight)
    return result


def conv3x3_weight_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients [O, I, 3, 3] and [O] of `conv3x3`'s weight and bias from that of its result."""
    of_weight, of_bias = torch.ops.copycat.conv3x3_weight_gradient(x, gradient)
    return of_weight, of_bias


@cache
def conv3x3_is_fast(dtype: torch.dtype) -> bool:
    """Whether this processor convolves faster with these operators than with torch's; without it they may refuse."""
    known = dtype in (torch.float32, torch.bfloat16)
    return known and native.core.conv3x3_is_fast(bfloat16=dtype == torch.bfloat16)


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
