"""A training's other processes on this machine, started with the command line that this one was started with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from copycat.training.group import LOST, DistributedError, find_rendezvous

_FAREWELL_SECONDS = 60.0


@contextmanager
def companions(count: int) -> Iterator[None]:
    """Within it, this process is rank 0 of ``count``; does nothing for a count of 1, and in a companion itself.

    Raises:
        DistributedError: as what is done within; it then says what a companion said.
    """
    if count == 1 or find_rendezvous():
        yield
        return
    shared = {
        "COPYCAT_MAIN_ADDR": "127.0.0.1",
        "COPYCAT_MAIN_PORT": str(_free_port()),
        "COPYCAT_WORLD_SIZE": str(count),
    }
    with ExitStack() as files:
        words = [files.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for _ in range(1, count)]
        started = [
            subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env=os.environ | shared | {"COPYCAT_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            for rank, said in enumerate(words, 1)
        ]
        os.environ.update(shared, COPYCAT_RANK="0")
        try:
            yield
        except DistributedError as error:
            _leave(started)
            raise DistributedError("; ".join([str(error), *_reasons(words)])) from error
        finally:
            for name in (*shared, "COPYCAT_RANK"):
                os.environ.pop(name, None)
            _leave(started)


def _leave(started: list[subprocess.Popen[bytes]]) -> None:
    """Waits for companions, which end by themselves; one that does not is ended."""
    for process in started:
        try:
            process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reasons(words: Sequence[IO[str]]) -> list[str]:
    """Of each companion that failed by itself, why."""
    reasons = []
    for rank, said in enumerate(words, 1):
        said.seek(0)
        errors = [line.removeprefix("error:").strip() for line in said if line.startswith("error:")]
        reasons += [f"rank {rank}: {error}" for error in errors[-1:] if LOST not in error]
    return reasons


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
