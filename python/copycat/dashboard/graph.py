"""The graph: loss per step of the shown runs. The server thins the curves out to the visible part."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
from nicegui import events, ui

from copycat.plots.curves import Curve, thin
from copycat.plots.live import Watch
from copycat.runs import RunInfo
from copycat.settings.tables import ProgressSettings

_POINTS = 1200
_ALL_POINTS = 24000
_ZOOM = 0.6
_GREY = "#7d8794"
_LINE = "rgba(125,135,148,0.16)"
_FAINT = "rgba(125,135,148,0.06)"
Range = tuple[float, float]


class Graph:
    """The graph of one browser.

    Attributes:
        log_scale, smoothness, show_original, show_validation: the knobs of the Progress tab.
    """

    def __init__(self, watch: Watch, display: ProgressSettings) -> None:
        self._log_scale = display.log_scale
        self.smoothness = display.smoothness
        self.show_original = display.show_original
        self.show_validation = display.show_validation
        self._watch = watch
        self._x: Range | None = None
        self._y: Range | None = None
        self._extent: Range = (0.0, 1.0)
        self._shown_y: Range = (0.0, 1.0)
        self._redraw = self._drawing = False
        self._sent_zoom: tuple[Range | None, float] | None = None
        self._chart = ui.echart(_options(self._log_scale)).classes("graph")
        self._chart.on("chart:datazoom", self._zoomed, ["start", "end", "batch"], throttle=0.12, leading_events=False)
        self._chart.on("dblclick", self.fit)

    @property
    def log_scale(self) -> bool:
        """Whether the loss axis is logarithmic."""
        return self._log_scale

    @log_scale.setter
    def log_scale(self, on: bool) -> None:
        self._log_scale = on
        self._y = None
        # To ECharts an axis of another kind is another object: send all options again.
        self._chart.options["yAxis"][0]["type"] = _axis_type(on)
        self._chart.update()
        self._sent_zoom = None

    async def draw(self) -> None:
        """Sends the visible part of the curves, which a thread prepares."""
        self._redraw = True
        if self._drawing:  # that call draws once more, so that calls do not queue up
            return
        self._drawing = True
        try:
            while self._redraw:
                self._redraw = False
                options = await asyncio.to_thread(self._now)
                self._chart.run_chart_method("setOption", options, {"replaceMerge": ["series"]})
        finally:
            self._drawing = False

    async def fit(self) -> None:
        """Shows all of the shown curves."""
        self._x = self._y = None
        await self.draw()

    async def zoom_x(self, into: bool) -> None:
        """Zooms about the middle, step-wise."""
        low, high = self._x or self._extent
        low, high = _scaled(low, high, _ZOOM if into else 1 / _ZOOM)
        first, last = self._extent
        low, high = max(low, first), min(high, last)
        self._x = None if (low, high) == self._extent else (low, high)
        await self.draw()

    async def zoom_y(self, into: bool) -> None:
        """Zooms about the middle of the losses, on their scale."""
        low, high = self._y or self._shown_y
        factor = _ZOOM if into else 1 / _ZOOM
        if self.log_scale and low > 0:
            exponents = _scaled(math.log(low), math.log(high), factor)
            self._y = math.exp(exponents[0]), math.exp(exponents[1])
        else:
            low, high = _scaled(low, high, factor)
            self._y = max(low, 0.0), high
        await self.draw()

    async def _zoomed(self, event: events.GenericEventArguments) -> None:
        zoom = (event.args.get("batch") or [event.args])[0]
        start, end = zoom.get("start"), zoom.get("end")
        if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
            return
        first, last = self._extent
        self._x = (
            None
            if start <= 0 and end >= 100
            else (
                first + (last - first) * start / 100,
                first + (last - first) * end / 100,
            )
        )
        self._sent_zoom = (self._x, self._extent[1])  # the browser is there already, or further
        await self.draw()

    def _now(self) -> dict[str, Any]:
        """The parts of the chart's options that change."""
        curves = [
            (row, curve)
            for row in self._watch.rows()
            if row.shown and (curve := self._watch.curve(row.run.name)) is not None and len(curve.steps)
        ]
        last = max((float(curve.steps[-1]) for _, curve in curves), default=1.0)
        self._extent = (0.0, last)
        low, high = self._x or self._extent
        points = max(60, min(_POINTS, _ALL_POINTS // max(len(curves), 1)))
        series: list[dict[str, Any]] = []
        values: list[float] = []
        for row, curve in curves:
            series.extend(self._series(row, curve, (low, high), points, values))
        if self.show_validation:
            for row, _ in curves:
                series.extend(self._validation(row))
        self._shown_y = (min(values), max(values)) if values else (0.0, 1.0)
        y_low, y_high = self._y or (None, None)
        has_validation = any(line.get("yAxisIndex") for line in series)
        options: dict[str, Any] = {
            "xAxis": {"max": last},
            "yAxis": [
                {"min": y_low, "max": y_high},
                {"show": has_validation},
            ],
            "grid": {"right": 52 if has_validation else 18},
            "series": series,
        }
        if self._sent_zoom != (self._x, last):
            self._sent_zoom = (self._x, last)
            options["dataZoom"] = [{"start": 100 * low / last, "end": 100 * high / last} for _ in range(2)]
        return options

    def _series(
        self, row: RunInfo, curve: Curve, shown: Range, points: int, values: list[float]
    ) -> list[dict[str, Any]]:
        """The lines of one run; the values that will be on the screen are added to ``values``."""
        positive = self.log_scale
        name = row.run.name
        smoothed = curve.smoothed(self.smoothness)
        chosen = thin(curve.steps, smoothed, *shown, points)
        line: dict[str, Any] = {
            "id": name,
            "name": name,
            "type": "line",
            "color": row.colour,
            "lineStyle": {"width": 2 if row.active else 1.4},
            "z": 4 if row.active else 3,
            "showSymbol": False,
            "data": _points(curve, smoothed, chosen, positive, more=True),
        }
        if row.active:
            line["markLine"] = _stage_marks(curve)
        values.extend(v for v in smoothed[chosen].tolist() if v > 0 or not positive)
        if not self.show_original or self.smoothness <= 0:
            return [line]
        chosen = thin(curve.steps, curve.losses, *shown, points)
        original = {
            "id": f"{name}/original",
            "type": "line",
            "color": row.colour,
            "lineStyle": {"width": 1, "opacity": 0.3},
            "z": 2,
            "silent": True,
            "showSymbol": False,
            "data": _points(curve, curve.losses, chosen, positive),
        }
        values.extend(v for v in curve.losses[chosen].tolist() if v > 0 or not positive)
        return [original, line]

    def _validation(self, row: RunInfo) -> list[dict[str, Any]]:
        history = self._watch.history(row.run.name)
        records = list(history.validations) if history else []
        data = [[v["step"], round(v["psnr"], 3)] for v in records if isinstance(v["psnr"], (int, float))]
        if not data:
            return []
        return [
            {
                "id": f"{row.run.name}/validation",
                "type": "line",
                "yAxisIndex": 1,
                "color": row.colour,
                "lineStyle": {"width": 1.2, "type": [4, 3]},
                "symbol": "circle",
                "symbolSize": 4,
                "z": 5,
                "data": data[:: max(1, len(data) // 400)],
            }
        ]


def _scaled(low: float, high: float, factor: float) -> Range:
    middle, half = (low + high) / 2, (high - low) / 2 * factor
    return middle - half, middle + half


def _points(
    curve: Curve, values: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any], positive: bool, more: bool = False
) -> list[list[float | None]]:
    """``[step, value]`` or, for the hover, ``[step, value, loss, seconds]`` of each chosen point."""
    if positive:
        chosen = chosen[values[chosen] > 0]
    columns = [curve.steps[chosen], _rounded(values[chosen])]
    if more:
        columns += [_rounded(curve.losses[chosen]), np.nan_to_num(np.round(curve.times[chosen], 1), nan=-1.0)]
    return [list(point) for point in zip(*(column.tolist() for column in columns), strict=True)]


def _rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Five significant digits: nobody can see more, and every digit travels to the browser."""
    with np.errstate(divide="ignore"):
        magnitude = np.where(values == 0, 1.0, 10.0 ** (4 - np.floor(np.log10(np.abs(values)))))
    return np.asarray(np.round(values * magnitude) / magnitude)


def _stage_marks(curve: Curve) -> dict[str, Any]:
    marks = [
        {"xAxis": step, "label": {"formatter": "full" if level == 1 else f"1/{level}"}}
        for step, level in curve.stage_starts()
    ]
    return {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": _GREY, "type": "dashed", "width": 1, "opacity": 0.7},
        "label": {"position": "insideEndTop", "rotate": 0, "color": _GREY, "fontSize": 10, "distance": [4, 2]},
        "data": marks,
    }


def _axis_type(log_scale: bool) -> str:
    return "log" if log_scale else "value"


def _options(log_scale: bool) -> dict[str, Any]:
    """The chart's fixed options."""
    axis = {
        "nameTextStyle": {"color": _GREY, "fontSize": 11},
        "axisLabel": {"color": _GREY, "fontSize": 11, ":formatter": "copycat.axisLabel"},
        "axisLine": {"lineStyle": {"color": _LINE}},
        "axisTick": {"show": False},
        "splitLine": {"lineStyle": {"color": _LINE}},
    }
    zoom = {"xAxisIndex": 0, "filterMode": "none", "start": 0, "end": 100, "throttle": 60}
    return {
        "animation": False,
        "grid": {"left": 58, "right": 18, "top": 14, "bottom": 62},
        "xAxis": {**axis, "type": "value", "min": 0, "max": 1, "name": "Step", "nameLocation": "middle", "nameGap": 22},
        "yAxis": [
            {
                **axis,
                "type": _axis_type(log_scale),
                "name": "Loss",
                "nameLocation": "middle",
                "nameGap": 44,
                "nameRotate": 90,
                "minorSplitLine": {"show": True, "lineStyle": {"color": _FAINT}},
                "scale": True,
            },
            {
                **axis,
                "type": "value",
                "name": "PSNR dB",
                "nameLocation": "middle",
                "nameGap": 34,
                "scale": True,
                "show": False,
                "splitLine": {"show": False},
            },
        ],
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "transitionDuration": 0,
            "extraCssText": "background: var(--panel); border: 1px solid var(--edge); color: var(--text);"
            " font-size: 11.5px; padding: 6px 8px; box-shadow: none;",
            "axisPointer": {"type": "line", "lineStyle": {"color": _GREY}},
            ":formatter": "copycat.tooltip",
        },
        "dataZoom": [
            {"type": "inside", **zoom},
            {
                "type": "slider",
                **zoom,
                "height": 14,
                "bottom": 10,
                "showDetail": False,
                "brushSelect": False,
                "borderColor": "transparent",
                "backgroundColor": _LINE,
                "fillerColor": "rgba(125,135,148,0.28)",
                "showDataShadow": False,
                "handleSize": "120%",
                "handleStyle": {"color": _GREY, "borderColor": _GREY},
                "moveHandleSize": 0,
            },
        ],
        "series": [],
    }
