"""Shows the runs of a Data Directory: a table with sparklines, JSON, CSV, or TensorBoard's event files."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from copycat.cli.terminal import printable
from copycat.runs import Display, RunInfo, StepColumns, find_runs, glance
from copycat.runs.event_files import write_event_file

_BARS = "▁▂▃▄▅▆▇█"
_STATE_STYLES = {"training": "bold green", "finished": "cyan", "stopped": "yellow", "failed": "red", "killed": "red"}
_HIDDEN = ("run", "header")


def show_runs(
    data_directory: Path, as_json: bool = False, as_csv: bool = False, tensorboard: Path | None = None
) -> None:
    """Prints the runs of a Data Directory, the most recent first, or writes TensorBoard's event files.

    Args:
        data_directory: where the runs are.
        as_json: print a JSON array of objects instead of a table.
        as_csv: print comma-separated values with a header line instead of a table.
        tensorboard: write an event file per run into this folder, which is made, and print the files' names.

    Raises:
        RunError: the directory cannot be read, or an event file cannot be written.
    """
    runs = find_runs(data_directory)
    if tensorboard is not None:
        for run in runs:
            print(write_event_file(run, tensorboard))
        return
    display = Display.read(Path(data_directory))
    histories = [glance(run) for run in runs]
    infos = [history.info(display) for history in histories]
    if as_json:
        print(json.dumps([_plain(info) for info in infos], indent=1))
    elif as_csv:
        names = ["name", *(field.name for field in dataclasses.fields(RunInfo) if field.name not in _HIDDEN)]
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_plain(info) for info in infos)
    else:
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(_table(infos, [history.steps for history in histories]))
        for info in infos:
            if info.state == "failed" and info.reason:
                console.print(Text(f"{info.run.name}: {printable(info.reason)}", style="red"), soft_wrap=True)


def _plain(info: RunInfo) -> dict[str, Any]:
    row = {"name": info.run.name}
    row.update((f.name, getattr(info, f.name)) for f in dataclasses.fields(info) if f.name not in _HIDDEN)
    row["updated"] = datetime.fromtimestamp(info.updated).astimezone().isoformat(timespec="seconds")
    return row


def _table(infos: Sequence[RunInfo], curves: Sequence[StepColumns]) -> Table:
    with_psnr = any(info.best_psnr is not None for info in infos)
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("")
    table.add_column("Name", overflow="fold", min_width=12)
    for title in ("Steps", "Loss", *(["PSNR"] if with_psnr else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("Curve (log)", "State", "Size", "Time"):
        table.add_column(title, no_wrap=True)
    for info, curve in zip(infos, curves, strict=True):
        complete = info.total_steps in (None, info.steps)
        psnr = "" if info.best_psnr is None else f"{info.best_psnr:.2f}"
        table.add_row(
            Text("●" if info.active else "○", style=info.colour),
            Text(info.run.name),
            f"{info.steps}" if complete else f"{info.steps}/{info.total_steps}",
            "" if info.loss is None else f"{info.loss:.4g}",
            *([psnr] if with_psnr else []),
            Text(sparkline(curve), style=info.colour),
            Text(info.state, style=_STATE_STYLES.get(info.state, "")),
            Text(printable(info.model_size)),
            datetime.fromtimestamp(info.updated).strftime("%Y-%m-%d %H:%M"),
        )
    return table


def sparkline(curve: StepColumns, width: int = 16) -> str:
    """Draws the loss over the steps as bars on a logarithmic scale; each bar is the mean of its steps."""
    points = [(step, loss) for step, loss in zip(curve.column("step"), curve.column("loss"), strict=True) if loss > 0]
    if not points:
        return ""
    first, last = points[0][0], points[-1][0]
    bars: list[list[float]] = [[] for _ in range(width)]
    for step, loss in points:
        share = (step - first) / (last - first) if last > first else 0.0
        bars[min(max(int(share * width), 0), width - 1)].append(loss)
    heights = [math.log(sum(bar) / len(bar)) if bar else math.nan for bar in bars]
    drawn = [height for height in heights if height == height]
    low, span = min(drawn), max(max(drawn) - min(drawn), 1e-9)
    return "".join(" " if h != h else _BARS[round((h - low) / span * (len(_BARS) - 1))] for h in heights).rstrip()
