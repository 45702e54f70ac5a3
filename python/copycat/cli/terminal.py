"""How a training or a render is shown in a terminal: a bar, or plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from copycat.inference.render import FrameReport
    from copycat.training.report import Report

_LINE_SECONDS = 10.0
_STAGES = {4: "1/4", 2: "1/2", 1: "1/1"}


@contextmanager
def training_display() -> Iterator[Callable[[Report], None]]:
    """Gives the function that shows a training's reports."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _training_lines(console)
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[steps]}  loss {task.fields[loss]}  {task.fields[rate]} steps/s  {task.fields[left]}"),
        TextColumn("stage {task.fields[stage]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=1.0, steps="", loss="-", rate="-", left="", stage="-")

        def show(report: Report) -> None:
            if report.message:
                bar.console.print(f"[dim]{escape(report.message)}[/]")
            bar.update(
                task,
                description=escape(report.run),
                completed=report.fraction,
                steps=_steps(report),
                loss="-" if report.loss is None else f"{report.loss:.5f}",
                rate=f"{report.steps_per_second:.2f}",
                left=_left(report.seconds_left),
                stage=_STAGES[report.level],
            )

        yield show


def _training_lines(console: Console) -> Callable[[Report], None]:
    """``[Step:n/total]`` lines, the first, the last, and one each ten seconds between."""
    last = float("-inf")

    def show(report: Report) -> None:
        nonlocal last
        if report.message and not report.message.startswith("reading"):
            console.print(escape(report.message))
        now = time.monotonic()
        if report.step == 0 or (now - last < _LINE_SECONDS and report.fraction < 1):
            return
        last = now
        loss = "-" if report.loss is None else f"{report.loss:.6f}"
        console.print(
            escape(f"[Step:{_steps(report)}]")
            + f" loss {loss}, {report.steps_per_second:.2f} steps/s, stage {_STAGES[report.level]}, "
            + _left(report.seconds_left)
        )

    return show


@contextmanager
def render_display() -> Iterator[tuple[Callable[[FrameReport], None], Callable[[str], None]]]:
    """Gives the functions that show a render's reports and warnings."""
    console = Console(highlight=False, soft_wrap=True)

    def warn(sentence: str) -> None:
        console.print(f"warning: {escape(sentence)}")

    if not console.is_terminal:

        def line(report: FrameReport) -> None:
            message = f" {report.message}" if report.message else ""
            console.print(escape(f"[Frame:{report.done}/{report.count}] {report.frame}{message}"))

        yield line, warn
        return
    columns = (TextColumn("[bold]rendering"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)

        def show(report: FrameReport) -> None:
            if report.message:
                bar.console.print(escape(f"frame {report.frame} {report.message}"))
            bar.update(task, completed=report.done, total=report.count)

        yield show, warn


def _steps(report: Report) -> str:
    return f"{report.step}/{report.total_steps if report.total_steps is not None else '?'}"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds_left:02d} left"
