"""Numbered lines that say what is being done and how long it still takes. Standard library only, before any set-up.

``python examples/steps.py 1/6 "compiling" --seconds 120 --ninja build -- make setup`` shows one line while a command
runs, and what the command printed where it fails. In a terminal the line counts down; elsewhere a line is printed at
the start, every 20 seconds, and at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

_LINE_SECONDS = 20.0
_KEPT_LINES = 60


class Step:
    """A context that shows one step; a thread keeps its line true."""

    def __init__(self, number: str, title: str, seconds: float, estimate: Callable[[], float | None] = lambda: None):
        """``number``: as ``4/6``. ``seconds``: what it usually takes. ``estimate``: the seconds left, or None."""
        self._head = f"[{number}] {title}"
        self._began = time.monotonic()
        self._end = self._began + seconds
        self._estimate = estimate
        self._terminal = sys.stdout.isatty()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def left(self, seconds: float) -> None:
        """Says how long it still takes. Any thread."""
        self._end = time.monotonic() + seconds

    def __enter__(self) -> Step:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        ended = "done in" if kind is None else "failed after"
        print(f"{self._start}{self._head} … {ended} {clock(time.monotonic() - self._began)}", flush=True)

    @property
    def _start(self) -> str:
        return "\r\033[K" if self._terminal else ""

    def _show(self) -> None:
        wait = 0.0
        while not self._done.wait(wait):
            if (seconds := self._estimate()) is not None:
                self.left(seconds)
            left = self._end - time.monotonic()
            words = f"{clock(left)} left" if left >= 1 else "almost done"
            print(f"{self._start}{self._head} … {words}", end="" if self._terminal else "\n", flush=True)
            wait = 1.0 if self._terminal else _LINE_SECONDS


def clock(seconds: float) -> str:
    """100 -> ``1:40``."""
    minutes, remainder = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{remainder:02d}"


def run(command: Sequence[str], watch: Callable[[str], None] = lambda line: None) -> None:
    """Runs a command without showing its output; ``watch`` gets each line.

    Raises:
        subprocess.CalledProcessError: it failed; ``output`` holds its last lines.
    """
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            kept.append(line)
            watch(line)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, "".join(kept))


class Compilation:
    """The seconds that a first build by ninja still takes, from the share of its files that are compiled."""

    def __init__(self, folder: Path) -> None:
        """``folder``: holds the build folders. A build that has begun before says nothing about its share."""
        self._folder = folder
        self._before = set(folder.glob("*/.ninja_log"))
        self._began = 0.0

    def __call__(self) -> float | None:
        """None until some files are compiled, and in a build that only completes an earlier one."""
        for log in sorted(set(self._folder.glob("*/.ninja_log")) - self._before):
            self._began = self._began or time.monotonic()
            try:
                done = sum(not line.startswith("#") for line in log.read_text().splitlines())
                rules = (line for line in (log.parent / "build.ninja").read_text().splitlines())
                total = sum(line.startswith("build ") and "_COMPILER__" in line for line in rules)
            except OSError:
                return None
            if 3 <= done <= total:
                return (time.monotonic() - self._began) * (total - done) / done
        return None


def main() -> None:
    """Shows a step while a command runs; ends as the command does."""
    parser = argparse.ArgumentParser(description="Shows one numbered line while a command runs")
    parser.add_argument("number", help="as 1/6")
    parser.add_argument("title")
    parser.add_argument("--seconds", type=float, default=60, help="what it usually takes")
    parser.add_argument("--ninja", type=Path, help="the folder of build folders, if the command compiles")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        with Step(
            options.number,
            options.title,
            options.seconds,
            Compilation(options.ninja) if options.ninja else lambda: None,
        ):
            run(options.command)
    except subprocess.CalledProcessError as error:
        print(error.output, end="", file=sys.stderr)
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
