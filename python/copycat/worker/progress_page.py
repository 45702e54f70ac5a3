"""The Progress page that a host opened: another process, which ends with the host."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from copycat.runs import RunError
from copycat.runs.launch import last_words, output_tail
from copycat.settings.tables import ProgressSettings

_PATIENCE = 2.0  # seconds in which a page that cannot open has said so
_POLL = 0.05


class ProgressPage:
    """At most one page; opening another closes it. Any thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def open(self, directory: Path, display: ProgressSettings) -> None:
        """Opens the page of a Data Directory in the browser.

        Args:
            directory: the Data Directory.
            display: the initial values of its knobs.

        Raises:
            RunError: there is no such directory, or the page does not open.
        """
        if not os.path.isdir(directory):
            raise RunError(f"{directory}: there is no such Data Directory yet: start a training first")
        with self._lock:
            self._close()
            with tempfile.TemporaryFile() as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "copycat", "progress", str(directory), *_options(display)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                deadline = time.monotonic() + _PATIENCE
                while time.monotonic() < deadline and b"http://" not in output_tail(output):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        status = self._process.wait(_POLL)
                        words = last_words(output)
                        raise RunError(f"the Progress page does not open: {words or f'status {status}'}")

    def end(self) -> None:
        """Closes the page."""
        if self._process:
            self._process.terminate()

    def _close(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()


def _options(display: ProgressSettings) -> list[str]:
    """The knobs as options of ``copycat progress``."""
    words = []
    for knob in ProgressSettings.knobs():
        assert knob.field is not None
        name, value = knob.field.replace("_", "-"), getattr(display, knob.field)
        if knob.kind == "bool":
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    return words
