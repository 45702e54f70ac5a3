"""How well a network does on pairs it was not trained on."""

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
    """Mean over the frames of the peak signal-to-noise ratio in dB, peak 1.

    Scene-linear colour is compared as a display shows it (sRGB, clipped to 0..1), everything else as it is in the file.

    Args:
        network: of the shape that ``header`` describes.
        pairs: validation frames.
        header: channels and encodings.
        tile_size: bounds the memory; 0 renders whole frames.
        cancel: asked before each tile whether to stop.

    Raises:
        tiles.CancelledError: ``cancel`` said so.
    """
    values = []
    for pair in pairs:
        image = torch.from_numpy(read_frame(pair.input, header.channels_in).pixels).movedim(-1, 0)
        encodings = (header.input_encoding, header.target_encoding)
        output = tiles.render(network, image, encodings, tile_size=tile_size, cancel=cancel)
        truth = read_frame(pair.ground_truth, header.channels_out)
        x0, y0, x1, y1 = truth.valid
        made = output.movedim(0, -1).numpy()[y0:y1, x0:x1]
        values.append(frame_psnr(_shown(made, truth.info), _shown(truth.pixels[y0:y1, x0:x1], truth.info)))
    return float(np.mean(values))


def frame_psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """``-10 log10`` of the mean squared difference, peak 1; 100 dB where there is none."""
    error = float(np.mean(np.square(made.astype(np.float64) - truth)))
    return -10 * math.log10(max(error, 1e-10))


def _shown(pixels: np.ndarray, info: FrameInfo) -> np.ndarray:
    return np.clip(srgb(pixels), 0, 1) if info.linear and pixels.shape[-1] >= 3 else pixels
