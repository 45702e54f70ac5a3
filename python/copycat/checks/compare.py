"""Colour and grain of a Ground Truth frame against its Input.

Pictures are ``[H, W, C]`` numpy arrays of one size, origin top left, finite. A measurement is robust against local
effects (a repaired corner): it describes what most of the picture has in common.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copycat.data.alignment import Array

_COLOUR_CELL = 16


@dataclass(frozen=True)
class Colour:
    """A colour change of the whole picture: ``target = gain * input + offset`` per channel.

    Attributes:
        gain: per channel.
        offset: per channel.
        size: mean change, relative to the standard deviation of the picture's values.
        explained: 0..1, the share of the squared difference that it explains.
    """

    gain: tuple[float, ...]
    offset: tuple[float, ...]
    size: float
    explained: float


def colour_cells(pixels: Array) -> Array:
    """Means of squares of 16x16 pixels, ``[n, C]``: grain and most defocus average out."""
    cell = min(_COLOUR_CELL, *pixels.shape[:2])
    rows, columns = pixels.shape[0] // cell, pixels.shape[1] // cell
    cropped = pixels[: rows * cell, : columns * cell]
    means: Array = cropped.reshape(rows, cell, columns, cell, -1).mean(axis=(1, 3), dtype=np.float32)
    return means.reshape(rows * columns, -1)


def common_colour(source: Array, target: Array) -> Colour:
    """Fits gain and offset per channel, repeatedly without the cells that fit worst, which hold the paint.

    Args:
        source: ``[n, C]`` from ``colour_cells``, of one or several frames of the Input.
        target: the same of the Ground Truth.
    """
    keep = np.ones(len(source), bool)
    gain, offset = np.ones(source.shape[1], np.float32), np.zeros(source.shape[1], np.float32)
    for _ in range(4):
        a, b = source[keep], target[keep]
        centred = a - a.mean(axis=0)
        spread = (centred**2).mean(axis=0)
        gain = np.where(spread > 1e-12, (centred * b).mean(axis=0) / np.maximum(spread, 1e-12), 1)
        offset = b.mean(axis=0) - gain * a.mean(axis=0)
        misfit = np.abs(source * gain + offset - target).sum(axis=1)
        keep = misfit <= np.quantile(misfit, 0.7)
    a, b = source[keep], target[keep]
    before, after = float(np.mean((b - a) ** 2)), float(np.mean((a * gain + offset - b) ** 2))
    scale = float(np.std(a, axis=0).mean()) + 1e-6
    size = float(np.abs(a * gain + offset - a).mean()) / scale
    explained = max(0.0, 1 - after / before) if before > 0 else 0.0
    return Colour(tuple(map(float, gain)), tuple(map(float, offset)), size, explained)


def grain(picture: Array) -> float:
    """Standard deviation of the grain of a luminance ``[H, W]``.

    The filter of Immerkaer (1996) cancels slopes and edges; the lower quartile over the cells suppresses texture.
    """
    p = picture
    rows = p[:-2] - 2 * p[1:-1] + p[2:]
    response = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])
    cells = colour_cells(response[..., None])[:, 0]
    # Cells of one value (clipped or black) carry no grain.
    cells = cells[cells > 0]
    return float(np.quantile(cells, 0.25)) * float(np.sqrt(np.pi / 2)) / 6 if cells.size else 0.0
