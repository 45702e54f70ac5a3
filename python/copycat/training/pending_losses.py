"""Losses that are still on the device, until they are read back for the ``.summary``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class PendingLosses:
    """Losses of the steps since the last read-back; truthy when there are any.

    Attributes:
        skipped: the length of the last run of steps without a finite loss, which changed no weight.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._rows: list[tuple[int, int, float, float]] = []
        self._losses: list[Tensor] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, step: int, level: int, rate: float, elapsed: float, losses: Tensor) -> None:
        """Adds a step: ``losses`` is ``[loss, l1, l2]`` on the device, ``elapsed`` seconds of training."""
        self._rows.append((step, level, rate, elapsed))
        self._losses.append(losses)

    def take(self) -> list[dict[str, Any]]:
        """Returns the lines for the ``.summary`` in order; waits for the device. A loss that is not finite is None."""
        values = torch.stack(self._losses).tolist() if self._losses else []
        records = []
        for (step, level, rate, elapsed), (loss, l1, l2) in zip(self._rows, values, strict=True):
            finite = math.isfinite(loss)
            self.skipped = 0 if finite else self.skipped + 1
            records.append(
                {
                    "step": step,
                    "loss": round(loss, 8) if finite else None,
                    "parts": {"l1": round(l1, 8), "l2": round(l2, 10)} if finite else {},
                    "level": level,
                    "lr": round(rate, 8),
                    "time": round(elapsed, 3),
                }
            )
        self._rows, self._losses = [], []
        return records
