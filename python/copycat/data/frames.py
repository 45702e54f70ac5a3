"""One Input / Ground Truth pair: checks of its headers, its pixels, and their weights in the loss.

A plate, and the colour of a Ground Truth, have no pixels outside their data window: nothing is trained there. A matte
is 0 outside its data window, which autocrop relies on, so a matte is valid in the whole display window.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat import sequence
from copycat.sequence import FrameInfo, resolve_channels
from copycat.sequence.info import Window, intersect
from copycat.sequence.non_finite import leave_out, usable_values
from copycat.sequence.pairs import DatasetError, FramePair
from copycat.settings.tables import Settings

Pixels = NDArray[Any]
"""Floating point, or uint8 where 255 stands for 1."""

SMALLEST_FRAME = 16
_LARGEST_WEIGHT = float(np.finfo(np.float16).max)  # masks are kept in half


@dataclass(frozen=True)
class PairChannels:
    """Full names of the channels to read.

    Attributes:
        input, target: of the Input and of the Ground Truth.
        mask: of the mask file, or of the Ground Truth if there is no mask file; "" for a mask file's first channel.
    """

    input: tuple[str, ...]
    target: tuple[str, ...]
    mask: str


@dataclass(frozen=True)
class PairHeaders:
    """Headers of a pair's files; ``mask`` is None if there is no mask file."""

    input: FrameInfo
    target: FrameInfo
    mask: FrameInfo | None


@dataclass(frozen=True)
class BadPixels:
    """Pixels of a file that are not finite.

    Attributes:
        file: the file.
        count: how many there are.
        sentence: names the file, the count and the position of the first.
    """

    file: Path
    count: int
    sentence: str


@dataclass
class PairPixels:
    """The pixels of a pair in the size of the display window, origin top left.

    Attributes:
        input, target: ``[H, W, C]``, 0 outside the data window; finite after :func:`leave_out_unusable`.
        mask: ``[H, W, 1]`` float32 as in the file, or None.
        input_usable: ``[H, W, 1]``, where the Input is finite; None for everywhere.
        target_weights: ``[H, W, 1]`` float32, weights that belong to the Ground Truth: the mask, and 0 where the
            Ground Truth is not finite; None for 1 everywhere.
    """

    input: Pixels
    target: Pixels
    mask: NDArray[np.float32] | None
    input_usable: NDArray[np.bool_] | None = None
    target_weights: NDArray[np.float32] | None = None

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """``[H, W, 1]`` weights of the loss; None for 1 everywhere."""
        if self.input_usable is None:
            return self.target_weights
        usable = self.input_usable.astype(np.float32)
        return usable if self.target_weights is None else self.target_weights * usable


def is_matte(channel: str) -> bool:
    """Whether a channel's name says that it is coverage, not light."""
    last = channel.rsplit(".", 1)[-1].lower()
    return last in ("a", "alpha", "mask", "matte", "key", "coverage")


def as_float(pixels: Pixels) -> NDArray[np.float32]:
    """Pixels of a bank as float32, with the kernels' arithmetic: 255 of an 8-bit bank becomes 1."""
    if pixels.dtype == np.uint8:
        return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    return pixels.astype(np.float32, copy=False)


# -- headers ----------------------------------------------------------------------------------------------------------


def read_headers(pair: FramePair) -> PairHeaders:
    """Reads the headers of a pair's files; raises SequenceError for one that cannot be read."""
    mask = None if pair.mask is None else sequence.read_info(pair.mask)
    return PairHeaders(sequence.read_info(pair.input), sequence.read_info(pair.ground_truth), mask)


def choose_channels(settings: Settings, headers: PairHeaders) -> PairChannels:
    """Resolves the channel knobs in the first pair; raises SequenceError for a channel that it lacks."""
    return PairChannels(
        resolve_channels(settings.input_channels, headers.input),
        resolve_channels(settings.ground_truth_channels, headers.target),
        settings.mask_channel,
    )


def check_headers(pair: FramePair, headers: PairHeaders, channels: PairChannels) -> None:
    """Raises DatasetError if a file differs in size from the Input, is too small, or lacks a channel."""
    size = headers.input.width, headers.input.height
    for path, label, info in (
        (pair.ground_truth, "Ground Truth", headers.target),
        (pair.mask, "mask", headers.mask),
    ):
        if info is not None and (info.width, info.height) != size:
            raise DatasetError(
                f"{path}: the {label} is {info.width}x{info.height}, its Input {pair.input.name} is {size[0]}x{size[1]}"
            )
    if min(size) < SMALLEST_FRAME:
        least = f"{SMALLEST_FRAME}x{SMALLEST_FRAME}"
        raise DatasetError(f"{pair.input}: {size[0]}x{size[1]} is too small to train on; {least} is the least")
    needed = [(headers.input, channels.input), (headers.target, channels.target)]
    if channels.mask:
        needed.append((headers.mask or headers.target, (channels.mask,)))
    for info, names in needed:
        for name in names:
            if info.find_channel(name) is None:
                raise DatasetError(f"{info.path} has no channel {name!r}; it has {', '.join(info.channels)}")


def valid_window(info: FrameInfo, channels: Sequence[str], matte: str = "Auto") -> Window:
    """The pixels of a file that are data: its clipped data window; for mattes the whole display window.

    Args:
        info: the file.
        channels: full names of the channels to read; if several parts hold them, the intersection counts.
        matte: the knob Matte, which can say that all channels are mattes.
    """
    window: Window = (0, 0, info.width, info.height)
    if matte == "On" or all(is_matte(name) for name in channels):
        return window
    for _, part in info.parts_with(channels):
        window = intersect(window, part.data_window)
    return window


def common_window(pair: FramePair, headers: PairHeaders, channels: PairChannels, matte: str) -> Window:
    """The pixels that both Input and Ground Truth have; raises DatasetError if these are too few."""
    window = intersect(
        valid_window(headers.input, channels.input), valid_window(headers.target, channels.target, matte)
    )
    x0, y0, x1, y1 = window
    if min(x1 - x0, y1 - y0) < SMALLEST_FRAME:
        raise DatasetError(f"{pair.ground_truth}: its data window hardly meets that of the Input {pair.input.name}")
    return window


# -- pixels -----------------------------------------------------------------------------------------------------------


def read_pair(pair: FramePair, channels: PairChannels, out: tuple[Pixels, Pixels] | None = None) -> PairPixels:
    """Reads the pixels of a pair, each file once.

    Args:
        pair: its files.
        channels: the channels to read.
        out: ``[H, W, C]`` arrays for Input and Ground Truth; new float32 arrays when None.

    Raises:
        sequence.SequenceError: a file cannot be read.
    """
    input_out, target_out = out or (None, None)
    source = sequence.read_frame(pair.input, channels.input, out=input_out).pixels
    if pair.mask is None and channels.mask:
        dtype = np.float32 if target_out is None else target_out.dtype
        both = sequence.read_frame(pair.ground_truth, (*channels.target, channels.mask), dtype).pixels
        target, mask = both[..., :-1], as_float(both[..., -1:])
        if target_out is not None:
            target_out[...] = target
            target = target_out
        return PairPixels(source, target, mask)
    target = sequence.read_frame(pair.ground_truth, channels.target, out=target_out).pixels
    if pair.mask is None:
        return PairPixels(source, target, None)
    name = channels.mask or sequence.read_info(pair.mask).channels[0]
    return PairPixels(source, target, sequence.read_frame(pair.mask, (name,)).pixels)


def leave_out_unusable(pair: FramePair, pixels: PairPixels, valid: Window) -> tuple[list[BadPixels], list[str]]:
    """Sets NaN, infinite and huge values to 0 with weight 0, and negative weights to 0.

    Args:
        pair: the files, for the sentences.
        pixels: changed in place.
        valid: x0, y0, x1, y1 (half open) of the pixels to train on; others are not counted.

    Returns:
        The pixels that are not finite, and sentences about clamped weights.
    """
    bad, clamped = [], []
    usable: list[NDArray[np.bool_] | None] = []
    x0, y0, x1, y1 = valid
    for file, part in ((pair.input, pixels.input), (pair.ground_truth, pixels.target), (mask_file(pair), pixels.mask)):
        values = None if part is None or part.dtype == np.uint8 else usable_values(part)
        if part is None or values is None or values.all():
            usable.append(None)
            continue
        inside = values[y0:y1, x0:x1]
        if sentence := leave_out(part[y0:y1, x0:x1], inside, x0, y0):
            count = int(np.count_nonzero(~inside.all(axis=-1)))
            bad.append(BadPixels(file, count, f"{file}: {sentence}"))
        part[~values] = 0
        usable.append(np.all(values, axis=-1, keepdims=True))
    if pixels.mask is not None:
        lowest, count = float(pixels.mask.min()), int(np.count_nonzero(pixels.mask < 0))
        if count:
            clamped.append(
                f"{mask_file(pair)}: the mask is negative in {count} {'pixel' if count == 1 else 'pixels'}, down to "
                f"{lowest:.3g}; such pixels are not trained on"
            )
        np.clip(pixels.mask, 0, _LARGEST_WEIGHT, out=pixels.mask)
    pixels.input_usable = usable[0]
    pixels.target_weights = pixels.mask
    if usable[1] is not None:
        finite = usable[1].astype(np.float32)
        pixels.target_weights = finite if pixels.mask is None else pixels.mask * finite
    return bad, clamped


def mask_file(pair: FramePair) -> Path:
    """The file that holds the mask, if there is one."""
    return pair.mask or pair.ground_truth
