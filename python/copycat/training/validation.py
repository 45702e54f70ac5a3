"""Validation: the PSNR of a network on frame pairs that it is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from copycat.model import tiles
from copycat.model.cat import ModelHeader
from copycat.model.network import Network
from copycat.sequence import FrameInfo, read_frame
from copycat.sequence.colour import srgb
from copycat.sequence.pairs import FramePair


def psnr(
    network: Network,
    pairs: Sequence[FramePair],
    header: ModelHeader,
    tile_size: int = 1024,
    cancel: Callable[[], bool] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB, peak 1, averaged over the frames.

    Scene-linear colour is compared through the sRGB curve, clipped to 0..1, everything else as it is in the file.

    Args:
        network: the network that ``header`` describes.
        pairs: validation frames.
        header: channels and encodings.
        tile_size: bounds the memory; 0 renders whole frames.
        cancel: called before each tile; True stops.

    Raises:
        CopycatError: a frame cannot be read.
        tiles.CancelledError: ``cancel`` returned True.
    """
    values = []
    for pair in pairs:
        image = torch.from_numpy(read_frame(pair.input, header.channels_in).pixels).movedim(-1, 0)
        encodings = (header.input_encoding, header.target_encoding)
        output = tiles.render(network, image, encodings, tile_size=tile_size, cancel=cancel)
        truth = read_frame(pair.ground_truth, header.channels_out)
        x0, y0, x1, y1 = truth.valid
        pixels = output.movedim(0, -1).numpy()[y0:y1, x0:x1]
        values.append(frame_psnr(_displayed(pixels, truth.info), _displayed(truth.pixels[y0:y1, x0:x1], truth.info)))
    return float(np.mean(values))


def frame_psnr(output: np.ndarray, truth: np.ndarray) -> float:
    """``-10 log10`` of the mean squared difference, peak 1; 100 dB for equal frames."""
    error = float(np.mean(np.square(output.astype(np.float64) - truth)))
    return -10 * math.log10(max(error, 1e-10))


def _displayed(pixels: np.ndarray, info: FrameInfo) -> np.ndarray:
    return np.clip(srgb(pixels), 0, 1) if info.linear and pixels.shape[-1] >= 3 else pixels
