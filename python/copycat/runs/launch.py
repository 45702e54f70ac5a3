"""Starts and resumes trainings as processes of their own, and lists the starting runs. Standard library only.

A run counts as alive from the moment it is launched: the launcher takes the run's lock and hands it to the new
process, which holds it from birth to death. Others see the run as ``starting`` until its trainer takes over the lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from copycat import system_files
from copycat.runs.display import Display
from copycat.runs.files import Run, new_run
from copycat.runs.finding import find_run
from copycat.runs.requests import finish, stop
from copycat.runs.trainer_lock import HEARTBEAT_SECONDS, TrainerLock, is_starting, keep_starting, trainer_lives
from copycat.runs.writing import RunError, read_json

_TAIL_BYTES = 4096
_ENDED_WELL = (0, 130, 143, -signal.SIGTERM)


class Trainings:
    """Starts trainings that outlive this process, and keeps why they failed. Any thread.

    Attributes:
        failures: one sentence for each training started here that failed, in order; only ever appended to.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._failed: dict[Run, str] = {}

    def start(
        self, run: Run, arguments: Sequence[str], settings: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a command that trains a run, in a session of its own and without its folder on the import path.

        Args:
            run: the run that it trains; its lock is held from now on.
            arguments: of ``copycat``, as ``["train", "a.exr", "b.exr", "--run-name", run.name]``.
            settings: the standard input of the process.
            environment: variables to set in addition to this process's.

        Raises:
            RunError: the run is being trained or starts already, or the process cannot be started.
        """
        lock = TrainerLock(run)
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that waits
        try:
            inheritance = lock.inheritance()
            # The wide terminal keeps an error on one line.
            inheritance["env"] |= {"COLUMNS": "4096", **(environment or {})}
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "copycat", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
                **inheritance,
            )
        except OSError as error:
            output.close()
            lock.release(run)
            raise RunError(f"{sys.executable} cannot be started: {error.strerror}") from error
        lock.hand_over()
        self._failed.pop(run, None)
        before = None
        with contextlib.suppress(RunError), Display.edit(run.directory) as display:
            before, display.active = display.active, run.name
        threading.Thread(target=self._wait, args=(run, process, output, before), daemon=True).start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(settings)
        return process

    def resume(
        self, run: Run, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts ``copycat resume`` with further options.

        Raises:
            RunError: the run is being trained, does not exist, or left no state to resume from.
        """
        if trainer_lives(run):
            raise RunError(f"run {run.name} is {'starting' if is_starting(run) else 'being trained'} already")
        find_run(run.directory, run.name)
        if not run.resume_state.exists():
            raise RunError(
                f"run {run.name} has not saved a state to resume from yet ({run.resume_state.name} is missing): "
                "start a new training"
            )
        arguments = ["resume", str(run.directory), "--run", run.name, *options]
        return self.start(run, arguments, environment=environment)

    def finish(self, run: Run, options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Has a run end soon with a finished model: asks its trainer, or resumes it for that.

        Raises:
            RunError: as for :meth:`resume`.
        """
        if not finish(run):
            self.resume(run, ["--finish", *options], environment)

    def failure(self, run: Run) -> str:
        """Why the last training of this run that was started here failed; empty where none failed, or one lives."""
        return "" if trainer_lives(run) else self._failed.get(run, "")

    def _wait(self, run: Run, process: subprocess.Popen[bytes], output: IO[bytes], before: str | None) -> None:
        while process.returncode is None and keep_starting(run):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(HEARTBEAT_SECONDS)
        status = process.wait()
        with output:
            words = last_words(output)
        _clear_away(run, before)
        if status not in _ENDED_WELL:
            self._failed[run] = words or f"the training ended with status {status}"
            self.failures.append(f"{run.name} failed: {self._failed[run]}")


def stop_training(run: Run) -> None:
    """Asks the run's trainer to save and stop; one that starts does so as soon as it looks.

    Raises:
        RunError: nobody trains the run.
    """
    if not stop(run):
        raise RunError(f"run {run.name} is not being trained")


def starting_runs(directory: Path) -> list[Run]:
    """The runs whose training was started and has not taken over yet, by name."""
    runs = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(directory)):
            stem = name.removesuffix(".lock")
            with contextlib.suppress(RunError):
                if stem != name and is_starting(run := Run(directory, stem)):
                    runs.append(run)
    return runs


def refuse_second_start(directory: Path, active: Run | None = None) -> None:
    """Refuses to start a training while another one of the Data Directory starts.

    Args:
        directory: the Data Directory.
        active: also refuses while this machine trains this run.

    Raises:
        RunError: names the run.
    """
    for run in starting_runs(directory):
        raise RunError(f"run {run.name} is starting already: wait until it trains, or stop it")
    if active and trainer_lives(active) and read_json(active.file(".lock")).get("host") == socket.gethostname():
        raise RunError(f"run {active.name} is being trained: stop it before you start another")


def claim_new_run(directory: Path, now: datetime | None = None) -> Run:
    """A new run whose name no other process takes in the same second: its provenance exists, empty.

    Raises:
        RunError: the Data Directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while True:
            run = new_run(directory, now)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(run.provenance, os.O_CREAT | os.O_EXCL | os.O_WRONLY | system_files.ALWAYS, 0o666))
                return run
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be written: {error.strerror}") from None


def _clear_away(run: Run, before: str | None) -> None:
    """Removes the launcher's own files where the process ended before it wrote anything; ``before`` was active."""
    if trainer_lives(run):
        return
    with contextlib.suppress(OSError):
        if read_json(run.file(".lock")).get("starting"):
            os.unlink(run.file(".lock"))
        if not run.provenance.stat().st_size:
            os.unlink(run.provenance)
    if not run.exists():
        with contextlib.suppress(RunError), Display.edit(run.directory) as display:
            display.runs.pop(run.name, None)
            display.active = before if display.active == run.name else display.active


def output_tail(output: IO[bytes]) -> bytes:
    """The end of a process's output; does not move the file position that both share."""
    size = os.fstat(output.fileno()).st_size
    return system_files.read_at(output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))


def last_words(output: IO[bytes]) -> str:
    """The last line that a process wrote, without the ``error:`` of the command line."""
    lines = output_tail(output).decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error:").strip() if lines else ""
