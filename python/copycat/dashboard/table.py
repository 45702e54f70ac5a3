"""The runs table: which curves show, which run is active, names to be edited, colours, states."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from nicegui import events, ui

from copycat.runs import RunInfo

RunAction = Callable[[str, str, Any], Awaitable[None]]


class RunTable:
    """The table of one browser. Every action of the user calls ``handler(action, run name, value)``.

    Actions are ``show`` (bool), ``activate``, ``rename`` (the new name), ``colour`` (``#rrggbb``), ``reveal`` and
    ``delete``.
    """

    def __init__(self, handler: RunAction) -> None:
        self._handler = handler
        self._rows: list[dict[str, Any]] = []
        # Older NiceGUIs fit the columns to the grid unless told not to: that ends their flex, and if it comes before
        # the grid knows its width, all rows stay invisible.
        self._grid = ui.aggrid(_options(), theme="balham", auto_size_columns=False).classes("runs")
        self._grid.on("cellValueChanged", self._edited, ["colId", "newValue", "oldValue"])
        ui.on("copycat-run", self._acted)

    def show(self, rows: list[RunInfo], again: bool = False) -> None:
        """Shows rows; ``again`` sends them even if nothing changed, to take back an edit."""
        plain = [_plain(row) for row in rows]
        if again or plain != self._rows:
            self._rows = plain
            self._grid.run_grid_method("setGridOption", "rowData", plain)

    def filter(self, text: str) -> None:
        """Shows only the runs that have the text in some column."""
        self._grid.run_grid_method("setGridOption", "quickFilterText", text)

    async def _edited(self, event: events.GenericEventArguments) -> None:
        if event.args.get("colId") == "name":
            await self._handler("rename", str(event.args.get("oldValue")), str(event.args.get("newValue")))

    async def _acted(self, event: events.GenericEventArguments) -> None:
        action = event.args
        if isinstance(action, dict):
            await self._handler(str(action.get("action")), str(action.get("name")), action.get("value"))


def _plain(row: RunInfo) -> dict[str, Any]:
    return {
        "name": row.run.name,
        "shown": row.shown,
        "active": row.active,
        "steps": row.steps,
        "total": row.total_steps,
        "time": row.updated,
        "timeText": datetime.fromtimestamp(row.updated).strftime("%Y-%m-%d %H:%M:%S"),
        "state": row.state,
        "reason": row.reason,
        "size": row.model_size,
        "psnr": row.best_psnr,
        "loss": row.loss,
        "colour": row.colour,
    }


def _options() -> dict[str, Any]:
    """Columns; the renderers are in progress.js and build elements, never HTML from a value."""
    narrow = {"resizable": False, "filter": False, "sortable": True, "suppressHeaderMenuButton": True}
    return {
        "rowData": [],
        ":getRowId": "params => params.data.name",
        "rowHeight": 27,
        "headerHeight": 28,
        "animateRows": False,
        "stopEditingWhenCellsLoseFocus": True,
        "suppressCellFocus": False,
        "defaultColDef": {"sortable": True, "filter": True, "resizable": True, "suppressMovable": True},
        ":overlayNoRowsTemplate": "copycat.noRuns",
        "columnDefs": [
            {
                "field": "shown",
                "headerName": "",
                "headerTooltip": "Show curve",
                "width": 38,
                **narrow,
                ":cellRenderer": "copycat.shown",
            },
            {
                "field": "active",
                "headerName": "",
                "headerTooltip": "Active run",
                "width": 34,
                **narrow,
                ":cellRenderer": "copycat.active",
            },
            {
                "field": "colour",
                "headerName": "",
                "headerTooltip": "Colour",
                "width": 38,
                **narrow,
                "sortable": False,
                ":cellRenderer": "copycat.colour",
            },
            {
                "field": "name",
                "headerName": "Name",
                "flex": 3,
                "minWidth": 150,
                "editable": True,
                "headerTooltip": "Double-click a name to rename all files of the run",
            },
            {
                "field": "steps",
                "headerName": "Steps",
                "flex": 1,
                "minWidth": 92,
                "type": "rightAligned",
                "filter": "agNumberColumnFilter",
                ":valueFormatter": "copycat.steps",
            },
            {
                "field": "state",
                "headerName": "State",
                "flex": 1,
                "minWidth": 96,
                ":cellRenderer": "copycat.state",
                ":tooltipValueGetter": "params => params.data.reason",
            },
            {
                "field": "loss",
                "headerName": "Loss",
                "width": 84,
                "type": "rightAligned",
                "filter": "agNumberColumnFilter",
                ":valueFormatter": "params => (params.value === null ? '' : copycat.short(params.value))",
            },
            {
                "field": "psnr",
                "headerName": "PSNR",
                "headerTooltip": "Best validation PSNR in dB",
                "width": 76,
                "type": "rightAligned",
                "filter": "agNumberColumnFilter",
                ":valueFormatter": "params => copycat.number(params.value, 2)",
            },
            {"field": "size", "headerName": "Size", "width": 78},
            {
                "field": "time",
                "headerName": "Time",
                "width": 142,
                "sort": "desc",
                "filter": False,
                ":valueFormatter": "params => params.data.timeText",
            },
            {"headerName": "", "width": 62, **narrow, "sortable": False, ":cellRenderer": "copycat.actions"},
        ],
    }
