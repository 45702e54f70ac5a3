"""Contact sheets and previews: display-ready 8-bit PNGs.

A contact sheet has three random crops, a row each ("crop 3" on top, "crop 1" at the bottom), by three columns:
input, ground truth, output. It bears no text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from copycat import ops
from copycat.dataset import Dataset
from copycat.models import Network
from copycat.runs import write_whole
from copycat.sequence import write_frame

ROWS = 3
_STREAM = 0x5EED5  # keeps the sheet's random crops apart from the training's


@torch.inference_mode()
def contact_sheet(network: Network, dataset: Dataset, crop: int, step: int, seed: int) -> np.ndarray:
    """Makes a contact sheet, [3 h, 3 w, 3] float32 in 0..1, display-referred."""
    device = next(network.parameters()).device
    rule = ops.CropRule(
        crop=dataset.crop(crop),
        seed=seed ^ _STREAM,
        valid=dataset.valid,
        centres=dataset.centres,
        centre_offsets=dataset.centre_offsets,
        centre_share=0.5,
    )
    source, target, _ = ops.sample_crops(
        dataset.input_bank,
        dataset.target_bank,
        rule,
        step=step,
        batch=ROWS,
        input_encoding=dataset.input_encoding,
        target_encoding=dataset.target_encoding,
    )
    output = network(source.to(device))
    columns = (
        display(ops.denormalize(source, dataset.input_encoding), dataset.linear, dataset.input_channels),
        display(ops.denormalize(target, dataset.target_encoding), dataset.linear, dataset.target_channels),
        display(ops.denormalize(output, dataset.target_encoding), dataset.linear, dataset.target_channels),
    )
    rows = [np.concatenate([column[row] for column in columns], axis=1) for row in reversed(range(ROWS))]
    return np.concatenate(rows, axis=0)


def display(pixels: Tensor, linear: bool, channels: Sequence[str]) -> np.ndarray:
    """[..., C, H, W] values as in the file -> [..., H, W, 3] in 0..1 as a display shows them.

    Three or more channels show as red, green and blue, fewer as grey. Scene-linear colour goes through the sRGB curve
    (IEC 61966-2-1); a single matte does not.
    """
    values = pixels.float().cpu().movedim(-3, -1).numpy()
    picture = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    if linear and (len(channels) >= 3):
        picture = srgb(picture)
    shown: np.ndarray = np.nan_to_num(np.clip(picture, 0, 1)).astype(np.float32)
    return shown


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB (IEC 61966-2-1); negative values become 0."""
    value = np.maximum(linear, 0)
    encoded: np.ndarray = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.power(value, 1 / 2.4) - 0.055)
    return encoded


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a display-ready picture [H, W, 3] in 0..1 as an 8-bit PNG, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="copycat-") as folder:
        made = Path(folder) / "sheet.png"
        write_frame(made, picture, ("R", "G", "B"), like=None, dtype="uint8")
        write_whole(path, made.read_bytes())
