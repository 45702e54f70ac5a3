"""Shows trainings and renders in a terminal: a progress bar, or plain lines if the output is no terminal."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from copycat.inference.render import FrameReport
    from copycat.training.report import Report, Result

_LINE_SECONDS = 10.0
_STAGES = {4: "1/4", 2: "1/2", 1: "1/1"}
_STATUS = {"finished": 0, "stopped": 0, "interrupted": 130, "terminated": 143}


@contextmanager
def training_display() -> Iterator[Callable[[Report], None]]:
    """Yields the function that shows a training's reports."""
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
            if report.message and not report.counts:
                bar.console.print(f"[dim]{escape(report.message)}[/]")
            bar.update(
                task,
                description=escape(report.run),
                completed=report.fraction,
                steps=report.message if report.counts else _steps(report),
                loss="-" if report.loss is None else f"{report.loss:.5f}",
                rate=f"{report.steps_per_second:.2f}",
                left=_left(report.seconds_left),
                stage=_STAGES[report.level],
            )

        yield show


def _training_lines(console: Console) -> Callable[[Report], None]:
    """Prints ``[Step:n/total]``: the first line, the last, and one every ten seconds between; counts likewise."""
    last, counted = float("-inf"), time.monotonic()

    def show(report: Report) -> None:
        nonlocal last, counted
        now = time.monotonic()
        if report.message and (not report.counts or now - counted >= _LINE_SECONDS):
            console.print(escape(report.message))
            counted = now
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
def render_display() -> Iterator[tuple[Callable[[FrameReport], None], Callable[[str], None], Callable[[str], None]]]:
    """Yields the functions that show a render's reports, warnings and notes."""
    console = Console(highlight=False, soft_wrap=True)

    def warn(sentence: str) -> None:
        console.print(f"warning: {escape(printable(sentence))}")

    def note(sentence: str) -> None:
        console.print(escape(printable(sentence)))

    if not console.is_terminal:

        def line(report: FrameReport) -> None:
            message = f" {printable(report.message)}" if report.message else ""
            console.print(escape(f"[Frame:{report.done}/{report.count}] {report.frame}{message}"))

        yield line, warn, note
        return
    columns = (TextColumn("[bold]rendering"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None)

        def show(report: FrameReport) -> None:
            if report.message:
                bar.console.print(escape(f"frame {report.frame} {printable(report.message)}"))
            bar.update(task, completed=report.done, total=report.count)

        yield show, warn, note


def report_end(result: Result) -> int:
    """Prints how a training ended and, if it was stopped, how to go on; returns the exit status."""
    if result.ended == "idle":
        print(f"rank {result.rank} has nothing to do: a step has fewer crops than there are processes")
        return 0
    if result.rank:
        print(f"rank {result.rank}: {result.ended} at step {result.step}")
        return _STATUS[result.ended]
    if not result.run.exists():
        print(f"{result.ended} before the training began: nothing was written")
        return _STATUS[result.ended]
    print(f"{result.run.name}: {result.ended} at step {result.step}: {result.checkpoint or result.run.summary}")
    if result.ended != "finished":
        print(f"To go on: {shlex.join(['copycat', 'resume', str(result.run.directory), '--run', result.run.name])}")
        print("To end it after a quarter more with a better model (a decay at full resolution), add --finish.")
    return _STATUS[result.ended]


def printable(text: str) -> str:
    """Text from a file or an exception as one line, without control characters, which a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _steps(report: Report) -> str:
    return f"{report.step}/{report.total_steps if report.total_steps is not None else '?'}"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds_left:02d} left"
