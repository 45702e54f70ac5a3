"""Steadies the mattes of a sequence: where the plate stands still, a frame's matte is averaged with its neighbours'.

Only mattes: they have no grain of their own, so what changes over a plate that stands still is error. A colour channel
follows the plate's grain, and averaging it loses real changes (``docs/explanation/benchmarks.md``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from copycat.data.encodings import encode
from copycat.model.cat import ModelHeader
from copycat.sequence.non_finite import usable_values

REACH = 2  # frames to each side
# A change of the plate's mean over a window that makes a neighbour count 0.6 times; as displayed, white is 1. Ordinary
# grain changes it less.
_CHANGE = 2 / 255
_WINDOW = 5
_LEAST = 0.01  # weights below it are 0

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of a frame for its neighbours.

    Attributes:
        planes: the plate's channels as the network's encoding shows them, without grain; NaN near pixels that are no
            picture's.
        result: [H, W, C], the model's.
        origin: x, y of the first pixel, relative to the display window.
    """

    planes: tuple[Array, ...]
    result: Array
    origin: tuple[int, int]


def mattes_of(header: ModelHeader) -> list[int]:
    """The result's channels that can be steadied."""
    return [channel for channel, matte in enumerate(header.target_encoding.matte) if matte]


def to_render(frames: Sequence[int], there: Collection[int]) -> list[int]:
    """The frames to render, in order, so that each of ``frames`` finds its neighbours among the last ones.

    Each occurs once if ``frames`` ascend or descend.
    """
    order: list[int] = []
    held: set[int] = set()
    for frame in frames:
        needed = neighbourhood(frame, there)
        order += [one for one in needed if one not in held]
        held = set(needed)
    return order


def neighbourhood(frame: int, there: Collection[int]) -> list[int]:
    """The frame and those that it is averaged with, ascending."""
    return [one for one in range(frame - REACH, frame + REACH + 1) if one in there]


def look_at(pixels: Array, result: Array, origin: tuple[int, int], header: ModelHeader) -> Look:
    """Prepares a frame's plate [H, W, C] and its result for its neighbours."""
    usable = usable_values(pixels)
    shown = encode(np.where(usable, pixels, np.float32(0)), header.input_encoding)
    planes: list[Array] = []
    for channel in range(shown.shape[-1]):
        plane: Array = cv2.blur(np.ascontiguousarray(shown[..., channel]), (_WINDOW, _WINDOW))  # type: ignore[assignment]
        bad = ~usable[..., channel]
        if bad.any():
            plane[cv2.dilate(bad.astype(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8)) > 0] = np.nan
        planes.append(plane)
    return Look(tuple(planes), result, origin)


def steadied(look: Look, neighbours: Sequence[Look], mattes: Sequence[int]) -> Array:
    """A frame's result with its mattes averaged over the neighbours, where their plates are alike."""
    own = look.result[..., list(mattes)]
    change, total = np.zeros_like(own), np.ones((*own.shape[:2], 1), np.float32)
    for other in neighbours:
        here, there = _overlap(look, other)
        if here is None or there is None:
            continue
        weight = _likeness([p[here] for p in look.planes], [p[there] for p in other.planes])
        difference = other.result[there][..., list(mattes)] - own[here]
        weight = np.where(np.isfinite(difference).all(axis=-1), weight, 0)[..., None]
        change[here] += np.where(weight > 0, weight * difference, 0)
        total[here] += weight
    result = look.result.copy()
    result[..., list(mattes)] = own + change / total
    return result


def _likeness(ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    """[H, W] from 0 to 1: how well the plates agree; 0 where a pixel is no picture's."""
    largest = np.abs(ours[0] - theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        np.maximum(largest, np.abs(a - b), out=largest)  # keeps NaN
    weight = np.exp(np.square(largest / np.float32(_CHANGE)) * np.float32(-0.5))
    return np.where(weight >= _LEAST, weight, np.float32(0))


Place = tuple[slice, slice]


def _overlap(one: Look, other: Look) -> tuple[Place, Place] | tuple[None, None]:
    """Where both frames have pixels, in the coordinates of each."""
    spans = []
    for axis in (0, 1):
        starts = [look.origin[1 - axis] for look in (one, other)]
        ends = [start + look.result.shape[axis] for start, look in zip(starts, (one, other), strict=True)]
        low, high = max(starts), min(ends)
        if low >= high:
            return None, None
        spans.append([slice(low - start, high - start) for start in starts])
    return (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])
