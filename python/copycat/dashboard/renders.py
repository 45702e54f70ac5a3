"""Renders of shots, started from the page as processes of their own (``copycat infer``). Any thread."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from copycat.errors import CopycatError
from copycat.runs import Run, ask, trainer_lives
from copycat.runs.launch import last_words, output_tail
from copycat.sequence import ImageSequence, parse_frames
from copycat.shot_view.shot import Shot

NICENESS = 5  # a training on this machine comes first; on an idle one it costs nothing
_LINE = re.compile(rb"^\[Frame:(\d+)/(\d+)\] (-?\d+)", re.MULTILINE)


class RenderStartError(CopycatError):
    """A render cannot be started: frames, model or output do not fit."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be rendered.

    Attributes:
        frames: ranges, or ``all``.
        output: pattern to write; an absolute path.
        step: of the checkpoint; None for the newest.
        every: also frames whose result is newer than the model.
        fast: in half precision.
        steady: with mattes averaged over the frames around each.
    """

    shot: Shot
    frames: str = "all"
    output: str = ""
    step: int | None = None
    every: bool = False
    fast: bool = False
    steady: bool = False


@dataclass
class Render:
    """A render, running or ended.

    Attributes:
        wish: what was asked for.
        model: the .cat that is applied.
        cancelled: whether Cancel was pressed.
        status: of the process that ended; None while it runs.
        words: the last that it said.
    """

    wish: Wish
    model: Path
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    cancelled: bool = False
    status: int | None = None
    words: str = ""
    done: int = 0
    count: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> tuple[int, int]:
        """Frames that are done, and of how many; 0 of 0 before the first."""
        with contextlib.suppress(ValueError, OSError):  # closed: it has ended
            self._take(output_tail(self.output))
        return self.done, self.count

    def cancel(self) -> None:
        """Ends it; frames that are written stay, and none is left half written."""
        self.cancelled = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def state(self) -> str:
        """One sentence for the user."""
        done, count = self.look()
        if self.status is None:
            return f"Rendering: {done} of {count} frames" if count else "Rendering: the model is being read"
        if self.cancelled:
            return f"Cancelled after {done} of {count} frames" if count else "Cancelled"
        return self.words or f"the render ended with status {self.status}"

    def _take(self, tail: bytes) -> None:
        if lines := _LINE.findall(tail):
            self.done, self.count = int(lines[-1][0]), int(lines[-1][1])

    def wait(self) -> None:
        """Waits for its end; belongs in a thread."""
        self.status = self.process.wait()
        with self.output:
            self._take(output_tail(self.output))
            self.words = last_words(self.output)
        self.ended.set()


class Renders:
    """The renders of a page's server, the last of each run. They go on when the page's server ends."""

    def __init__(self) -> None:
        self._last: dict[str, Render] = {}
        self._deciding = threading.Lock()

    def last(self, run: Run) -> Render | None:
        """The last render of a run."""
        return self._last.get(run.name)

    def start(self, wish: Wish) -> Render:
        """Starts a render. A run that trains first writes a checkpoint, where the newest is asked for.

        Raises:
            CopycatError: what is wrong with the wish.
        """
        run = wish.shot.run
        arguments = _arguments(wish)
        with self._deciding:
            before = self.last(run)
            if before and before.status is None:
                raise RenderStartError(f"a render of {run.name} is going on: cancel it, or wait for its end")
            if wish.step is None and trainer_lives(run):
                ask(run.directory, "checkpoint", run.name)
            model = _model(run, wish.step)
            wish.shot.remember_output(wish.output)
            output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that waits
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "copycat", "infer", str(model), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=os.environ | {"COLUMNS": "4096"},
                )
            except OSError as error:
                output.close()
                raise RenderStartError(f"{sys.executable} cannot be started: {error.strerror}") from error
            with contextlib.suppress(OSError, AttributeError):  # Windows has no niceness
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            render = self._last[run.name] = Render(wish, model, process, output)
        threading.Thread(target=render.wait, name="copycat-render", daemon=True).start()
        return render


def default_output(shot: Shot) -> str:
    """Where a shot's result goes unless the user says otherwise: a folder of the Data Directory."""
    name = f"result{f'_{shot.index + 1}' if shot.index else ''}.####.exr"
    return shot.output or str(shot.run.directory / "renders" / shot.run.name / name)


def _arguments(wish: Wish) -> Sequence[str]:
    """The command line after the model.

    Raises:
        CopycatError: the frames are no ranges, or the output would overwrite the plate or the Ground Truth.
    """
    shot, frames = wish.shot, wish.frames.strip() or "all"
    if frames.lower() != "all":
        parse_frames(frames)
    output = Path(wish.output.strip()).expanduser()
    if not output.is_absolute():
        raise RenderStartError(
            f"{wish.output!r} is no place for the result: name its whole path, as in /shot/out.####.exr"
        )
    target = ImageSequence.parse(output)
    if target.single:
        raise RenderStartError(f"{output}: names a single file; add #### for the frame number")
    plate = ImageSequence.parse(shot.input)
    for what, pattern in (("Ground Truth", shot.ground_truth), ("plate", shot.input)):
        other = ImageSequence.parse(pattern)
        if any(_same(target.path(frame), other.path(frame)) for frame in plate.frames()):
            raise RenderStartError(f"{output}: is the run's {what}; the result needs files of its own")
    more = [] if wish.every else ["--skip-current"]
    more += ["--half-precision"] if wish.fast else []
    more += ["--steady"] if wish.steady else []
    return [shot.input, str(output), "--frames", frames, *more]


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.resolve() == other.resolve()
    return False


def _model(run: Run, step: int | None) -> Path:
    """The checkpoint of a step, or the newest.

    Raises:
        RenderStartError: there is none.
    """
    saved = [path for at, path in run.checkpoints() if step in (None, at)]
    if not saved:
        which = "has no checkpoint yet" if step is None else f"has no checkpoint of step {step}"
        raise RenderStartError(f"run {run.name} {which}")
    return saved[-1]
