"""Validation: the PSNR of a network on frame pairs that it is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from copycat.data.frames import (
    PairChannels,
    check_headers,
    common_window,
    leave_out_unusable,
    read_headers,
    read_pair,
)
from copycat.model import tiles
from copycat.model.cat import ModelHeader
from copycat.model.network import Network
from copycat.sequence import FrameInfo, read_info
from copycat.sequence.colour import srgb
from copycat.sequence.info import Window
from copycat.sequence.pairs import DatasetError, FramePair


def psnr(
    network: Network,
    pairs: Sequence[FramePair],
    header: ModelHeader,
    tile_size: int = 1024,
    cancel: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB, peak 1, averaged over the frames.

    Scene-linear colour is compared through the sRGB curve, clipped to 0..1, everything else as it is in the file.
    Pixels that are not finite, and those outside the data window of colour, are not compared.

    Args:
        network: the network that ``header`` describes.
        pairs: validation frames.
        header: channels and encodings.
        tile_size: bounds the memory; 0 renders whole frames.
        cancel: called before each tile; True stops.
        warn: called with a sentence that counts the pixels that are not finite, for each file that has some.

    Raises:
        CopycatError: a frame cannot be read, or none of its pixels is finite.
        tiles.CancelledError: ``cancel`` returned True.
    """
    values = []
    for pair in pairs:
        x0, y0, x1, y1 = window = compared_window(pair, header)
        pixels = read_pair(pair, _channels(header))
        output = tiles.render(
            network,
            torch.from_numpy(pixels.input).movedim(-1, 0),
            (header.input_encoding, header.target_encoding),
            tile_size=tile_size,
            zero_bad_pixels=header.saw_bad_pixels,
            cancel=cancel,
        )
        bad, _ = leave_out_unusable(pair, pixels, window)
        for one in bad:
            if warn:
                warn(f"{one.sentence}; left out of the validation")
        usable = np.ones((y1 - y0, x1 - x0), bool)
        if pixels.weights is not None:
            usable = pixels.weights[y0:y1, x0:x1, 0] > 0
        if not usable.any():
            raise DatasetError(f"{bad[0].file}: no pixel is finite")
        info = read_info(pair.ground_truth)
        pictures = (output.movedim(0, -1).numpy(), pixels.target)
        values.append(frame_psnr(*(_displayed(one[y0:y1, x0:x1][usable], info) for one in pictures)))
    return float(np.mean(values))


def compared_window(pair: FramePair, header: ModelHeader) -> Window:
    """The pixels of a validation pair that are compared: x0, y0, x1, y1 (half open).

    Raises:
        CopycatError: a file cannot be read, or the two do not fit together.
    """
    headers = read_headers(pair)
    check_headers(pair, headers, _channels(header))
    matte = header.target_encoding.matte
    return common_window(pair, headers, _channels(header), "On" if matte and all(matte) else "Auto")


def _channels(header: ModelHeader) -> PairChannels:
    return PairChannels(header.channels_in, header.channels_out, "")


def frame_psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """``-10 log10`` of the mean squared difference, peak 1; 100 dB for equal frames."""
    error = float(np.mean(np.square(output.astype(np.float64) - truth)))
    return -10 * math.log10(max(error, 1e-10))


def _displayed(pixels: np.ndarray, info: FrameInfo) -> np.ndarray:
    return np.clip(srgb(pixels), 0, 1) if info.linear and pixels.shape[-1] >= 3 else pixels
