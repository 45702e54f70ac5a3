"""A model as an ONNX graph, layer by layer under the names of its weights; the same program as ``export._Program``.

It is made of plain operators with one meaning each, so no exporter of torch's is needed and the file is the same
whichever torch wrote it. Importing this module needs the package onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from copycat import ops
from copycat.model import cat
from copycat.model.network import GatedBlock, Network, PixelNorm

OPERATOR_SET = 17  # the first that has LayerNormalization
_FORMAT = 8  # of the file; the one that came with this operator set, so that the hosts of its time read it


def onnx_model(header: cat.ModelHeader, network: Network, plate: Tensor | None, names: Sequence[str]) -> Any:
    """The program between the values of files.

    Args:
        header: of the model.
        network: with its weights, float32 on the CPU.
        plate: the clean plate, [1, C + 1, H, W] float32; None without one.
        names: of the graph's input, [batch, channels_in, height, width], and of its output, float32.

    Returns:
        An onnx.ModelProto that the checker accepts.
    """
    graph = _Graph()
    graph.program(header, network, plate, *names)
    sides = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", channels, "height", "width"])
        for name, channels in zip(names, (len(header.channels_in), len(header.channels_out)), strict=True)
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "copycat", sides[:1], sides[1:], graph.tensors),
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
        ir_version=_FORMAT,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes in the order in which they compute, and their constants. A value is the name that it has in the graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with one result, which is named as the node."""
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def tensor(self, name: str, value: Tensor) -> str:
        """A weight."""
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value.detach().numpy()), name))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A constant; equal ones are one."""
        array: np.ndarray = np.array(value, dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.tensors.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def sizes(self, *values: int) -> str:
        """Sizes, indices or positions."""
        return self.constant(values, np.int64)

    # -- the network ------------------------------------------------------------------------------------------------

    def convolution(self, name: str, layer: nn.Conv2d, x: str, weight: Tensor | None = None) -> str:
        """``weight``: other weights than the layer's, as for another order of channels."""
        inputs = [x, self.tensor(f"{name}.weight", layer.weight if weight is None else weight)]
        if layer.bias is not None:
            inputs.append(self.tensor(f"{name}.bias", layer.bias))
        pads = 2 * list(map(int, layer.padding))
        return self.add("Conv", *inputs, name=name, kernel_shape=layer.kernel_size, strides=layer.stride, pads=pads)

    def norm(self, name: str, layer: PixelNorm, x: str) -> str:
        pixels = self.add("Transpose", x, perm=(0, 2, 3, 1))
        numbers = (self.tensor(f"{name}.weight", layer.weight), self.tensor(f"{name}.bias", layer.bias))
        normed = self.add("LayerNormalization", pixels, *numbers, name=name, axis=-1, epsilon=ops.NORM_EPSILON)
        return self.add("Transpose", normed, perm=(0, 3, 1, 2))

    def gate(self, x: str, channels: int) -> str:
        first, second = self.channels(x, 0, channels), self.channels(x, channels, 2 * channels)
        return self.add("Mul", first, second)

    def blocks(self, name: str, blocks: nn.Module, x: str) -> str:
        for index, block in enumerate(blocks.children()):
            assert isinstance(block, GatedBlock)
            prefix, width = f"{name}.{index}", block.project1.in_channels
            y = self.convolution(f"{prefix}.spatial", block.spatial, self.norm(f"{prefix}.norm1", block.norm1, x))
            y = self.convolution(f"{prefix}.project1", block.project1, self.gate(y, width))
            x = self.add("Add", x, self.add("Mul", y, self.tensor(f"{prefix}.scale1", block.scale1)))
            y = self.convolution(f"{prefix}.pointwise", block.pointwise, self.norm(f"{prefix}.norm2", block.norm2, x))
            y = self.convolution(f"{prefix}.project2", block.project2, self.gate(y, width))
            x = self.add("Add", x, self.add("Mul", y, self.tensor(f"{prefix}.scale2", block.scale2)))
        return x

    def enlarged(self, x: str) -> str:
        return self.add("DepthToSpace", x, blocksize=2, mode="CRD")

    def body(self, network: Network, x: str) -> str:
        """``Network.body`` with its shuffles of pixels: [B, C, H, W] -> [B, outputs, H, W]."""
        # SpaceToDepth puts a cell's four pixels before its channels, the network behind them.
        weight = network.head.weight
        weight = weight.reshape(len(weight), -1, 4, 3, 3).transpose(1, 2).reshape(weight.shape)
        y = self.convolution("head", network.head, self.add("SpaceToDepth", x, blocksize=2), weight)
        skips = []
        for index, (encoder, down) in enumerate(zip(network.encoders, network.downs, strict=True)):
            y = self.blocks(f"encoders.{index}", encoder, y)
            skips.append(y)
            assert isinstance(down, nn.Conv2d)
            y = self.convolution(f"downs.{index}", down, y)
        y = self.blocks("middle", network.middle, y)
        for index, (up, decoder) in enumerate(zip(network.ups, network.decoders, strict=True)):
            assert isinstance(up, nn.Conv2d)
            y = self.enlarged(self.convolution(f"ups.{index}", up, y))
            y = self.blocks(f"decoders.{index}", decoder, self.add("Add", y, skips.pop()))
        return self.enlarged(self.convolution("tail", network.tail, y))

    # -- around it --------------------------------------------------------------------------------------------------

    def channels(self, x: str, first: int, end: int) -> str:
        return self.add("Slice", x, self.sizes(first), self.sizes(end), self.sizes(1))

    def finite(self, x: str) -> str:
        return self.add("Equal", self.add("Sub", x, x), self.constant(0.0))

    def planes(self, values: Sequence[float]) -> str:
        """One number for each channel."""
        return self.constant(np.reshape(values, (1, -1, 1, 1)))

    def logarithm(self, x: str, encoding: ops.Encoding, inverse: bool) -> str:
        """``sign(x) * log1p(scale * |x|)`` in the channels that have a scale, or its inverse."""
        scales = encoding.log_scale
        if not any(scales):
            return x
        scale = self.planes([value or 1.0 for value in scales])
        y = self.add("Abs", x)
        # ONNX has neither log1p nor expm1; the difference is far below the network's own rounding.
        if inverse:
            y = self.add("Div", self.add("Sub", self.add("Exp", y), self.constant(1.0)), scale)
        else:
            y = self.add("Log", self.add("Add", self.add("Mul", y, scale), self.constant(1.0)))
        y = self.add("Mul", self.add("Sign", x), y)
        if all(scales):
            return y
        return self.add("Where", self.add("Greater", self.planes(scales), self.constant(0.0)), y, x)

    def encoded(self, x: str, encoding: ops.Encoding) -> str:
        y = self.add("Sub", self.logarithm(x, encoding, inverse=False), self.planes(encoding.mean))
        return self.add("Div", y, self.planes(encoding.std))

    def decoded(self, y: str, encoding: ops.Encoding) -> str:
        y = self.add("Add", self.add("Mul", y, self.planes(encoding.std)), self.planes(encoding.mean))
        y = self.logarithm(y, encoding, inverse=True)
        if any(encoding.matte):
            y = self.add("Max", y, self.planes([0.0 if one else -np.inf for one in encoding.matte]))
            y = self.add("Min", y, self.planes([1.0 if one else np.inf for one in encoding.matte]))
        return y

    def starts(self, x: str, residual: Sequence[int], channels: int) -> str:
        """What each output channel starts from: an input channel, or 0."""
        if tuple(residual) == tuple(range(channels)):
            return x
        padded = self.add("Pad", x, self.sizes(0, 0, 0, 0, 0, 1, 0, 0))  # zeros, behind the last channel
        return self.add("Gather", padded, self.sizes(*(i if i >= 0 else channels for i in residual)), axis=1)

    def plate(self, plate: Tensor, x: str) -> str:
        """The clean plate in the size of a picture."""
        whole = self.tensor("clean_plate", plate)
        size = self.add("Concat", self.sizes(*plate.shape[:2]), self.add("Shape", x, start=2), axis=0)
        return self.add("Resize", whole, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")

    def changed(self, base: str, y: str, plate: str, count: int) -> str:
        """``network.changed``."""
        opacity = self.add("Mul", self.channels(y, count, count + 1), self.constant(8.0))
        opacity = self.add("Sigmoid", self.add("Sub", opacity, self.constant(4.0)), name="opacity")
        covered = self.add("Mul", opacity, self.add("Sub", self.channels(plate, 0, count), base))
        return self.add("Add", self.add("Add", base, self.channels(y, 0, count)), covered)

    def program(
        self, header: cat.ModelHeader, network: Network, plate: Tensor | None, values: str, output: str
    ) -> None:
        """``export._Program.forward``."""
        finite = self.finite(values)
        x = self.add("Where", finite, self.encoded(values, header.input_encoding), self.constant(0.0), name="encoded")
        inputs, picture = x, None
        if plate is not None:
            picture = self.plate(plate, x)
            batch = self.add("Concat", self.add("Shape", x, end=1), self.sizes(1, 1, 1), axis=0)
            inputs = self.add("Concat", x, self.add("Expand", picture, batch), axis=1)
        # To the right and below, up to a multiple of the stride.
        size = self.add("Shape", inputs)
        stride = self.sizes(1, 1, network.stride, network.stride)
        missing = self.add("Mod", self.add("Neg", size), stride)
        padding = self.add("Concat", self.sizes(0, 0, 0, 0), missing, axis=0)
        y = self.body(network, self.add("Pad", inputs, padding, mode="edge", name="padded"))
        y = self.add("Slice", y, self.sizes(0, 0), self.add("Shape", x, start=2), self.sizes(2, 3))
        base = self.starts(x, header.residual, len(header.channels_in))
        changed = self.add("Add", base, y) if picture is None else self.changed(base, y, picture, len(header.residual))
        result = self.decoded(changed, header.target_encoding)
        start = self.starts(values, header.residual, len(header.channels_in))
        # Where a channel starts from no finite value, it ends with that value.
        self.add("Where", self.finite(start), result, start, name=output)
