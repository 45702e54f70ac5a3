"""Shows a Data Directory in a host: status, training info, runs table, contact sheet, loss curves."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from copycat.errors import CopycatError
from copycat.plots.live import Watch
from copycat.runs import RunInfo, read_json
from copycat.settings.tables import ProgressSettings
from copycat.worker.active_run import directory_of, find
from copycat.worker.buffers import picture, store
from copycat.worker.host_request import Handler, HostRequest
from copycat.worker.progress_page import ProgressPage

_DIRECTORIES_KEPT = 16

Failure = Callable[[Path], dict[str, Any] | None]
"""Data Directory -> the status of its active run where a training failed before its files could say so."""


class Overview:
    """The Data Directories that this host looks at; each is read once and followed from then on. Any thread."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure
        self._watches: OrderedDict[Path, Watch] = OrderedDict()
        self._lock = threading.Lock()
        self._page = ProgressPage()

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "status": self.status,
            "contact_sheet": self.contact_sheet,
            "loss_curve": self.loss_curve,
            "open_progress": self.open_progress,
        }

    def end(self) -> None:
        """The host is gone: closes the page."""
        self._page.end()

    def status(self, request: HostRequest) -> dict[str, Any]:
        """How the active run is doing, and the runs table."""
        return self._status(self._look(request))

    def _status(self, watch: Watch) -> dict[str, Any]:
        rows = _rows(watch)
        active = next((row for row in rows if row.active), None)
        return {**(self._failure(watch.directory) or describe(active)), "run_table": run_table(rows)}

    def contact_sheet(self, request: HostRequest) -> dict[str, Any]:
        """Fits the newest contact sheet of the active run into the picture; black where there is none."""
        from copycat.worker.sheets import as_host_values, fit_sheet

        run = find(request.settings)
        sheets = run.contact_sheets() if run else []
        pixels, names = picture(request.buffers.get(request.message), request.message.get("picture"))
        sheet = fit_sheet(sheets[-1][1] if sheets else None, pixels.shape[0], pixels.shape[1])
        store(as_host_values(sheet, pixels.dtype, names), pixels)
        return self.status(request)

    def loss_curve(self, request: HostRequest) -> dict[str, Any]:
        """Draws the curves of the runs whose curve shows."""
        from copycat.plots.graph import draw_loss_curves, shown_run
        from copycat.worker.sheets import as_host_values

        watch = self._look(request)
        while watch.scan():
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
        rows = _rows(watch)
        runs = [
            shown_run(row, curve, watch.history(row.run.name))
            for row in rows
            if row.shown and (curve := watch.curve(row.run.name))
        ]
        message = ""
        if watch.problem and watch.directory.exists():
            message = watch.problem
        elif not rows:
            message = f"There is no run in {watch.directory} yet: start a training"
        elif not runs:
            message = f"The curves of all runs in {watch.directory} are hidden: show them on the Progress page"
        pixels, names = picture(request.buffers.get(request.message), request.message.get("picture"))
        drawn = draw_loss_curves(runs, _display(request), pixels.shape[0], pixels.shape[1], message)
        store(as_host_values(drawn, pixels.dtype, names), pixels)
        status = self._status(watch)
        return {**status, "status": status["status"] or message}

    def open_progress(self, request: HostRequest) -> dict[str, Any]:
        """Opens the Progress page of the Data Directory; it closes with the host."""
        self._page.open(directory_of(request.settings), _display(request))
        return self.status(request)

    def _look(self, request: HostRequest) -> Watch:
        """The runs of the Data Directory, up to date."""
        directory = directory_of(request.settings)
        with self._lock:
            watch = self._watches.setdefault(directory, Watch(directory))
            self._watches.move_to_end(directory)
            while len(self._watches) > _DIRECTORIES_KEPT:
                self._watches.popitem(last=False)
        watch.scan(everything=_display(request).live_updates, curves=False)
        return watch


def _rows(watch: Watch) -> list[RunInfo]:
    """The runs; none where the directory is gone."""
    return [] if watch.problem else watch.rows()


def _display(request: HostRequest) -> ProgressSettings:
    return ProgressSettings.from_dict(request.message.get("display", {}))


def describe(info: RunInfo | None) -> dict[str, Any]:
    """The status of the active run as the host shows it."""
    if info is None:
        return {"status": "", "can_resume": False, "failed": False}
    header = info.header
    total = info.total_steps
    lines = [
        f"Channels: {header.get('channels', 'rgb -> rgb')}",
        f"Batch Size: {_batch(info)}",
        f"Total Steps: {total if total is not None else 'by time limit'}",
    ]
    reached = f"step {info.steps}" + (f" of {total}" if total else "")
    loss = f", loss {info.loss:.4g}" if info.loss is not None else ""
    reason = f": {info.reason}" if info.reason and info.state in ("failed", "killed") else ""
    remarks = "".join(
        f"; {kind}: {sentence}"
        for kind, key in (("warning", "warnings"), ("note", "notes"))
        if isinstance(header.get(key), list)
        for sentence in header[key]
    )
    return {
        "status": f"{info.run.name}: {info.state}, {reached}{loss}{reason}{remarks}",
        "training_info": "\n".join(lines) if header else "",
        "can_resume": info.run.resume_state.exists() and info.state not in ("starting", "training"),
        "failed": info.state == "failed",
    }


def _batch(info: RunInfo) -> str:
    settings: Any = read_json(info.run.provenance).get("settings")
    manual = isinstance(settings, Mapping) and settings.get("batchSizeType") == "Manual"
    return f"{info.header.get('batch', 0)}" + ("" if manual else " (Auto)")


def run_table(rows: Sequence[RunInfo]) -> str:
    """A line for each run, the one written to last first; a star marks the active one."""
    lines = []
    for row in rows:
        planned = f" of {row.total_steps}" if row.total_steps else ""
        updated = datetime.fromtimestamp(row.updated).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"{'*' if row.active else '-'} {row.run.name}, {row.steps}{planned} steps, {updated}")
    return "\n".join(lines)
