"""``python -m copycat.shot_view``: makes pictures for the page that holds the other ends of its pipes.

One thread reads files, another applies models: a plate shows at once while a result is computed. Of the waiting
pictures the one that was asked for last comes first, since an artist looks at where the scrubber is now.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from copycat.data.memory import keep_memory, wait_politely
from copycat.errors import CopycatError
from copycat.fault_log import explain
from copycat.shot_view.messages import read_message, write_message

NICENESS = 1  # a little behind the trainer; the page sees to the 5 % (copycat.dashboard.shot_process)
Job = dict[str, Any]


class Maker:
    """A thread that makes pictures, the last asked for first."""

    def __init__(self, name: str, make: Callable[[Job, Callable[[], bool]], Any], reply: Callable[..., None]) -> None:
        """``make`` makes the picture of a job and may raise; ``reply`` sends a message and its payload."""
        self._make, self._reply = make, reply
        self._jobs: list[Job] = []
        self._dropped: set[int] = set()
        self._working = -1
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def add(self, job: Job) -> None:
        """Queues a job."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def drop(self, identifier: int) -> None:
        """Gives up a job that waits or is being worked on."""
        with self._changed:
            waiting = [job for job in self._jobs if job["id"] == identifier]
            self._jobs = [job for job in self._jobs if job["id"] != identifier]
            if identifier == self._working:
                self._dropped.add(identifier)
        for _ in waiting:
            self._reply({"id": identifier, "problem": ""})

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = -1
                self._dropped.clear()
                self._changed.wait_for(lambda: bool(self._jobs))
                job = self._jobs.pop()
                self._working = job["id"]
            self._do(job)

    def _do(self, job: Job) -> None:
        identifier, wall, cpu = job["id"], time.monotonic(), time.process_time()
        try:
            picture = self._make(job, lambda: identifier in self._dropped)
        except CopycatError as error:
            self._reply({"id": identifier, "problem": str(error)})
        except Exception as error:
            dropped = identifier in self._dropped
            self._reply({"id": identifier, "problem": "" if dropped else explain(error, "shot_view", console=False)})
        else:
            facts = {name: getattr(picture, name) for name in ("width", "height", "matte", "step", "device")}
            spent = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
            self._reply({"id": identifier, **facts, **spent}, picture.data)


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answers messages until the page closes its end."""
    from copycat.shot_view.pictures import FilePictures, ResultPictures

    writing = threading.Lock()

    def reply(message: Job, payload: bytes = b"") -> None:
        with writing, contextlib.suppress(OSError):  # the page is gone: so are we soon
            write_message(target, message, payload)

    files, results = FilePictures(), ResultPictures()
    makers = {
        "picture": Maker(
            "copycat-files",
            lambda job, dropped: files.picture(Path(job["path"]), job["channels"], job["view"], job["width"]),
            reply,
        ),
        "result": Maker(
            "copycat-results",
            lambda job, dropped: results.picture(
                Path(job["model"]), Path(job["path"]), job["view"], job["width"], dropped
            ),
            reply,
        ),
    }
    while (received := read_message(source)) is not None:
        job, _ = received
        if job.get("do") == "drop":
            for maker in makers.values():
                maker.drop(job["id"])
        else:
            makers[job["do"]].add(job)


def main() -> None:
    """Runs the process; what libraries print goes to standard error."""
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(OSError, AttributeError):  # Windows has no niceness
        os.nice(NICENESS)
    wait_politely()
    keep_memory()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the page's server, and so this process
        serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
