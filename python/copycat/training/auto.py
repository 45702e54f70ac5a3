"""Says in one line what every Auto of a training has decided, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from copycat.data.dataset import Dataset
from copycat.data.devices import automatic
from copycat.settings.tables import Settings
from copycat.training.composites import why_not

_PLATES = {"none": "off", "still": "on", "moving": "moving"}
_NO_PLATE = (
    "it needs painted frames of one size that differ from their Inputs and agree behind that: two if most of the frame "
    "stays as it is and the camera stands still, else three"
)
_AS_BEFORE = "as the run was started"


@dataclass(frozen=True)
class _Facts:
    """What decisions follow from.

    Attributes:
        settings: of the training.
        data: the data set at level 1.
        device: where it is trained.
        decided_before: whether matte and clean plate were decided before.
    """

    settings: Settings
    data: Dataset
    device: torch.device
    decided_before: bool


def decisions(settings: Settings, data: Dataset, device: torch.device, *, decided_before: bool) -> str:
    """The sentence for the user; empty if no knob that decides by itself is left to do so.

    Args:
        settings: of the training.
        data: the data set at level 1.
        device: where it is trained.
        decided_before: whether matte and clean plate are those that the run was started with.
    """
    facts = _Facts(settings, data, device, decided_before)
    parts = [say(facts) for field, say in DECISIONS.items() if str(getattr(settings, field)).lower() == "auto"]
    parts = [part for part in parts if part]
    return f"Auto: {'; '.join(parts)}" if parts else ""


def _gpu(facts: _Facts) -> str:
    if not facts.settings.use_gpu_if_available:
        return ""
    return f"trains on {automatic(facts.device)}"


def _batch(facts: _Facts) -> str:
    count = len(facts.data)
    pairs = facts.settings.pairs_per_step(count)
    if count == 1:
        return "Batch Size 1 (there is one pair)"
    return f"Batch Size {pairs} ({f'all {pairs}' if pairs == count else f'{pairs} of {count}, the most'} pairs)"


def _matte(facts: _Facts) -> str:
    matte = facts.data.target_encoding.matte
    mattes = [name for name, one in zip(facts.data.target_channels, matte, strict=False) if one]
    if facts.decided_before:
        return f"Matte {'on' if mattes else 'off'} ({_AS_BEFORE})"
    if not mattes:
        return "Matte off (the Ground Truth is not mostly 0 or 1)"
    return f"Matte on ({','.join(mattes)} {'is' if len(mattes) == 1 else 'are'} mostly 0 or 1, and nothing beyond)"


def _composites(facts: _Facts) -> str:
    if reason := why_not(facts.data, facts.settings):
        return f"Composites off ({reason})"
    count = len(facts.data)
    return f"Composites on ({count} {'frame is' if count == 1 else 'frames are'} painted)"


def _clean_plate(facts: _Facts) -> str:
    reason = _AS_BEFORE if facts.decided_before else "; ".join(facts.data.notes) or _NO_PLATE
    return f"Clean Plate {_PLATES[facts.data.plate]} ({reason})"


def _bank(facts: _Facts) -> str:
    data = facts.data
    size = sum(bank.nbytes for bank in (data.input_bank, data.target_bank, data.mask_bank) if bank is not None)
    if data.banks and isinstance(data.banks.input, np.memmap):
        return f"Bank on disk ({size / 1e9:.1f} GB do not fit into free memory)"
    where = "in memory" if facts.device.type == "cpu" else "on the GPU, or in memory where it is too small"
    return f"Bank {where} ({size / 1e9:.2g} GB)"


DECISIONS: Mapping[str, Callable[[_Facts], str]] = {
    "gpu_index": _gpu,
    "batch_size_type": _batch,
    "matte": _matte,
    "composites": _composites,
    "clean_plate": _clean_plate,
    "bank": _bank,
}
"""What to say of each field of Settings that can be Auto."""
