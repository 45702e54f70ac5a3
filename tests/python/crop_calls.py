"""The two operators that draw crops, called with the rule's parts by keyword: tests vary them one at a time."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from copycat import ops
from torch import Tensor

_PARTS = {field.name for field in fields(ops.CropRule)}


def _split(given: dict[str, Any]) -> tuple[ops.CropRule, dict[str, Any]]:
    rule = ops.CropRule(**{name: value for name, value in given.items() if name in _PARTS})
    return rule, {name: value for name, value in given.items() if name not in _PARTS}


def sample_crops(input_bank: Tensor, target_bank: Tensor, **given: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    rule, others = _split(given)
    return ops.sample_crops(input_bank, target_bank, rule, **others)


def crop_positions(frame_size: tuple[int, int], **given: Any) -> Tensor:
    rule, others = _split(given)
    return ops.crop_positions(frame_size, rule, **others)
