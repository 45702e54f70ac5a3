"""All weights of a network in one vector: the optimiser's step, the average and the cast are one kernel each.

Three vectors are kept: the float32 weights, their exponential moving average (what a .cat holds), and the copy in the
computing dtype whose slices are the network's parameters. In each, weights of one shape lie one after another, so that
the optimiser takes them as one stack; where they begin suits a GPU's tensor cores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

AVERAGE_DECAY = 0.99
# Weights of one shape begin at a multiple of so many. cuDNN's tensor cores ask for 16 bytes; when the weights lay
# otherwise, kernels without tensor cores were nine tenths of a step on an H100 (``docs/benchmarks.md``).
_ALIGNMENT = 64


class FlatParameters:
    """The weights of ``network``, which from now on computes with slices of ``self.computing``.

    Attributes:
        weights: [n] float32, what the optimiser changes. What lies between the parameters is zero.
        gradient: [n] float32.
        average: [n] float32.
        dtype: what the network computes in.

    All keep their places in memory, so that a CUDA graph can hold them.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Moves the network to ``device`` and lets it compute in ``dtype``."""
        named = sorted(network.named_parameters(), key=lambda item: item[1].shape)
        self._shapes = {name: parameter.shape for name, parameter in named}
        self._starts, size = _places(self._shapes)
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
        """The slices of a vector [n], each shaped as its parameter.

        Those of convolutions lie channels last, as convolutions want weights and return their gradients.
        """
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
        """Slices of the weights ``names``, [out, in, h, w] each: all of one shape as one, [N, out, h w in]."""
        found = []
        for (shape, wanted), run in groupby(self._shapes.items(), lambda item: (item[1], item[0] in names)):
            if wanted:
                those = [name for name, _ in run]
                stack = vector.narrow(0, self._starts[those[0]], len(those) * shape.numel())
                found.append(stack.view(len(those), shape[0], -1))
        return found

    def discard_gradient(self) -> None:
        """Forgets what an abandoned step left."""
        self._gathered = False
        for parameter in self._parameters:
            parameter.grad = None

    def gather_gradient(self) -> None:
        """Takes what backward left in the computing dtype: ``gradient`` becomes the sum since the optimiser's step."""
        taken: list[Tensor] = []
        for parameter in self._parameters:
            assert parameter.grad is not None
            taken.append(parameter.grad)
            parameter.grad = None
        if self._gathered:
            torch._foreach_add_(self._gradients, taken)
        else:
            torch._foreach_copy_(self._gradients, taken)
        self._gathered = True

    def average_weight(self, step: Tensor) -> Tensor:
        """How far the average moves in the step that comes after ``step`` (int64 scalar) steps: further at first."""
        return (9.0 / (step + 10.0)).clamp(min=1 - AVERAGE_DECAY)

    def stepped(self, average_weight: Tensor) -> None:
        """After the optimiser's step: moves the average and the computing copy along."""
        self.average.lerp_(self.weights, average_weight)
        self._computing.copy_(self.weights)
        self._gathered = False

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the network computes with the average."""
        self._computing.copy_(self.average)
        try:
            yield
        finally:
            self._computing.copy_(self.weights)

    def average_by_name(self) -> dict[str, Tensor]:
        """The average as a state dict, float32, with what else the network holds."""
        others = dict(self._network.named_buffers())
        return {name: part.clone() for name, part in self.by_name(self.average).items()} | others

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes the ``weights`` and ``average`` vectors of a resume state."""
        self.weights.copy_(state["weights"])
        self.average.copy_(state["average"])
        self.changed()

    def changed(self) -> None:
        """After the weights were given other values: computes with them."""
        self._computing.copy_(self.weights)


def _places(shapes: Mapping[str, torch.Size]) -> tuple[dict[str, int], int]:
    """Where each parameter begins in a vector, those of one shape one after another; and the vector's size."""
    starts, end = {}, 0
    for shape, run in groupby(shapes, lambda name: shapes[name]):
        end = -(-end // _ALIGNMENT) * _ALIGNMENT
        for name in run:
            starts[name] = end
            end += shape.numel()
    return starts, end
