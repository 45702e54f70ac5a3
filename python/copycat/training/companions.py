"""The other processes of a training on this machine, started with the command line of this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from copycat.training.group import LOST, DistributedError, find_rendezvous

_FAREWELL_SECONDS = 60.0


@dataclass(frozen=True)
class _Companion:
    rank: int
    process: subprocess.Popen[bytes]
    output: IO[str]

    def last_words(self) -> str:
        """The error that it ended with, as a sentence; empty if none."""
        self.output.seek(0)
        errors = [line.removeprefix("error:").strip() for line in self.output if line.startswith("error:")]
        return errors[-1] if errors else ""


_started: list[_Companion] = []


@contextmanager
def companions(count: int) -> Iterator[None]:
    """A context in which this process is rank 0 of ``count``; nothing for a count of 1, and in a companion itself.

    Raises:
        DistributedError: from within, with what the companions said.
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
        try:
            for rank in range(1, count):
                output = files.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
                _started.append(_start(rank, shared, output))
            os.environ.update(shared, COPYCAT_RANK="0")
            yield
        except DistributedError as error:
            _end(_FAREWELL_SECONDS)
            reasons = [
                f"rank {one.rank}: {words}" for one in _started if (words := one.last_words()) and LOST not in words
            ]
            raise DistributedError("; ".join([str(error), *(r for r in reasons if r not in str(error))])) from error
        except BaseException:
            _end(_FAREWELL_SECONDS / 10)  # they fail as this process does, or wait for it in vain
            raise
        finally:
            for name in (*shared, "COPYCAT_RANK"):
                os.environ.pop(name, None)
            _end(_FAREWELL_SECONDS)
            _started.clear()


def _start(rank: int, shared: dict[str, str], output: IO[str]) -> _Companion:
    try:
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=os.environ | shared | {"COPYCAT_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    except OSError as error:
        end_companions()  # those that have started would wait for this one
        raise DistributedError(f"the process for rank {rank} cannot start: {error.strerror or error}") from error
    return _Companion(rank, process, output)


def check_companions() -> None:
    """Raises DistributedError when a companion has failed: this process would wait for it in vain."""
    for one in _started:
        if one.process.poll():  # one that had nothing to do has ended with status 0
            words = one.last_words() or f"ended with status {one.process.returncode}"
            raise DistributedError(f"another process of this training has ended; rank {one.rank}: {words}")


def end_companions() -> None:
    """Ends the companions at once, those that do not answer as well."""
    for one in _started:
        one.process.kill()


def _end(seconds: float) -> None:
    """Waits for the companions, which end by themselves; ends those that do not."""
    for one in _started:
        try:
            one.process.wait(seconds)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
