"""Steps of the network in one pass over memory each, for rendering on the CPU; without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from copycat.ops import native
from copycat.ops.convolution import conv3x3_is_fast

_OPERATORS: Any = torch.ops.copycat


def is_only_rendered(weight: Tensor, *pictures: Tensor) -> bool:
    """Whether this module takes pictures [B, C, H, W] with such weights, and nobody needs gradients or a graph."""
    if torch.is_grad_enabled() or native.is_recording() or not conv3x3_is_fast(weight.dtype):
        return False
    return all(
        x.shape[1] % native.LANES == 0
        and x.shape[1] <= native.core.WIDEST_BLOCK
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        for x in pictures
    )


def whole_block(x: Tensor, spatial: Sequence[Tensor], pointwise: Sequence[Tensor]) -> Tensor:
    """``x + scale * outer(gate(inner(norm(x))))``, twice: with a 3x3 convolution inside, then with a 1x1.

    Args:
        x: [B, C, H, W], for which `is_only_rendered` holds.
        spatial, pointwise: weight and bias [C] of the normalisation; weight [2C, C, 3, 3] (then [2C, C, 1, 1]) and bias
            of the inner convolution; weight [C, C, 1, 1] and bias of the outer one; scale [C, 1, 1].

    Returns:
        [B, C, H, W] in channels-last memory.
    """
    return _OPERATORS.whole_block(x, list(spatial), list(pointwise))  # type: ignore[no-any-return]


def add_enlarged(x: Tensor, weight: Tensor, skip: Tensor) -> Tensor:
    """``skip += pixel_shuffle(conv1x1(x))``, in place if the memory of skip is channels-last.

    Args:
        x: [B, I, H, W].
        weight: [4C, I, 1, 1].
        skip: [B, C, 2H, 2W]; `is_only_rendered` holds for it and for x.

    Returns:
        [B, C, 2H, 2W] in channels-last memory.
    """
    total = skip.contiguous(memory_format=torch.channels_last)
    _OPERATORS.add_enlarged(x, weight, total)
    return total


def _whole_block_empty(x: Tensor, spatial: list[Tensor], pointwise: list[Tensor]) -> Tensor:
    return native.channels_last(tuple(x.shape), x.dtype, x.device)


def _whole_block(x: Tensor, spatial: list[Tensor], pointwise: list[Tensor]) -> Tensor:
    out = _whole_block_empty(x, spatial, pointwise)
    native.core.whole_block(
        x=_argument(x),
        spatial=[_argument(tensor) for tensor in spatial],
        pointwise=[_argument(tensor) for tensor in pointwise],
        out=native.pixels(out),
        threads=torch.get_num_threads(),
    )
    return out


def _argument(tensor: Tensor) -> native.core.Capsule:
    if tensor.ndim == 4:
        return native.pixels(tensor.contiguous(memory_format=torch.channels_last))
    return native.capsule(tensor.reshape(-1))


def _add_enlarged_empty(x: Tensor, weight: Tensor, skip: Tensor) -> None:
    """Nothing to allocate."""


def _add_enlarged(x: Tensor, weight: Tensor, skip: Tensor) -> None:
    native.core.add_enlarged(
        x=_argument(x), weight=_argument(weight), skip=native.pixels(skip), threads=torch.get_num_threads()
    )


native.register(
    "whole_block(Tensor x, Tensor[] spatial, Tensor[] pointwise) -> Tensor", _whole_block, _whole_block_empty
)
native.register("add_enlarged(Tensor x, Tensor weight, Tensor(a!) skip) -> ()", _add_enlarged, _add_enlarged_empty)
