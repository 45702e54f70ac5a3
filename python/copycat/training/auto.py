"""Says in one line what every Auto of a training has decided, and why."""

from __future__ import annotations

import numpy as np

from copycat.data.dataset import Dataset
from copycat.data.devices import device_name
from copycat.model.starting_point import lacks_preset_weights
from copycat.training.member import Process

_PLATES = {"none": "off", "still": "on", "moving": "moving"}
_NO_PLATE = "it needs three painted frames of one size that differ from their Inputs and agree behind that"


def decisions(data: Dataset, process: Process, *, resumed: bool) -> str:
    """The sentence for the user; empty if no knob that decides by itself is left to do so.

    Args:
        data: the data set at level 1.
        process: settings and device.
        resumed: whether matte and clean plate are those that the run was begun with.
    """
    settings, parts = process.task.settings, []
    if settings.use_gpu_if_available and settings.gpu_index == "Auto":
        found = "the first GPU that can be used" if process.device.type == "cuda" else "there is no GPU to use"
        parts.append(f"trains on {device_name(process.device)} ({found})")
    if settings.batch_size_type == "Auto":
        pairs = settings.pairs_per_step(len(data))
        every = f"all {pairs}" if pairs == len(data) else f"{pairs} of {len(data)}, the most"
        parts.append(f"Batch Size {pairs} ({every} pairs)" if len(data) > 1 else "Batch Size 1 (there is one pair)")
    if settings.matte == "Auto":
        parts.append(_matte(data, resumed))
    if settings.clean_plate == "Auto":
        reason = "as the run was begun" if resumed else "; ".join(data.notes) or _NO_PLATE
        parts.append(f"Clean Plate {_PLATES[data.plate]} ({reason})")
    if lacks_preset_weights(settings):
        size = settings.model_size
        parts.append(f"Initial Weights None (those of the preset {settings.preset} do not exist for {size})")
    if settings.bank == "auto":
        parts.append(_bank(data, process))
    return f"Auto: {'; '.join(parts)}" if parts else ""


def _matte(data: Dataset, resumed: bool) -> str:
    matte = data.target_encoding.matte
    mattes = [name for name, one in zip(data.target_channels, matte, strict=False) if one]
    if resumed:
        return f"Matte {'on' if mattes else 'off'} (as the run was begun)"
    if not mattes:
        return "Matte off (the Ground Truth is not mostly 0 or 1)"
    return f"Matte on ({','.join(mattes)} {'is' if len(mattes) == 1 else 'are'} mostly 0 or 1, and nothing beyond)"


def _bank(data: Dataset, process: Process) -> str:
    banks = [bank for bank in (data.input_bank, data.target_bank, data.mask_bank) if bank is not None]
    size = sum(bank.nbytes for bank in banks)
    assert data.banks
    if isinstance(data.banks.input, np.memmap):
        return f"Bank on disk ({size / 1e9:.1f} GB do not fit into free memory)"
    where = "in memory" if process.device.type == "cpu" else "on the GPU, or in memory where it is too small"
    return f"Bank {where} ({size / 1e9:.2g} GB)"
