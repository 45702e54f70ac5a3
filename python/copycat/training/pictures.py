"""Contact sheets and previews: display-ready 8-bit PNGs.

A contact sheet has three rows, one for each of three random crops (the third on top), and three columns: input, ground
truth, output. It has no text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from copycat import ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset
from copycat.model.network import Network
from copycat.runs import write_whole
from copycat.sequence import colour, write_frame

ROWS = 3
_STREAM = 0x5EED5  # the sheet's crops are others than the training's


@torch.inference_mode()
def contact_sheet(network: Network, dataset: Dataset, crop: int, step: int, seed: int, view: str = "") -> np.ndarray:
    """Makes a contact sheet, [3 h, 3 w, 3] float32 in 0..1, display-referred.

    Args:
        network: computes with the weights to show.
        dataset: at the level to show.
        crop: side of the crops in pixels.
        step: chooses the crops, with the seed.
        seed: of the training.
        view: as for `colour.display`.
    """
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
    plate = None
    if dataset.clean_plate is not None:
        plate = clean_plate.of_crops(dataset.clean_plate, rule, step=step, batch=ROWS).to(device)
    output = network(source.to(device), plate)
    output = output if ops.runs_on(device) else output.cpu()
    columns = (
        displayed(ops.denormalize(source, dataset.input_encoding), dataset.linear, dataset.input_channels, view),
        displayed(ops.denormalize(target, dataset.target_encoding), dataset.linear, dataset.target_channels, view),
        displayed(ops.denormalize(output, dataset.target_encoding), dataset.linear, dataset.target_channels, view),
    )
    rows = [np.concatenate([column[row] for column in columns], axis=1) for row in reversed(range(ROWS))]
    return np.concatenate(rows, axis=0)


def displayed(values: torch.Tensor, linear: bool, channels: Sequence[str], view: str = "") -> np.ndarray:
    """Values [..., C, H, W] as a display shows them, [..., H, W, 3] in 0..1; see `colour.display`."""
    return colour.display(values.float().cpu().movedim(-3, -1).numpy(), linear, channels, view)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a display-ready picture [H, W, 3] in 0..1 as an 8-bit PNG, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="copycat-") as folder:
        temporary = Path(folder) / "picture.png"
        write_frame(temporary, picture, ("R", "G", "B"), like=None, dtype="uint8")
        write_whole(path, temporary.read_bytes())
