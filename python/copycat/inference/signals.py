"""What a frame and its result say about the result's error, without the truth.

- *Disagreement*: how much the result changes when the network gets a part of the frame, cut at odd pixels. A sure
  network gives the same. The part is the window with most of the network's work; it costs less than half a render.
- *Unlikeness*: how far the frame's content is from that of the painted frames, as the network's middle sees it.
- *Chatter*: how much the result differs from that of the neighbouring frame, moved onto it by the plate's optical flow
  (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), beside how much the plate differs so.
- *Indecision*: how far a matte is from 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from copycat import ops
from copycat.data import clean_plate, moving_plate
from copycat.inference.model import Model
from copycat.sequence.non_finite import usable_values

Array = NDArray[np.float32]
Window = tuple[slice, slice]

_SHARE = 0.6  # of the frame's height and width that the window has
_WORK_CELL = 16  # pixels
_APART = 2  # pixels between those at which the work is looked for
_SMALLEST_WINDOW = 64  # pixels; a smaller frame is cut as a whole
_MOST_CELLS = 1024  # of a frame's features
_MOST_PAINTED_CELLS = 16384
_SMALL_WIDTH = 320  # pixels
_STILL = 1e-3  # a difference that does not count


@dataclass(frozen=True, eq=False)
class Look:
    """What one frame shows.

    Attributes:
        disagreement: mean absolute, in the result's units, scene-linear values in those of their encoding.
        indecision: mean of m (1 - m) over the mattes of the result; NaN without one.
        cells: [cells, D] half, features, on the CPU.
        plate, result: [h, w, C] values as in the file, at most 320 pixels wide.
    """

    disagreement: float
    indecision: float
    cells: Tensor
    plate: Array
    result: Array


def look(model: Model, pixels: Array, tile_size: int = 0, warn: Callable[[str], None] | None = None) -> Look:
    """Applies a model to a frame [H, W, C], values as in the file, and to a window of it."""
    height, width = pixels.shape[:2]
    caught: list[Tensor] = []
    pool = 2
    while height * width > _MOST_CELLS * (model.network.stride * pool) ** 2:
        pool *= 2

    def catch(_module: object, _inputs: object, output: Tensor) -> None:
        caught.append(functional.avg_pool2d(output[0].float(), pool, ceil_mode=True).flatten(1).T.half().cpu())

    handle = model.network.middle.register_forward_hook(catch)
    try:
        result = model(pixels, tile_size=tile_size, warn=warn)
    finally:
        handle.remove()
    encoding, residual = model.header.target_encoding, model.header.residual
    result, shown = _finite(result), _finite(pixels)
    some = np.s_[::_APART, ::_APART]
    change = _encoded(result[some], encoding)
    if max(residual) >= 0:
        start = shown[some]
        base = np.stack([start[..., i] if i >= 0 else np.zeros_like(start[..., 0]) for i in residual], axis=-1)
        change = change - _encoded(base, encoding)
    window = busiest_window(change, (height, width))
    rows, columns = window
    origin, format = (columns.start, rows.start), (width, height)
    again = model(pixels[window], tile_size=tile_size, origin=origin, format=format)
    disagreement = float(np.abs(_encoded(_finite(again), encoding) - _encoded(result[window], encoding)).mean())
    mattes = result[..., [*np.flatnonzero(encoding.matte)]]
    indecision = float((mattes * (1 - mattes)).mean()) if mattes.size else float("nan")
    return Look(disagreement, indecision, torch.cat(caught), _small(shown), _small(result))


def busiest_window(change: Array, size: tuple[int, int]) -> Window:
    """The window of three fifths of the height and width in which a change varies most from pixel to pixel.

    Its corner is at odd pixels, where the network's grid lies otherwise than on the whole frame.

    Args:
        change: [h, w, C] of every :data:`_APART`th pixel of every so many rows.
        size: height and width of the frame.
    """
    height, width = size
    if min(height, width) * _SHARE < _SMALLEST_WINDOW:
        return slice(min(5, height - 1), height), slice(min(3, width - 1), width)
    cells = (-(-width // _WORK_CELL), -(-height // _WORK_CELL))
    values = change @ np.full(change.shape[-1], 1 / change.shape[-1], np.float32)
    mean, square = (cv2.resize(v, cells, interpolation=cv2.INTER_AREA) for v in (values, values * values))
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    rows, columns = round(cells[1] * _SHARE), round(cells[0] * _SHARE)
    sums = cv2.integral(deviation)
    window_sums = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    y, x = np.unravel_index(window_sums.argmax(), window_sums.shape)
    top, left = int(y) * _WORK_CELL + 5, int(x) * _WORK_CELL + 3
    bottom, right = min(height, top + rows * _WORK_CELL), min(width, left + columns * _WORK_CELL)
    return slice(top, bottom), slice(left, right)


def unlikeness(frames: Sequence[Tensor], painted: Sequence[Tensor]) -> list[float]:
    """For each frame the mean distance of its cells to the nearest cell of a painted frame.

    A painted frame is compared with the others; the only one with its own other cells.

    Args:
        frames: `Look.cells` of each frame.
        painted: the same of the painted frames; where one is among the frames, the same tensor.

    Returns:
        Distances in standard deviations of the painted frames' features.
    """
    cells = torch.cat([*painted]).float()
    owners = torch.repeat_interleave(torch.tensor([len(one) for one in painted]))
    step = -(-len(cells) // _MOST_PAINTED_CELLS)
    scale = (cells.std(0) + 1e-6) * cells.shape[1] ** 0.5
    cells, owners = cells[::step] / scale, owners[::step]
    own = {id(one): index for index, one in enumerate(painted)}
    found = []
    for frame in frames:
        values, index = frame.float() / scale, own.get(id(frame), -1)
        if index >= 0 and len(painted) == 1:
            nearest = torch.cdist(values, cells).topk(min(2, len(cells)), largest=False).values[:, -1]
        else:
            nearest = torch.cdist(values, cells[owners != index]).amin(1)
        found.append(float(nearest.mean()))
    return found


class Chatter:
    """Compares neighbouring frames; one thread."""

    def __init__(self, model: Model) -> None:
        self._header = model.header
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def between(self, before: Look, after: Look) -> float:
        """How many times as much the results of two neighbours differ as their plates, where these show the same.

        Differences are mean absolute, in units of the encoded values. Frames of two sizes have no chatter: NaN.
        """
        if before.plate.shape != after.plate.shape:
            return float("nan")
        height, width = after.plate.shape[:2]
        greys = self._grey(after.plate), self._grey(before.plate)
        flow = self._flow.calc(*greys, np.zeros((height, width, 2), np.float32))  # from no motion
        y, x = np.mgrid[:height, :width].astype(np.float32)

        def difference(old: Array, new: Array, encoding: ops.Encoding) -> float:
            old, new = _encoded(old, encoding), _encoded(new, encoding)
            moved = cv2.remap(
                old, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            return float(np.abs(new - moved.reshape(new.shape)).mean()) + _STILL

        result = difference(before.result, after.result, self._header.target_encoding)
        return result / difference(before.plate, after.plate, self._header.input_encoding)

    def _grey(self, plate: Array) -> NDArray[np.uint8]:
        values = torch.from_numpy(plate)
        return moving_plate.grey(clean_plate.normalised(values, self._header.input_encoding)).astype(np.uint8)


def _encoded(values: Array, encoding: ops.Encoding) -> Array:
    """As `copycat.data.encodings.encode` of finite values [H, W, C], by the kernel, which is many times as fast."""
    if not any(encoding.log_scale):
        return values
    units = tuple(math.log1p(scale) if scale else 1.0 for scale in encoding.log_scale)
    only_scaled = ops.Encoding(encoding.log_scale, (0.0,) * len(units), units)
    planes = torch.from_numpy(np.ascontiguousarray(values)).movedim(-1, 0)[None]
    result: Array = ops.normalize(planes, only_scaled)[0].movedim(0, -1).numpy()
    return result


def _finite(values: Array) -> Array:
    """The values, with 0 in place of those that are no picture's."""
    return np.where(usable_values(values), values, np.float32(0))


def _small(values: Array) -> Array:
    height, width = values.shape[:2]
    scale = min(1.0, _SMALL_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return small.reshape(size[1], size[0], values.shape[-1]).astype(np.float32, copy=False)
