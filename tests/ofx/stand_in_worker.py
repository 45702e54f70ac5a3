"""A worker for tests: the real one with a model of one line, or one that misbehaves as ``COPYCAT_STAND_IN`` says."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from copycat.worker import protocol
from copycat.worker.server import serve


class StandInModel:
    """``1 - x`` of the three colours; slow on request, and cancellable like the real one."""

    channels_in = ("R", "G", "B")
    channels_out = ("R", "G", "B")

    def __call__(
        self, planes: Any, *, tile_size: int = 0, tile_overlap: int = 0, cancel: Callable[[], bool] | None = None
    ) -> Any:
        deadline = time.monotonic() + float(os.environ.get("COPYCAT_STAND_IN_SECONDS", "0"))
        while time.monotonic() < deadline and not (cancel and cancel()):
            time.sleep(0.01)
        return 1 - planes


def load(path: str, device: str, half_precision: bool) -> StandInModel:
    """Stands for ``copycat.load``."""
    return StandInModel()


def misbehave(descriptor: int, how: str) -> None:
    """Introduces itself, then goes wrong."""
    channel = protocol.Channel(socket.socket(fileno=descriptor))
    spoken = 999 if how == "other protocol" else protocol.PROTOCOL
    channel.send({"hello": {"protocol": spoken, "version": "9.9", "pid": os.getpid()}})
    channel.receive()
    if how == "silence":
        time.sleep(60)
    print("the stand-in gave up", file=sys.stderr, flush=True)


def main() -> None:
    """Called as the plugin calls the interpreter: ``-P -m copycat.worker 3``."""
    descriptor = int(sys.argv[-1])
    how = os.environ.get("COPYCAT_STAND_IN", "")
    if how == "no greeting":
        sys.exit("the stand-in does not start")
    if how:
        misbehave(descriptor, how)
    else:
        serve(descriptor, load)


if __name__ == "__main__":
    main()
