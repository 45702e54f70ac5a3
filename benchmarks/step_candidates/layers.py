"""Candidates inside the network and its loss, in torch's own operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from copycat.model import cat, network
from copycat.model.network import GatedBlock, Network
from copycat.training.step import Learner
from torch import Tensor, nn

_MULTIPLE = 16  # channels of a tile of the tensor cores; 8 would do for aligned addresses in bfloat16


# -- head and tail ----------------------------------------------------------------------------------------------------


def wide_cells(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`network._cells` with spare channels of zero; one copy casts and unshuffles."""
    batch, channels, height, width = x.shape
    shape = (batch, height // 2, width // 2, -(-4 * channels // _MULTIPLE) * _MULTIPLE)
    rows = x.new_zeros(shape, dtype=dtype)
    cells = rows[..., : 4 * channels].view(*shape[:3], channels, 2, 2)
    cells.copy_(x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5))
    return rows.permute(0, 3, 1, 2)


def widen_ends(learner: Learner) -> None:
    """Lets the head take spare channels and the tail make some, which are dropped."""

    def head(layer: nn.Conv2d, x: Tensor) -> Tensor:
        weight = F.pad(layer.weight, (0, 0, 0, 0, 0, x.shape[1] - layer.in_channels))
        return F.conv2d(x, weight, layer.bias, padding=1)

    def tail(layer: nn.Conv2d, x: Tensor) -> Tensor:
        assert layer.bias is not None
        spare = -layer.out_channels % _MULTIPLE
        weight, bias = F.pad(layer.weight, (0, 0, 0, 0, 0, 0, 0, spare)), F.pad(layer.bias, (0, spare))
        return F.conv2d(x, weight, bias, padding=1)[:, : layer.out_channels]

    for layer, forward in ((learner.network.head, head), (learner.network.tail, tail)):
        layer.forward = partial(forward, layer)  # type: ignore[method-assign]


# -- biases -----------------------------------------------------------------------------------------------------------


@cache
def _ones(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(1, count, dtype=dtype, device=device)


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _sum_of_rows(rows: Tensor) -> Tensor:
    return (_ones(len(rows), rows.dtype, rows.device) @ rows).view(-1)


class _Pointwise(torch.autograd.Function):
    """A 1x1 convolution as a matrix product, which adds the bias in the same pass."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        rows = torch.addmm(bias, _rows(x), weight.flatten(1).T)
        return rows.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = context.saved_tensors
        flow = _rows(gradient)
        of_x = (flow @ weight.flatten(1)).view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)
        return of_x, (flow.T @ _rows(x)).view_as(weight), _sum_of_rows(flow)


class _Spatial(torch.autograd.Function):
    """A 3x3 convolution whose bias has a matrix product as its gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return F.conv2d(x, weight, None, padding=1).add_(bias.view(-1, 1, 1))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = context.saved_tensors
        ones, zeros = [1, 1], [0, 0]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, ones, ones, ones, False, zeros, 1, [True, True, False]
        )
        return of_x, of_weight, _sum_of_rows(_rows(gradient))


def spatial(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Stands for `network.conv3x3`."""
    return _Spatial.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def biases_as_products(learner: Learner) -> None:
    """Lets the 1x1 convolutions of the blocks be matrix products."""
    for block in _gated_blocks(learner.network):
        for layer in (block.project1, block.pointwise, block.project2):
            layer.forward = partial(_pointwise, layer)  # type: ignore[method-assign]


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return _Pointwise.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def _gated_blocks(net: Network) -> Iterator[GatedBlock]:
    return (module for module in net.modules() if isinstance(module, GatedBlock))


@contextmanager
def without_biases() -> Iterator[None]:
    """New networks have no biases in their blocks: what all work on them costs."""
    made = cat.ModelHeader.network

    def bare(header: cat.ModelHeader) -> Network:
        net = made(header)
        for block in _gated_blocks(net):
            for layer in (block.spatial, block.project1, block.pointwise, block.project2):
                layer.register_parameter("bias", None)
        return net

    def convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
        result: Tensor = layer(x)
        return result

    with patch.object(cat.ModelHeader, "network", bare), patch.object(network, "conv3x3", convolution):
        yield


# -- compiled ---------------------------------------------------------------------------------------------------------


def compile_loss(learner: Learner, backend: str = "inductor") -> None:
    """Compiles the last shuffle, the residual and the loss as one function."""
    net, loss = learner.network, learner._loss

    def objective(source: Tensor, y: Tensor, target: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return loss(source + F.pixel_shuffle(y, 2).float(), target, scale, None)

    compiled: Callable[..., tuple[Tensor, Tensor]] = torch.compile(objective, backend=backend)

    def forward(source: Tensor, plate: None = None) -> tuple[Tensor, Tensor]:
        height, width = source.shape[-2:]
        if height % net.stride or width % net.stride or net.residual != tuple(range(source.shape[1])):
            raise ValueError("this loss is for crops that need no padding, and a target with the channels of the Input")
        return source, net.body(network._cells(source, net.head.weight.dtype))

    def of_parts(parts: tuple[Tensor, Tensor], target: Tensor, scale: Tensor, mask: None) -> tuple[Tensor, Tensor]:
        return compiled(*parts, target, scale)

    net.forward = forward  # type: ignore[method-assign, assignment]
    learner._loss = of_parts  # type: ignore[assignment]


def compile_network(learner: Learner, backend: str = "inductor") -> None:
    """Compiles the whole network; torch's operators take the place of copycat's."""
    learner.network.forward = torch.compile(learner.network.forward, backend=backend)  # type: ignore[method-assign]
