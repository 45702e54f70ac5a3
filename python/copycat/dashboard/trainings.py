"""Starting and resuming trainings: each is the command line's own training, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from copycat.errors import CopycatError
from copycat.runs import Run, find_run, trainer_lives
from copycat.settings.tables import Settings

_TAIL_BYTES = 4096


class Trainings:
    """Starts trainings that outlive the page and its server.

    Attributes:
        failures: one sentence for each training started here that failed, in order; only ever appended to.
    """

    def __init__(self, directory: Path) -> None:
        self.failures: list[str] = []
        self._directory = directory

    def start(self, pairs: Sequence[tuple[str, str]], settings: Settings) -> subprocess.Popen[bytes]:
        """Starts ``copycat train``.

        Args:
            pairs: (Input, Ground Truth) sequences.
            settings: all knobs; the Data Directory is this page's.

        Raises:
            CopycatError: there is no pair, or half of one.
        """
        named = [(first.strip(), second.strip()) for first, second in pairs if first.strip() or second.strip()]
        if not named:
            raise CopycatError("name the Input and the Ground Truth to train on")
        for first, second in named:
            if not first or not second:
                raise CopycatError(f"{first or second}: Input and Ground Truth belong together; one of them is empty")
            if first.startswith("-") or second.startswith("-"):
                raise CopycatError(f"{first if first.startswith('-') else second}: is no name of a sequence")
        knobs = {name: value for name, value in settings.to_dict().items() if name != "dataDirectory"}
        with tempfile.NamedTemporaryFile("w", prefix="copycat-", suffix=".json", delete=False) as file:
            json.dump(knobs, file)
        more = [word for pair in named[1:] for word in ("--pair", *pair)]
        options = ["--data-directory", str(self._directory), "--settings", file.name]
        return self._run(["train", *named[0], *more, *options], Path(file.name))

    def resume(self, run: Run, finish: bool = False) -> subprocess.Popen[bytes]:
        """Starts ``copycat resume``, with ``--finish`` where the run shall end soon.

        Raises:
            CopycatError: the run is being trained, is unknown, or left no state to resume from.
        """
        find_run(run.directory, run.name)
        if trainer_lives(run):
            raise CopycatError(f"run {run.name} is being trained already")
        if not run.resume_state.exists():
            raise CopycatError(f"run {run.name} has no saved state to resume from ({run.resume_state.name} is missing)")
        return self._run(["resume", str(self._directory), "--run", run.name, *(["--finish"] if finish else [])])

    def _run(self, arguments: Sequence[str], settings: Path | None = None) -> subprocess.Popen[bytes]:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - the thread closes it when the process has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "copycat", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "4096"},  # an error stays on one line
        )
        thread = threading.Thread(target=self._wait, args=(process, output, settings), daemon=True)
        thread.start()
        return process

    def _wait(self, process: subprocess.Popen[bytes], output: IO[bytes], settings: Path | None) -> None:
        status = process.wait()
        with output:
            output.seek(max(output.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = output.read().decode(errors="replace").strip().splitlines()
        if settings is not None:
            with contextlib.suppress(OSError):
                settings.unlink()
        if status not in (0, 130, 143):
            self.failures.append(
                lines[-1].removeprefix("error:").strip() if lines else f"the training ended with status {status}"
            )
