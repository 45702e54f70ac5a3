"""The loss curves of a Data Directory's runs as a picture: a host's own view of the Progress page's graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from copycat.plots.canvas import Canvas, text_width
from copycat.plots.curves import Array, Curve
from copycat.runs import RunHistory, RunInfo
from copycat.runs.history import number
from copycat.settings.tables import ProgressSettings

_BACK, _RAISED, _LINE, _GREY, _TEXT = "#1b1e22", "#23272c", "#2b3036", "#8a94a1", "#cdd3da"
_SMALLEST_TEXT = 11
_LEGEND_SHARE = 0.3  # of the height at most


@dataclass(frozen=True)
class ShownRun:
    """A run whose curve shows, its curve, and its validations ``(steps, PSNR in dB)``."""

    info: RunInfo
    curve: Curve
    validation: tuple[Array, Array]


def shown_run(info: RunInfo, curve: Curve, history: RunHistory | None) -> ShownRun:
    """Brings together what is known of a run; a validation without a finite PSNR is left out."""
    records = list(history.validations) if history else []
    found = np.array([(number(v["step"]), number(v["psnr"])) for v in records]).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    steps, psnr = found[np.argsort(found[:, 0], kind="stable")].T
    return ShownRun(info, curve, (steps, psnr))


@dataclass(frozen=True)
class Axis:
    """A range of values along an edge of the graph.

    Attributes:
        low, high: the ends.
        ticks: the values that are written beside it, rising, within the ends.
        log: whether it is logarithmic; the ends are positive then.
    """

    low: float
    high: float
    ticks: list[float] = field(default_factory=list)
    log: bool = False

    def place(self, values: Array) -> Array:
        """Where values lie between the ends, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(values)
        return np.asarray((values - low) / (high - low))


def linear_axis(low: float, high: float, ticks: int, tight: bool = False) -> Axis:
    """An axis from ``low`` to ``high`` with about so many ticks at 1, 2 or 5 times a power of ten.

    Its ends are ticks too, unless it is tight.
    """
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-300):  # as good as one value
        margin = size / 2 if size > 1e-300 else 0.5
        low, high = low - margin, high + margin
    raw = (high - low) / max(ticks, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = [i * step for i in range(first, last + 1)]
    if tight:
        return Axis(low, high, [place for place in places if low <= place <= high])
    return Axis(places[0], places[-1], places)


def log_axis(low: float, high: float, ticks: int) -> Axis:
    """A logarithmic axis around positive values, with at most about so many ticks.

    The ticks are powers of ten, or 1, 2 and 5 times such where there is room; the ends are ticks or powers of ten.
    """
    low, high = max(low, 1e-300), max(high, 1e-300)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    start = max((tick for tick in fine if tick <= low * 1.001), default=fine[0])
    end = min((tick for tick in fine if tick >= high * 0.999 and tick > start), default=fine[-1])
    within = [tick for tick in fine if start <= tick <= end]
    if len(within) > ticks:
        every = max(1, math.ceil((last - first) / max(ticks, 1)))
        within = [10.0**power for power in range(first, last + 1, every) if start <= 10.0**power <= end]
    return Axis(start, end, within, log=True)


def short(value: float) -> str:
    """A number as a tick bears it: ``0.25``, ``15k``, ``1.5M``, ``2e-4``."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    if size >= 1e6:
        return f"{value / 1e6:.4g}M"
    if size >= 1e4:
        return f"{value / 1e3:.4g}k"
    if size < 1e-3:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.3g}" if size < 100 else f"{value:.4g}"


def draw_loss_curves(
    runs: Sequence[ShownRun], settings: ProgressSettings, height: int, width: int, message: str = ""
) -> NDArray[np.float32]:
    """Draws the graph.

    Args:
        runs: those whose curves show, in the order of the legend.
        settings: the knobs of the Progress tab.
        height, width: of the picture.
        message: what is written instead where there is nothing to draw.

    Returns:
        ``[height, width, 3]``, display values, origin top-left.
    """
    canvas = Canvas(height, width, _BACK)
    size = max(_SMALLEST_TEXT, min(height // 42, width // 60))
    runs = [run for run in runs if len(run.curve.steps)]
    if runs:
        _Graph(canvas, size, runs, settings).draw()
    elif message:
        _write_wrapped(canvas, message, size)
    return canvas.pixels


def _write_wrapped(canvas: Canvas, message: str, size: int) -> None:
    """Writes a sentence into the middle, in as many lines as it needs; a long path is broken anywhere."""
    height, width = canvas.pixels.shape[:2]
    lines, line = [], ""
    for letter in message:
        if text_width(line + letter, size) > 0.9 * width and line:
            cut = line.rfind(" ") + 1 or len(line)
            lines.append(line[:cut].strip())
            line = line[cut:]
        line += letter
    lines.append(line)
    for i, text in enumerate(lines):
        canvas.text(width / 2, height / 2 + (i - (len(lines) - 1) / 2) * 1.5 * size, text, size, _TEXT, "center")


class _Graph:
    """One graph while it is drawn."""

    def __init__(self, canvas: Canvas, size: int, runs: Sequence[ShownRun], settings: ProgressSettings) -> None:
        self._canvas, self._size, self._settings = canvas, size, settings
        # The active run is drawn last, on top of the others.
        self._runs, self._drawn = runs, sorted(runs, key=lambda run: run.info.active)
        height, width = canvas.pixels.shape[:2]
        self._with_text = width >= 20 * size and height >= 10 * size
        self._validated = [r for r in self._drawn if settings.show_validation and len(r.validation[0])]
        self._lines = {run.info.run.name: self._lines_of(run) for run in runs}
        self._legend = self._legend_rows(width) if self._with_text else []
        self._top = round((0.8 + 1.5 * len(self._legend) + 0.4) * size) if self._with_text else 2
        self._bottom = height - (round(3.6 * size) if self._with_text else 2)
        rows = max(2, min(10, (self._bottom - self._top) // (3 * size)))
        self._y = self._loss_axis(rows)
        self._psnr = self._psnr_axis(rows)
        self._left = round(2.6 * size) + self._widest(self._y) if self._with_text else 2
        right = round(2.6 * size) + self._widest(self._psnr) if self._psnr else 1.5 * size
        self._right = width - (round(right) if self._with_text else 2)
        last = max(float(run.curve.steps[-1]) for run in runs)
        self._x = linear_axis(0.0, max(last, 1.0), max(2, (self._right - self._left) // (6 * size)), tight=True)

    def _lines_of(self, run: ShownRun) -> list[Array]:
        """The losses to draw: smoothed, and the raw ones where they are shown too."""
        smoothed = run.curve.smoothed(self._settings.smoothness)
        if self._settings.show_original and self._settings.smoothness > 0:
            return [smoothed, run.curve.losses]
        return [smoothed]

    def _loss_axis(self, ticks: int) -> Axis:
        lines = [line for lines in self._lines.values() for line in lines]
        if not self._settings.log_scale:
            return linear_axis(min(float(v.min()) for v in lines), max(float(v.max()) for v in lines), ticks)
        positive = [line[line > 0] for line in lines]
        least = min((float(v.min()) for v in positive if len(v)), default=0.1)
        return log_axis(least, max((float(v.max()) for v in positive if len(v)), default=1.0), ticks * 3 // 2)

    def _psnr_axis(self, ticks: int) -> Axis | None:
        if not self._validated:
            return None
        values = np.concatenate([run.validation[1] for run in self._validated])
        return linear_axis(float(values.min()), float(values.max()), ticks)

    def _widest(self, axis: Axis) -> int:
        return max((text_width(short(tick), self._size) for tick in axis.ticks), default=0)

    def draw(self) -> None:
        """Draws everything, from the back to the front."""
        self._canvas.box(self._left, self._top, self._right, self._bottom, _RAISED)
        self._draw_grid()
        thin, thick = max(1.0, self._size / 18), max(1.2, self._size / 9)
        for run in self._drawn:
            for line in self._lines[run.info.run.name][1:]:
                self._draw_line(run, line, thin, 0.35)
        for run in self._drawn:
            self._draw_line(run, self._lines[run.info.run.name][0], thick * (1.3 if run.info.active else 0.9), 1.0)
        for run in self._validated:
            assert self._psnr is not None
            x, y = self._across(run.validation[0]), self._down(self._psnr, run.validation[1])
            self._canvas.curve(x, y, run.info.colour, thin * 1.2, 0.9, dash=self._size / 2)
            self._canvas.dots(x, y, run.info.colour, self._size / 2.5)
        self._draw_legend()

    def _draw_line(self, run: ShownRun, losses: Array, thickness: float, opacity: float) -> None:
        shown = losses > 0 if self._settings.log_scale else np.ones(len(losses), bool)
        x, y = self._across(run.curve.steps[shown]), self._down(self._y, losses[shown])
        self._canvas.curve(x, y, run.info.colour, thickness, opacity)

    def _across(self, steps: Array) -> Array:
        return np.asarray(self._left + self._x.place(steps) * (self._right - self._left))

    def _down(self, axis: Axis, values: Array) -> Array:
        return np.asarray(self._bottom - axis.place(values) * (self._bottom - self._top))

    def _draw_grid(self) -> None:
        canvas, size, gap = self._canvas, self._size, 0.5 * self._size
        thickness = max(1, size // 18)
        for tick, y in zip(self._y.ticks, self._down(self._y, np.array(self._y.ticks)), strict=True):
            canvas.box(self._left, y - thickness / 2, self._right, y + thickness / 2, _LINE)
            if self._with_text:
                canvas.text(self._left - gap, y, short(tick), size, _GREY, "right")
        for tick, x in zip(self._x.ticks, self._across(np.array(self._x.ticks)), strict=True):
            canvas.box(x - thickness / 2, self._top, x + thickness / 2, self._bottom, _LINE)
            if self._with_text:
                canvas.text(x, self._bottom + size, short(tick), size, _GREY, "center")
        self._draw_stages()
        if not self._with_text:
            return
        middle = (self._top + self._bottom) / 2
        canvas.text((self._left + self._right) / 2, self._bottom + 2.5 * size, "Step", size, _TEXT, "center")
        canvas.text(size, middle, "Loss", size, _TEXT, upright=True)
        if self._psnr:
            for tick, y in zip(self._psnr.ticks, self._down(self._psnr, np.array(self._psnr.ticks)), strict=True):
                canvas.text(self._right + gap, y, short(tick), size, _GREY)
            canvas.text(canvas.pixels.shape[1] - size, middle, "Validation PSNR dB", size, _TEXT, upright=True)

    def _draw_stages(self) -> None:
        """Marks where the active run first saw the data set at another resolution."""
        for run in self._drawn:
            for step, level in run.curve.stage_starts() if run.info.active else ():
                x = float(self._across(np.array([step]))[0])
                for y in range(self._top, self._bottom, max(self._size // 2, 2)):
                    self._canvas.box(x - 0.5, y, x + 0.5, y + self._size // 4, _GREY, 0.7)
                if self._with_text:
                    name = "full" if level == 1 else f"1/{level}"
                    place = x + 0.4 * self._size, self._top + 0.9 * self._size
                    self._canvas.text(*place, name, max(self._size * 4 // 5, _SMALLEST_TEXT), _GREY)

    def _legend_rows(self, width: int) -> list[list[tuple[ShownRun | None, str, int]]]:
        """(run, text, width) of each entry by row; the last says how many found no room."""
        rows: list[list[tuple[ShownRun | None, str, int]]] = [[]]
        most = max(1, int(_LEGEND_SHARE * self._canvas.pixels.shape[0] / (1.5 * self._size)))
        used = 0
        for done, run in enumerate(self._runs):
            text = f"{run.info.run.name}: {run.info.steps}"
            text += f" / {run.info.total_steps}" if run.info.total_steps else ""
            needed = text_width(text, self._size) + round(3.8 * self._size)
            if used + needed > width - 4 * self._size and rows[-1]:
                if len(rows) == most:
                    rows[-1].append((None, f"and {len(self._runs) - done} more", 0))
                    return rows
                rows.append([])
                used = 0
            rows[-1].append((run, text, needed))
            used += needed
        return rows

    def _draw_legend(self) -> None:
        for i, row in enumerate(self._legend):
            x, y = 1.2 * self._size, (1.5 + 1.5 * i) * self._size
            for run, text, needed in row:
                if run:
                    half = self._size / (7 if run.info.active else 14)
                    self._canvas.box(x, y - half, x + 1.4 * self._size, y + half, run.info.colour)
                    x += 1.9 * self._size
                self._canvas.text(x, y, text, self._size, _TEXT if run and run.info.active else _GREY)
                x += needed - 1.9 * self._size
