"""How well a network does on pairs it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from copycat import tiles
from copycat.cat import ModelHeader
from copycat.contact_sheet import srgb
from copycat.dataset import FramePair
from copycat.models import Network
from copycat.sequence import FrameInfo, read_frame, read_info


def psnr(network: Network, pairs: Sequence[FramePair], header: ModelHeader, tile_size: int = 1024) -> float:
    """Mean over the frames of the peak signal-to-noise ratio in dB, peak 1.

    Scene-linear colour is compared as a display shows it (sRGB, clipped to 0..1), everything else as it is in the file.

    Args:
        network: of the shape that ``header`` describes.
        pairs: validation frames.
        header: channels and encodings.
        tile_size: bounds the memory; 0 renders whole frames.
    """
    values = []
    for pair in pairs:
        image = torch.from_numpy(read_frame(pair.input, header.channels_in).pixels).movedim(-1, 0)
        output = tiles.render(network, image, (header.input_encoding, header.target_encoding), tile_size=tile_size)
        truth = read_frame(pair.ground_truth, header.channels_out)
        x0, y0, x1, y1 = truth.valid
        made = output.movedim(0, -1).numpy()[y0:y1, x0:x1]
        info = read_info(pair.ground_truth)
        values.append(frame_psnr(_shown(made, info), _shown(truth.pixels[y0:y1, x0:x1], info)))
    return float(np.mean(values))


def frame_psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """``-10 log10`` of the mean squared difference, peak 1; 100 dB where there is none."""
    error = float(np.mean(np.square(made.astype(np.float64) - truth)))
    return -10 * math.log10(max(error, 1e-10))


def _shown(pixels: np.ndarray, info: FrameInfo) -> np.ndarray:
    return np.clip(srgb(pixels), 0, 1) if info.linear and pixels.shape[-1] >= 3 else pixels
