"""All weights of a network in one vector, so that optimiser step, average and cast are one kernel each.

There are three vectors: the float32 weights, their exponential moving average (which a .cat holds), and the copy in the
computing dtype whose slices are the network's parameters. Weights of one shape lie one after another, so that the
optimiser takes them as one stack, and start at addresses that a GPU's tensor cores can read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

AVERAGE_DECAY = 0.99
# Weights of one shape start at a multiple of this. cuDNN uses tensor cores only for weights aligned to 16 bytes, and
# nine tenths of a step on an H100 were kernels without tensor cores when they were not.
_ALIGNMENT = 64


class FlatParameters:
    """The weights of ``network``, which from now on computes with slices of the computing copy.

    Attributes:
        weights: [n] float32, changed by the optimiser. Gaps between parameters are zero.
        gradient: [n] float32.
        average: [n] float32.
        dtype: of the network's computation.

    All keep their addresses, so that a CUDA graph can hold them.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Moves the network to ``device`` and lets it compute in ``dtype``."""
        named = sorted(network.named_parameters(), key=lambda item: item[1].shape)
        self._shapes = {name: parameter.shape for name, parameter in named}
        self._starts, size = _layout(self._shapes)
        self.weights, self.gradient = (torch.zeros(size, device=device) for _ in range(2))
        for (_, parameter), part in zip(named, self.by_name(self.weights).values(), strict=True):
            part.copy_(parameter.detach())
        self.average = self.weights.clone()
        self._computing = self.weights.to(dtype)
        self.dtype = dtype
        self._parameters = [parameter for _, parameter in named]
        self._gradients = list(self.by_name(self.gradient).values())
        self._gathered = False
        self._network = network
        for parameter, part in zip(self._parameters, self.by_name(self._computing).values(), strict=True):
            parameter.data = part

    def by_name(self, vector: Tensor) -> dict[str, Tensor]:
        """The slices of a vector [n], each in the shape of its parameter; those of convolutions are channels last."""
        parts = {}
        for name, shape in self._shapes.items():
            part = vector.narrow(0, self._starts[name], shape.numel())
            if len(shape) == 4:
                out_channels, in_channels, height, width = shape
                parts[name] = part.view(out_channels, height, width, in_channels).permute(0, 3, 1, 2)
            else:
                parts[name] = part.view(shape)
        return parts

    def stacks(self, vector: Tensor, names: Collection[str]) -> list[Tensor]:
        """Slices of the weights ``names``, [out, in, h, w] each, stacked by shape: [N, out, h w in]."""
        stacks = []
        for (shape, selected), run in groupby(self._shapes.items(), lambda item: (item[1], item[0] in names)):
            if selected:
                alike = [name for name, _ in run]
                stack = vector.narrow(0, self._starts[alike[0]], len(alike) * shape.numel())
                stacks.append(stack.view(len(alike), shape[0], -1))
        return stacks

    def discard_gradient(self) -> None:
        """Drops the gradient of an abandoned step."""
        self._gathered = False
        for parameter in self._parameters:
            parameter.grad = None

    def gather_gradient(self) -> None:
        """Adds the gradient of a backward pass to ``gradient``, the sum since the last update."""
        gradients: list[Tensor] = []
        for parameter in self._parameters:
            assert parameter.grad is not None
            gradients.append(parameter.grad)
            parameter.grad = None
        if self._gathered:
            torch._foreach_add_(self._gradients, gradients)
        else:
            torch._foreach_copy_(self._gradients, gradients)
        self._gathered = True

    def average_weight(self, step: Tensor) -> Tensor:
        """The weight of the new weights in the average, after ``step`` (int64 scalar) steps: larger at first."""
        return (9.0 / (step + 10.0)).clamp(min=1 - AVERAGE_DECAY)

    def stepped(self, average_weight: Tensor) -> None:
        """Updates the average and the computing copy after the optimiser's step."""
        self.average.lerp_(self.weights, average_weight)
        self._computing.copy_(self.weights)
        self._gathered = False

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the network computes with the average."""
        self._computing.copy_(self.average)
        try:
            yield
        finally:
            self._computing.copy_(self.weights)

    def average_by_name(self) -> dict[str, Tensor]:
        """The average as a state dict, float32, with the network's buffers."""
        others = dict(self._network.named_buffers())
        return {name: part.clone() for name, part in self.by_name(self.average).items()} | others

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes the ``weights`` and ``average`` vectors of a resume state."""
        self.weights.copy_(state["weights"])
        self.average.copy_(state["average"])
        self.changed()

    def changed(self) -> None:
        """Updates the computing copy after the weights were set."""
        self._computing.copy_(self.weights)


def vector_size(network: nn.Module) -> int:
    """The length of the vectors of a network's weights, gaps included."""
    named = sorted(network.named_parameters(), key=lambda item: item[1].shape)
    return _layout({name: parameter.shape for name, parameter in named})[1]


def _layout(shapes: Mapping[str, torch.Size]) -> tuple[dict[str, int], int]:
    """Each parameter's start in a vector, those of one shape one after another, and the vector's size."""
    starts, end = {}, 0
    for shape, run in groupby(shapes, lambda name: shapes[name]):
        end = -(-end // _ALIGNMENT) * _ALIGNMENT
        for name in run:
            starts[name] = end
            end += shape.numel()
    return starts, end
