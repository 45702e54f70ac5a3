"""Flicker: how much a result's error changes from frame to frame where the picture stands still.

The warping error of Lai et al. (Learning Blind Video Temporal Consistency, ECCV 2018) compares a frame with its
neighbour after optical flow. Here only still pixels count, where the flow is zero and cannot be wrong, and the *error*
against the truth is compared, not the result, so that changes of grain and light in the truth are no flicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Pixels are still if the means of 5 x 5 pixels differ by less than this in every channel, peak 255: those of ordinary
# grain do, those of an edge that moves by half a pixel do not.
STILL = 2.0
_WINDOW = 5


class Frame(NamedTuple):
    """A frame of the Input, its result and the truth, each [H, W, C] with peak 255 and channels in the same order."""

    plate: np.ndarray
    result: np.ndarray
    truth: np.ndarray


def neighbours(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Pairs of consecutive frame numbers, from ascending numbers with gaps."""
    return [(a, b) for a, b in pairwise(numbers) if b == a + 1]


def flicker(pairs: Iterable[tuple[Frame, Frame]]) -> float:
    """Mean over neighbours t, t + 1, still pixels and channels of ``|(result - truth)(t + 1) - (result - truth)(t)|``.

    Args:
        pairs: consecutive frames. A pixel counts where both the plate and the truth are still.

    Returns:
        In 8-bit code values, peak 255; NaN if nothing is still.
    """
    total, count = 0.0, 0
    for before, after in pairs:
        still = _still(before.plate, after.plate) & _still(before.truth, after.truth)
        change = _error(after) - _error(before)
        total += float(np.abs(change[still]).sum())
        count += int(still.sum()) * change.shape[-1]
    return total / count if count else float("nan")


def _still(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    height, width = before.shape[:2]
    margin = _WINDOW // 2
    difference = after.astype(np.float32) - before.astype(np.float32)
    padded = np.pad(difference, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    rows = sum(padded[y : y + height] for y in range(_WINDOW))
    mean = sum(rows[:, x : x + width] for x in range(_WINDOW)) / _WINDOW**2
    return np.abs(mean).max(axis=-1) < STILL


def _error(frame: Frame) -> np.ndarray:
    return frame.result.astype(np.float32) - frame.truth.astype(np.float32)
