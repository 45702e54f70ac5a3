"""A picture to draw graphs and text on, anti-aliased. Values are display-referred, 0 to 1; origin top-left."""

from __future__ import annotations

import functools
import math

import numpy as np
import OpenImageIO as oiio  # noqa: N813
from numpy.typing import ArrayLike, NDArray

from copycat.errors import CopycatError

_COLUMNS = 4  # slices of a picture element's column that a curve is sampled in
Mask = NDArray[np.float32]


class Canvas:
    """A picture ``[H, W, 3]`` of one colour to begin with.

    Attributes:
        pixels: ``[H, W, 3]``, float32.
    """

    def __init__(self, height: int, width: int, colour: str) -> None:
        self.pixels = np.empty((height, width, 3), np.float32)
        self.pixels[:] = rgb(colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: str, opacity: float = 1.0) -> None:
        """Fills a box between two corners, rounded to whole picture elements but never to nothing."""
        x, y = max(round(left), 0), max(round(top), 0)
        x2, y2 = max(round(right), x + 1), max(round(bottom), y + 1)
        part = self.pixels[y:y2, x:x2]
        part += (rgb(colour) - part) * np.float32(opacity)

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, align: str = "left", upright: bool = False
    ) -> None:
        """Writes a line.

        Args:
            x, y: its left end, middle or right end as ``align`` says; the middle of its height.
            text: one line.
            size: height of the font in picture elements.
            colour: ``#rrggbb``.
            align: ``left``, ``center`` or ``right``.
            upright: from bottom to top instead of left to right; ``x`` is then the middle of its height.
        """
        mask = text_mask(text, size)
        if upright:
            self._blend(np.rot90(mask), round(x) - mask.shape[0] // 2, round(y) - mask.shape[1] // 2, colour)
            return
        before = {"left": 0, "center": mask.shape[1] // 2, "right": mask.shape[1]}[align]
        self._blend(mask, round(x) - before, round(y) - mask.shape[0] // 2, colour)

    def curve(
        self, x: ArrayLike, y: ArrayLike, colour: str, thickness: float, opacity: float = 1.0, dash: float = 0.0
    ) -> None:
        """Draws lines from point to point.

        Args:
            x: ``[N]``, rising. A point at 0.5 lies in the middle of the first column.
            y: ``[N]``.
            colour: ``#rrggbb``.
            thickness: of the line.
            opacity: of the whole curve.
            dash: length of the dashes and the gaps along x; 0 draws through.
        """
        self._strokes(np.asarray(x, float), np.asarray(y, float), colour, thickness / 2, opacity, dash, joined=True)

    def dots(self, x: ArrayLike, y: ArrayLike, colour: str, diameter: float) -> None:
        """Draws a dot at each point; arguments as in :meth:`curve`."""
        self._strokes(np.asarray(x, float), np.asarray(y, float), colour, diameter / 2, 1.0, 0.0, joined=False)

    def _strokes(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        colour: str,
        radius: float,
        opacity: float,
        dash: float,
        joined: bool,
    ) -> None:
        if not len(x):
            return
        height, width = self.pixels.shape[:2]
        pen = math.ceil(radius)  # what lies beside the picture may reach into it
        first = max(math.floor(x[0] - radius), -pen)
        last = min(math.ceil(x[-1] + radius) + 1, width + pen)
        if last <= first:
            return
        low, high = _slices((x - first) * _COLUMNS, y, (last - first) * _COLUMNS, joined)
        if dash:
            gap = (np.arange(len(low)) / _COLUMNS + first) % (2 * dash) >= dash
            low[gap], high[gap] = np.inf, -np.inf
        low, high = _thickened(low, high, radius)
        places = np.flatnonzero(np.isfinite(low))
        if not len(places):
            return
        low, high = np.clip(low[places], 0, height), np.clip(high[places], 0, height)
        top, bottom = math.floor(low.min()), math.ceil(high.max())
        # What begins at a height covers all below it; summed up from the top, the ends cut it off again.
        mask = np.zeros((bottom - top + 2, last - first), np.float32)
        for ends, sign in ((low, 1.0), (high, -1.0)):
            rows = np.floor(ends).astype(np.intp)
            part = (ends - rows).astype(np.float32)
            np.add.at(mask, (rows - top, places // _COLUMNS), sign * (1 - part))
            np.add.at(mask, (rows - top + 1, places // _COLUMNS), sign * part)
        np.cumsum(mask, axis=0, out=mask)
        mask *= np.float32(opacity / _COLUMNS)
        self._blend(mask[: bottom - top], first, top, colour)

    def _blend(self, mask: Mask, left: int, top: int, colour: str) -> None:
        """Lays a colour over the picture as far as the mask covers; what lies outside is left out."""
        height, width = self.pixels.shape[:2]
        inside = mask[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
        part = self.pixels[max(top, 0) :, max(left, 0) :][: inside.shape[0], : inside.shape[1]]
        covered = np.nonzero(inside > 1e-3)
        under = part[covered]
        part[covered] = under + (rgb(colour) - under) * inside[covered][:, None]


def _slices(
    x: NDArray[np.float64], y: NDArray[np.float64], count: int, joined: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest point of a curve between each i and i + 1; infinite where it is not."""
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    inside = (x >= 0) & (x < count)
    places = x[inside].astype(np.intp)
    np.minimum.at(low, places, y[inside])
    np.maximum.at(high, places, y[inside])
    if joined:
        edges = np.arange(count + 1.0)
        at_edges = np.interp(edges, x, y)
        on_curve = (edges >= x[0]) & (edges <= x[-1])
        for side in (slice(0, -1), slice(1, None)):
            known = on_curve[side]
            low[known] = np.minimum(low[known], at_edges[side][known])
            high[known] = np.maximum(high[known], at_edges[side][known])
    return low.astype(np.float32), high.astype(np.float32)


def _thickened(
    low: NDArray[np.float32], high: NDArray[np.float32], radius: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same for the curve drawn with a round pen: in every slice what the pen covers is one piece."""
    reach = math.floor(radius * _COLUMNS)
    count = len(low)
    padded_low = np.pad(low, reach, constant_values=np.inf)
    padded_high = np.pad(high, reach, constant_values=-np.inf)
    lows, highs = np.full_like(low, np.inf), np.full_like(high, -np.inf)
    for shift in range(-reach, reach + 1):
        pen = np.float32(math.sqrt(max(radius**2 - (shift / _COLUMNS) ** 2, 0.0)))
        start = reach + shift
        np.minimum(lows, padded_low[start : start + count] - pen, out=lows)
        np.maximum(highs, padded_high[start : start + count] + pen, out=highs)
    return lows, highs


@functools.lru_cache(256)
def text_mask(text: str, size: int) -> Mask:
    """How much of each picture element a line of text covers.

    Args:
        text: one line.
        size: height of the font.

    Returns:
        ``[H, W]``, 0 to 1, read-only; all lines of one size have the same height, with the capitals in its middle.

    Raises:
        CopycatError: OpenImageIO was built without FreeType, or finds no font.
    """
    area = oiio.ImageBufAlgo.text_size(text, size)
    width = max(area.xend, 1) if area.defined else 1
    height = 2 * size
    drawn = oiio.ImageBuf(oiio.ImageSpec(width, height, 1, oiio.FLOAT))
    baseline = round(height / 2 + 0.36 * size)  # capitals are 0.72 of the font high
    if text and not oiio.ImageBufAlgo.render_text(drawn, 0, baseline, text, size, "", (1.0,)):
        raise CopycatError(f"OpenImageIO cannot draw text here: {drawn.geterror()}")
    mask = np.asarray(drawn.get_pixels(oiio.FLOAT), np.float32).reshape(height, width)
    mask.flags.writeable = False
    return mask


def text_width(text: str, size: int) -> int:
    """The width of a line of text in picture elements."""
    return int(text_mask(text, size).shape[1])


@functools.lru_cache(64)
def rgb(colour: str) -> NDArray[np.float32]:
    """``#rrggbb`` as three values from 0 to 1."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)
