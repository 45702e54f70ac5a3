"""The page's side of the process that makes pictures of a shot: starts it, asks it, ends it when nobody looks.

A picture that an artist asks for is made at once. One that only shows newer weights waits until the process has used no
more than :data:`SHARE` of the cores, so that looking costs a training on this machine little.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from copycat.errors import CopycatError
from copycat.machine import usable_cores
from copycat.runs import Run, RunError, ask, trainer_lives
from copycat.runs.launch import last_words
from copycat.shot_view.messages import read_message, write_message

SHARE = 0.03
IDLE_SECONDS = 60.0
_WEIGHTS_SECONDS = 8.0
_WRITE_SECONDS = 3.0
_LOOK_SECONDS = 0.05

Facts = dict[str, Any]


class ViewError(CopycatError):
    """A picture of a shot cannot be made."""


@dataclass
class _Child:
    """The process, its standard error, and the pictures that it owes."""

    process: subprocess.Popen[bytes]
    words: IO[bytes]
    owed: dict[int, asyncio.Future[tuple[Facts, bytes]]] = field(default_factory=dict)


class ShotProcess:
    """The process that makes pictures; one for a page's server. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._last_id = 0
        self._last_use = 0.0
        self._of_viewer: dict[str, int] = {}

    async def picture(self, job: Facts, viewer: str = "") -> tuple[Facts, bytes] | None:
        """Has a picture made.

        Args:
            job: as :mod:`copycat.shot_view.messages` has it, without ``id``.
            viewer: who looks: a viewer's next picture takes the place of one that is not made yet. Empty for nobody.

        Returns:
            What the process says of the picture, and the PNG; None where another one took its place.

        Raises:
            ViewError: it cannot be made.
        """
        child = self._running()
        self._last_id += 1
        identifier, self._last_use = self._last_id, time.monotonic()
        if viewer:
            before = self._of_viewer.pop(viewer, 0)
            if before in child.owed:
                self._send(child, {"id": before, "do": "drop"})
            self._of_viewer[viewer] = identifier
            while len(self._of_viewer) > 256:
                del self._of_viewer[next(iter(self._of_viewer))]
        answer: asyncio.Future[tuple[Facts, bytes]] = asyncio.get_running_loop().create_future()
        child.owed[identifier] = answer
        self._send(child, {**job, "id": identifier})
        facts, data = await answer
        self._last_use = time.monotonic()
        if "problem" not in facts:
            return facts, data
        if facts["problem"]:
            raise ViewError(str(facts["problem"]))
        return None

    def end_if_idle(self) -> None:
        """Ends the process when nobody has looked for a while."""
        child = self._child
        if child and not child.owed and time.monotonic() - self._last_use > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """Ends the process: its input ends."""
        child, self._child = self._child, None
        if child and child.process.stdin:
            with contextlib.suppress(OSError):
                child.process.stdin.close()

    def _running(self) -> _Child:
        if self._child is None or self._child.process.poll() is not None:
            words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that reads
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "copycat.shot_view"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=words,
                )
            except OSError as error:
                words.close()
                raise ViewError(f"{sys.executable} cannot be started: {error.strerror}") from error
            self._child = _Child(process, words)
            loop = asyncio.get_running_loop()
            threading.Thread(target=_read, args=(self._child, loop), name="copycat-shot-view", daemon=True).start()
        return self._child

    def _send(self, child: _Child, message: Facts) -> None:
        assert child.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended: the thread that reads answers for it
            write_message(child.process.stdin, message)


def _read(child: _Child, loop: asyncio.AbstractEventLoop) -> None:
    """Hands the answers to those who wait, until the process ends."""

    def settle(identifier: int, answer: tuple[Facts, bytes]) -> None:
        if (future := child.owed.pop(identifier, None)) and not future.done():
            future.set_result(answer)

    def end(problem: str) -> None:
        for identifier in list(child.owed):
            settle(identifier, ({"problem": problem}, b""))

    assert child.process.stdout is not None
    # RuntimeError: the loop has ended, with the server. OSError: the process ended before it read all that it was sent.
    with contextlib.suppress(RuntimeError, OSError), child.words, child.process:
        with contextlib.suppress(OSError, ValueError):
            while answer := read_message(child.process.stdout):
                loop.call_soon_threadsafe(settle, int(answer[0]["id"]), answer)
        status = child.process.wait()
        words = last_words(child.words) or f"status {status}"
        loop.call_soon_threadsafe(end, f"the process that makes pictures ended: {words}")


class Weights:
    """Finds the newest weights of runs, and asks trainers for newer ones. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._due: dict[Run, float] = {}
        self._refused: set[Run] = set()
        self._asking: dict[Run, asyncio.Task[None]] = {}

    async def of(self, run: Run, step: int | None, have: str) -> Path | None:
        """The .cat to show.

        Args:
            run: whose.
            step: of a checkpoint; None for the newest weights there are.
            have: the version of the weights that show already; empty where none do.

        Returns:
            The file; None where there is nothing newer yet, or showing it would cost the trainer too much.

        Raises:
            ViewError: there is no such checkpoint, or nothing was saved yet.
        """
        if step is not None:
            path = run.checkpoint(step)
            if not await asyncio.to_thread(path.is_file):
                raise ViewError(f"run {run.name} has no checkpoint of step {step}")
            return None if have and version(path) == have else path
        found = await asyncio.to_thread(newest, run)
        if found is None or have:
            lives = await asyncio.to_thread(trainer_lives, run)
            if have and lives and time.monotonic() < self._due.get(run, 0.0):
                return None
            if lives and run not in self._refused:
                await self._ask(run)
                found = await asyncio.to_thread(newest, run)
        if found is None:
            raise ViewError(f"run {run.name} has no weights to show yet")
        return None if have and version(found) == have else found

    def used(self, run: Run, facts: Facts) -> None:
        """Notes what a picture of a run cost; the next one by itself waits accordingly."""
        cpu, wall = float(facts.get("cpu_seconds", 0)), float(facts.get("seconds", 0))
        busy = max(wall, cpu) if facts.get("device") == "cuda" else cpu / usable_cores()
        self._due[run] = time.monotonic() + busy / SHARE

    async def _ask(self, run: Run) -> None:
        """Has the trainer write its weights; all who wait share one request."""
        task = self._asking.get(run)
        if task is None:
            task = self._asking[run] = asyncio.create_task(self._wait_for(run))
        try:
            await asyncio.shield(task)
        finally:
            if task.done():
                self._asking.pop(run, None)

    async def _wait_for(self, run: Run) -> None:
        before = version(run.live)
        try:
            await asyncio.to_thread(ask, run.directory, "weights", run.name, timeout=_WEIGHTS_SECONDS)
        except RunError as error:
            if "cannot be asked" in str(error):  # a trainer of an earlier version: its checkpoints must do
                self._refused.add(run)
            return
        deadline = time.monotonic() + _WRITE_SECONDS
        while version(run.live) == before and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)


def newest(run: Run) -> Path | None:
    """The checkpoint or the live weights of a run, whichever was written last; None where there is neither."""
    found = [path for _, path in run.checkpoints()[-1:]]
    found += [run.live] if run.live.is_file() else []
    return max(found, key=_written, default=None)


def version(path: Path) -> str:
    """What changes when a file does; empty where it is not there."""
    written = _written(path)
    return f"{path.name}:{written}" if written else ""


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
