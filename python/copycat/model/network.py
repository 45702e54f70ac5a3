"""The network: one gated, multi-scale, fully convolutional residual net; Small, Medium and Large are rows of its table.

Nothing in it is global (no batch, group or pooled statistics), so its receptive field is finite and a frame rendered
in tiles equals the frame rendered whole. The last layer starts at zero: an untrained model passes the Input through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from copycat.data import clean_plate
from copycat.data.painted_frames import PaintedFrames
from copycat.ops import add_enlarged, conv3x3, gate, is_only_rendered, residual_norm, residual_sum, whole_block


@dataclass(frozen=True)
class Row:
    """One model size.

    Attributes:
        width: channels at half resolution; doubled at each scale below, up to ``widest``.
        down, middle, up: gated blocks per scale on the way down, at the bottom, and on the way up.
    """

    width: int
    down: tuple[int, ...] = (1, 2, 2)
    middle: int = 2
    up: tuple[int, ...] = (1, 1, 1)
    widest: int = 512

    @property
    def widths(self) -> list[int]:
        """Channels at each scale, the coarsest last."""
        return [min(self.width << scale, self.widest) for scale in range(len(self.down) + 1)]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Row:
        """The inverse of `dataclasses.asdict`; raises ValueError for a row of no network, or of a gigantic one."""
        down, up = (tuple(map(int, value[way])) for way in ("down", "up"))
        row = cls(int(value["width"]), down, int(value["middle"]), up, int(value["widest"]))
        counts = (*row.down, row.middle, *row.up)
        if not (0 < row.width <= row.widest <= _WIDEST and 0 < len(row.down) == len(row.up) <= _MOST_SCALES):
            raise ValueError(f"a network of width {row.width} with {len(row.down)} and {len(row.up)} scales")
        if not all(0 <= count <= _MOST_BLOCKS for count in counts):
            raise ValueError(f"{max(counts)} blocks at one scale")
        return row


_WIDEST, _MOST_SCALES, _MOST_BLOCKS = 2048, 6, 64
ROWS = {
    "Small": Row(32, (1, 1, 1), 1, widest=64),
    "Medium": Row(48, (1, 1, 1), 1, widest=96),
    "Large": Row(48, (2, 2, 2), 2, (2, 2, 2), widest=96),
}


class PixelNorm(nn.Module):
    """Weight and bias of a layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))


class GatedBlock(nn.Module):
    """``x + s1 * conv1x1(gate(conv3x3(norm(x))))``, then the same with a 1x1 convolution inside; s1, s2 start at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = PixelNorm(channels)
        self.spatial = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.project1 = nn.Conv2d(channels, channels, 1)
        self.scale1 = nn.Parameter(torch.zeros(channels, 1, 1))
        self.norm2 = PixelNorm(channels)
        self.pointwise = nn.Conv2d(channels, 2 * channels, 1)
        self.project2 = nn.Conv2d(channels, channels, 1)
        self.scale2 = nn.Parameter(torch.zeros(channels, 1, 1))

    def halves(self) -> tuple[list[Tensor], list[Tensor]]:
        """What `ops.whole_block` takes."""

        def half(norm: PixelNorm, inner: nn.Conv2d, outer: nn.Conv2d, scale: Tensor) -> list[Tensor]:
            assert inner.bias is not None
            assert outer.bias is not None
            return [norm.weight, norm.bias, inner.weight, inner.bias, outer.weight, outer.bias, scale]

        return (
            half(self.norm1, self.spatial, self.project1, self.scale1),
            half(self.norm2, self.pointwise, self.project2, self.scale2),
        )


class GatedBlocks(nn.Sequential):
    """A row of gated blocks; one kernel ends a block with its sum and begins the next with its normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        branch: Tensor | None = None
        scale: Tensor | None = None
        for block in self:
            assert isinstance(block, GatedBlock)
            if is_only_rendered(block.spatial.weight, x):
                x = whole_block(x, *block.halves())
                continue
            x, y = residual_norm(x, branch, scale, block.norm1.weight, block.norm1.bias)
            branch, scale = block.project1(gate(conv3x3(block.spatial, y))), block.scale1
            x, y = residual_norm(x, branch, scale, block.norm2.weight, block.norm2.bias)
            branch, scale = block.project2(gate(block.pointwise(y))), block.scale2
        return x if branch is None or scale is None else residual_sum(x, branch, scale)


class Network(nn.Module):
    """Maps normalised input channels to normalised target channels.

    Args:
        row: how large it is; a value of ROWS.
        channels_in: number of input channels.
        residual: for each target channel, the input channel it starts from, or -1 for none.
        plate_size: height and width of its clean plate; None without one.
        plate_moves: whether each frame gets a clean plate of its own.

    Attributes:
        clean_plate: [1, C + 1, H, W] half, the one for all frames.
        painted: what the clean plates of a moving shot are made of; whoever renders sets it.
    """

    clean_plate: Tensor | None
    painted: PaintedFrames | None

    def __init__(
        self,
        row: Row,
        channels_in: int,
        residual: Sequence[int],
        plate_size: tuple[int, int] | None = None,
        plate_moves: bool = False,
    ) -> None:
        super().__init__()
        widths = row.widths
        self.row = row
        self.residual = tuple(residual)
        extra = clean_plate.channels(len(self.residual)) if plate_size else 0
        still = plate_size if not plate_moves else None
        self.register_buffer("clean_plate", torch.zeros(1, extra, *still, dtype=torch.half) if still else None)
        self.painted = None
        self.head = nn.Conv2d(4 * (channels_in + extra), widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, row.down, strict=False))
        self.downs = nn.ModuleList(nn.Conv2d(w, below, 2, stride=2) for w, below in pairwise(widths))
        self.middle = _blocks(widths[-1], row.middle)
        self.ups = nn.ModuleList(nn.Conv2d(below, 4 * w, 1, bias=False) for below, w in pairwise(reversed(widths)))
        self.decoders = nn.ModuleList(_blocks(w, n) for w, n in zip(reversed(widths[:-1]), row.up, strict=True))
        self.tail = nn.Conv2d(widths[0], 4 * (len(self.residual) + (1 if plate_size else 0)), 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    @property
    def stride(self) -> int:
        """Heights and widths are padded to a multiple of this; tile origins are multiples of it."""
        return 2 << len(self.row.down)

    @property
    def receptive_field(self) -> int:
        """Pixels to each side that an output pixel can see, rounded up to the stride."""
        scales = [2 << scale for scale in range(len(self.row.down))]
        blocks = sum(s * (d + u) for s, d, u in zip(scales, self.row.down, reversed(self.row.up), strict=True))
        reach = scales[0] + blocks + self.stride * self.row.middle + scales[0]
        # Unshuffling and the strided convolutions read a whole cell of the coarsest grid.
        return -(-(reach + self.stride - 1) // self.stride) * self.stride

    def forward(self, x: Tensor, plate: Tensor | None = None) -> Tensor:
        """[B, channels_in, H, W] float -> [B, len(residual), H, W] float32.

        ``plate``: for a network with a clean plate, the part of it under x, [1 or B, C, H, W].
        """
        height, width = x.shape[-2:]
        right, bottom = -width % self.stride, -height % self.stride
        inputs = x
        if plate is not None:
            inputs = torch.cat([x, plate.to(x.dtype).expand(len(x), -1, -1, -1)], dim=1)
        padded = F.pad(inputs, (0, right, 0, bottom), mode="replicate") if right or bottom else inputs
        y = _enlarged(self.body(_cells(padded, self.head.weight.dtype)))[..., :height, :width].float()
        base = x
        if self.residual != tuple(range(x.shape[1])):
            base = torch.stack([x[:, i] if i >= 0 else torch.zeros_like(x[:, 0]) for i in self.residual], dim=1)
        return base + y if plate is None else changed(base, y, plate)

    def body(self, cells: Tensor) -> Tensor:
        """The part with weights, between unshuffling pixels into cells of 2x2 and shuffling them back.

        Args:
            cells: [B, 4 * channels, H / 2, W / 2] of the input and of the clean plate, if there is one, in the
                dtype of the weights; H and W are multiples of the stride.

        Returns:
            [B, 4 * channels, H / 2, W / 2]: what is added to the Input and, with a clean plate, its opacity.
        """
        y = self.head(cells)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)
        y = self.middle(y)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            assert isinstance(up, nn.Conv2d)
            skip = skips.pop()
            if is_only_rendered(up.weight, y, skip):
                y = decoder(add_enlarged(y, up.weight, skip))
            else:
                y = decoder(_enlarged(up(y)) + skip)
        out: Tensor = self.tail(y)
        return out


def changed(base: Tensor, y: Tensor, plate: Tensor) -> Tensor:
    """Adds the body's result to the Input and blends in the clean plate.

    Args:
        base: [B, C, H, W] the Input, or 0.
        y: [B, C + 1, H, W] what is added, and the clean plate's opacity before its sigmoid: 0 is transparent, 1 opaque.
        plate: [1 or B, C + 1, H, W].

    Returns:
        [B, C, H, W]. The network's own precision does not affect the clean plate.
    """
    count = base.size(1)
    opacity = torch.sigmoid(8 * y[:, count:] - 4)
    return base + y[:, :count] + opacity * (plate[:, :count].float() - base)


def _blocks(channels: int, count: int) -> GatedBlocks:
    return GatedBlocks(*(GatedBlock(channels) for _ in range(count)))


# torch's own shuffles keep channels-last memory on the CPU only; elsewhere the next convolution would copy. These have
# the same order of channels, with one copy in each direction.


def _cells(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`pixel_unshuffle` by 2 into channels-last memory, in another dtype."""
    if _by_torch(x):
        return F.pixel_unshuffle(x, 2).to(dtype, memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    cells = x.to(dtype).permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    rows = cells.permute(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)
    return rows.permute(0, 3, 1, 2)


def _enlarged(x: Tensor) -> Tensor:
    """`pixel_shuffle` by 2 that keeps channels-last memory."""
    if _by_torch(x):
        return F.pixel_shuffle(x, 2)
    batch, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def _by_torch(x: Tensor) -> bool:
    return x.device.type == "cpu" or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def for_channels(weights: Mapping[str, Tensor], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, Tensor]:
    """The weights for a network with other channels; channels that are kept compute as before.

    Args:
        weights: a state dict of :class:`Network`.
        inputs: for each input channel of the new network, the input channel of this one that it replaces, or -1.
        outputs: the same for its output channels; those with -1 start at zero, as in an untrained network.
    """

    def picked(tensor: Tensor, channels: Sequence[int], dim: int) -> Tensor:
        parts = [tensor.narrow(dim, 4 * max(i, 0), 4) * (i >= 0) for i in channels]  # four pixels to a cell
        return torch.cat(parts, dim)

    return {
        **weights,
        "head.weight": picked(weights["head.weight"], inputs, 1),
        "tail.weight": picked(weights["tail.weight"], outputs, 0),
        "tail.bias": picked(weights["tail.bias"], outputs, 0),
    }
