"""The loss curves of a Data Directory's runs as a picture: a host's own view of the Progress page's graph.

Drawn by matplotlib's Agg without pyplot, so that any thread may draw; imported when the first graph is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from copycat.plots.curves import Array, Curve, thin
from copycat.runs import RunHistory, RunInfo
from copycat.runs.history import number
from copycat.settings.tables import ProgressSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BACK, _RAISED, _LINE, _GREY, _TEXT = "#1b1e22", "#23272c", "#2b3036", "#8a94a1", "#cdd3da"
_DPI = 72  # so that a point is a pixel
_SMALLEST_TEXT = 11  # pixels
_LETTER = 0.62  # width of an average letter by the height of the font
_LEGEND_SHARE = 0.3  # of the height at most
_STEPS = (1, 2, 5, 10)  # ticks lie at multiples of these
_SMALLEST, _LARGEST = 1e-100, 1e100  # matplotlib's arithmetic on axes overflows beyond


@dataclass(frozen=True)
class ShownRun:
    """A run whose curve shows, its curve, and its validations ``(steps, PSNR in dB)``."""

    info: RunInfo
    curve: Curve
    validation: tuple[Array, Array]


def shown_run(info: RunInfo, curve: Curve, history: RunHistory | None) -> ShownRun:
    """Adds a run's validations to its curve; those without a finite PSNR are left out."""
    records = list(history.validations) if history else []
    found = np.array([(number(v["step"]), number(v["psnr"])) for v in records]).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    steps, psnr = found[np.argsort(found[:, 0], kind="stable")].T
    return ShownRun(info, curve, (steps, psnr))


def draw_loss_curves(
    runs: Sequence[ShownRun], settings: ProgressSettings, height: int, width: int, message: str = ""
) -> NDArray[np.float32]:
    """Draws the graph.

    Args:
        runs: those whose curves show, in the order of the legend.
        settings: the knobs of the Progress tab.
        height, width: of the picture in pixels.
        message: a sentence to write where there is nothing to draw.

    Returns:
        ``[height, width, 3]``, display values, origin top-left.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A millionth of a pixel keeps the division from losing a row.
    figure = Figure(((width + 1e-6) / _DPI, (height + 1e-6) / _DPI), dpi=_DPI, facecolor=_BACK)
    canvas = FigureCanvasAgg(figure)
    size = max(_SMALLEST_TEXT, min(height // 42, width // 60))
    runs = [run for run in runs if len(run.curve.steps)]
    if runs:
        _Graph(figure, (height, width), size, runs, settings).draw()
    elif message:
        drawable = message.encode(errors="replace").decode()  # a file's name need not be Unicode
        lines = textwrap.wrap(drawable, max(1, int(0.9 * width / (_LETTER * size))))
        figure.text(0.5, 0.5, "\n".join(lines), size=size, color=_TEXT, ha="center", va="center", parse_math=False)
    canvas.draw()  # type: ignore[no-untyped-call,unused-ignore]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call,unused-ignore]
    return np.asarray(pixels)[..., :3].astype(np.float32) / np.float32(255)


class _Graph:
    """One graph while it is drawn."""

    def __init__(
        self, figure: Figure, shape: tuple[int, int], size: int, runs: Sequence[ShownRun], settings: ProgressSettings
    ) -> None:
        self._figure, self._shape, self._size, self._settings = figure, shape, size, settings
        # The active run is drawn last, on top of the others.
        self._runs, self._drawn = runs, sorted(runs, key=lambda run: run.info.active)
        self._validated = [run for run in self._drawn if settings.show_validation and len(run.validation[0])]
        self._with_text = shape[1] >= 20 * size and shape[0] >= 10 * size

    def draw(self) -> None:
        """Draws everything."""
        legend_rows = self._draw_legend() if self._with_text else 0
        axes = self._axes(legend_rows)
        limits = [limit for run in self._drawn for limit in self._draw_run(axes, run)]
        self._scale_losses(axes, limits)
        axes.set_xlim(0, max(1.0, *(float(run.curve.steps[-1]) for run in self._runs)))
        self._draw_stages(axes)
        if self._validated:
            self._draw_validation(axes)

    def _axes(self, legend_rows: int) -> Axes:
        from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

        (height, width), size = self._shape, self._size
        if self._with_text:
            left, right = 6.2 * size, (5.2 if self._validated else 1.6) * size
            bottom, top = 3.6 * size, (0.8 + 1.6 * legend_rows) * size
        else:
            left = right = bottom = top = min(2.0, height / 4, width / 4)
        axes = self._figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height),
            facecolor=_RAISED,
        )
        self._style(axes)
        axes.grid(True, which="major", color=_LINE, linewidth=max(1, size // 18))
        axes.set_axisbelow(True)
        if self._with_text:
            axes.xaxis.set_major_locator(
                MaxNLocator(max(2, min(12, int((width - left - right) / (6 * size)))), steps=_STEPS, integer=True)
            )
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
            axes.set_xlabel("Step", size=size, color=_TEXT)
            self._figure.text(
                1.1 * size / width, 0.5, "Loss", size=size, color=_TEXT, rotation=90, ha="center", va="center"
            )
        return axes

    def _style(self, axes: Axes) -> None:
        axes.tick_params(which="both", length=0, labelsize=self._size, labelcolor=_GREY, pad=0.5 * self._size)
        if not self._with_text:
            axes.tick_params(labelbottom=False, labelleft=False, labelright=False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _draw_run(self, axes: Axes, run: ShownRun) -> list[float]:
        """Draws a run's curves; returns the lowest and the highest loss of each that the axis can show."""
        smoothed = run.curve.smoothed(self._settings.smoothness)
        lines = [(smoothed, (1.3 if run.info.active else 0.9) * max(1.2, self._size / 9), 1.0)]
        if self._settings.show_original and self._settings.smoothness > 0:
            lines.append((run.curve.losses, max(1.0, self._size / 18), 0.35))
        limits = []
        for losses, thickness, opacity in lines:
            shown = losses > 0 if self._settings.log_scale else np.ones(len(losses), bool)
            steps, losses = (
                run.curve.steps[shown],
                np.clip(losses[shown], _SMALLEST if self._settings.log_scale else -_LARGEST, _LARGEST),
            )
            if not len(steps):
                continue
            limits += [float(losses.min()), float(losses.max())]
            # More points than pixels overflow the rasteriser; thinned out, no peak is lost.
            chosen = thin(steps, losses, float(steps[0]), float(steps[-1]), 2 * self._shape[1])
            axes.plot(
                steps[chosen],
                losses[chosen],
                color=run.info.colour,
                linewidth=thickness,
                alpha=opacity,
                zorder=3 if opacity == 1 else 2,
                marker="o" if len(chosen) == 1 else None,
                markersize=2 * thickness,
            )
        return limits

    def _scale_losses(self, axes: Axes, limits: list[float]) -> None:
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

        ticks = max(2, min(10, int(self._shape[0] / (3 * self._size))))
        low, high = (min(limits), max(limits)) if limits else (0.1, 1.0)
        if self._settings.log_scale:
            low, high = max(low, _SMALLEST) / 1.1, min(max(high, _SMALLEST) * 1.1, _LARGEST)
            axes.set_yscale("log")
            fine = high / low < 10 ** (ticks / 2)
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if fine else (1.0,), numticks=ticks + 1))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_formatter(NullFormatter())
            if self._with_text:
                axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
        else:
            margin = 0.04 * (high - low)
            if margin <= 1e-9 * max(abs(low), abs(high)):  # as good as one value
                margin = abs(high) / 2 or 0.5
            low, high = max(low - margin, -_LARGEST), min(high + margin, _LARGEST)
            axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=_STEPS))
        axes.set_ylim(low, high)

    def _draw_stages(self, axes: Axes) -> None:
        """Marks where the active run first trains at another resolution."""
        for run in self._drawn:
            for step, level in run.curve.stage_starts() if run.info.active else ():
                axes.axvline(step, color=_GREY, alpha=0.7, linewidth=1, linestyle=(0, (2, 2)), zorder=1.5)
                if self._with_text:
                    axes.annotate(
                        "full" if level == 1 else f"1/{level}",
                        (step, 1),
                        (0.4 * self._size, -0.4 * self._size),
                        xycoords=("data", "axes fraction"),
                        textcoords="offset points",
                        size=max(self._size * 4 // 5, _SMALLEST_TEXT),
                        color=_GREY,
                        va="top",
                    )

    def _draw_validation(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator, StrMethodFormatter

        (height, width), size = self._shape, self._size
        right = axes.twinx()
        self._style(right)
        right.yaxis.set_major_locator(MaxNLocator(max(2, min(10, int(height / (3 * size)))), steps=_STEPS))
        right.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
        for run in self._validated:
            steps, psnr = run.validation
            right.plot(
                steps,
                np.clip(psnr, -_LARGEST, _LARGEST),
                color=run.info.colour,
                linewidth=max(1.0, size / 15),
                alpha=0.9,
                linestyle=(0, (4, 3)),
                marker="o",
                markersize=size / 2.5,
                clip_on=False,
            )
        if self._with_text:
            x = 1 - 1.1 * size / width
            self._figure.text(
                x, 0.5, "Validation PSNR dB", size=size, color=_TEXT, rotation=90, ha="center", va="center"
            )

    def _draw_legend(self) -> int:
        """Names the runs above the graph; returns the number of rows. The last entry says how many found no room."""
        from matplotlib.lines import Line2D

        (height, width), size = self._shape, self._size
        labels = [
            f"{run.info.run.name}: {run.info.steps}" + (f" / {run.info.total_steps}" if run.info.total_steps else "")
            for run in self._runs
        ]
        columns = max(1, int((width - 2 * size) / (_LETTER * size * max(map(len, labels)) + 4 * size)))
        columns = min(columns, len(labels))
        rows = min(-(-len(labels) // columns), max(1, int(_LEGEND_SHARE * height / (1.6 * size))))
        room = rows * columns
        lines = [
            Line2D([], [], color=run.info.colour, linewidth=round(size / (3 if run.info.active else 5)))
            for run in self._runs[:room]
        ]
        if len(labels) > room:
            lines[-1] = Line2D([], [], linewidth=0)
            labels = [*labels[: room - 1], f"and {len(labels) - room + 1} more"]
        # matplotlib fills column by column; a run is sought row by row.
        order = [row * columns + column for column in range(columns) for row in range(rows)]
        order = [index for index in order if index < len(labels)]
        legend = self._figure.legend(
            [lines[index] for index in order],
            [labels[index] for index in order],
            loc="upper left",
            bbox_to_anchor=(0.6 * size / width, 1 - 0.2 * size / height),
            ncols=columns,
            frameon=False,
            fontsize=size,
            labelcolor=[_TEXT if self._is_active(index) else _GREY for index in order],
            handlelength=1.4,
            borderpad=0.2,
            labelspacing=0.45,
            columnspacing=1.6,
        )
        legend.set_in_layout(False)
        return rows

    def _is_active(self, index: int) -> bool:
        return self._runs[index].info.active
