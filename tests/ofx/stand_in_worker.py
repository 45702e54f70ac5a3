"""A worker for tests: the real one with a model of one line, or one that misbehaves as ``COPYCAT_STAND_IN`` says."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from copycat.worker import protocol


class StandInModel:
    """``1 - x`` of its channels; slow or held on request, and cancellable like the real one."""

    def __init__(self, channels: str) -> None:
        self.channels_in = self.channels_out = tuple(channels)

    def __call__(
        self,
        planes: Any,
        *,
        tile_size: int = 0,
        tile_overlap: int = 0,
        cancel: Callable[[], bool] | None = None,
        out: Any = None,
        **_: Any,
    ) -> Any:
        if held := os.environ.get("COPYCAT_STAND_IN_HELD"):
            while not Path(held).exists() and not (cancel and cancel()):
                time.sleep(0.01)
        deadline = time.monotonic() + float(os.environ.get("COPYCAT_STAND_IN_SECONDS", "0"))
        while time.monotonic() < deadline and not (cancel and cancel()):
            time.sleep(0.01)
        return 1 - planes if out is None else out.copy_(1 - planes)


def load(path: str, device: str, half_precision: bool) -> StandInModel:
    """Stands for ``copycat.load``; counts in the file that ``COPYCAT_STAND_IN_LOADS`` names."""
    if "COPYCAT_STAND_IN_LOADS" in os.environ:
        with open(os.environ["COPYCAT_STAND_IN_LOADS"], "a") as stream:
            print(path, file=stream)
    return StandInModel("A" if path.endswith("alpha.cat") else "RGB")


def misbehave(descriptor: int, how: str) -> None:
    """Introduces itself, then goes wrong."""
    if how == "no greeting":
        sys.exit("the stand-in does not start")
    channel = protocol.Channel(socket.socket(fileno=descriptor))
    if how == "late greeting":
        wait_for_gate()
    spoken = 999 if how == "other protocol" else protocol.PROTOCOL
    channel.send({"hello": {"protocol": spoken, "version": "9.9", "pid": os.getpid()}})
    if how in ("withhold", "late greeting"):
        withhold(channel)
        return
    received = channel.receive()
    if how == "silence":
        time.sleep(60)
    if how == "slow import" and received:
        for _ in range(70):  # for 7 seconds, without a word
            with open("/dev/zero", "rb", buffering=0) as disk:
                disk.read(100)
            time.sleep(0.1)
        channel.send({"id": received[0]["id"], "ok": {}})
        channel.receive()
    if how == "nonsense" and received:
        answer = os.environ["COPYCAT_STAND_IN_ANSWER"].replace("ID", str(received[0]["id"])).encode()
        os.write(descriptor, struct.pack("<II", len(answer), 0) + answer)
        time.sleep(60)
    if how == "flood":
        for _ in range(1000):
            print("w" * 99_999, file=sys.stderr)
    if how == "slow end" and received:
        channel.send({"id": received[0]["id"], "ok": {}})
        channel.receive()
        time.sleep(2.5)
        Path(os.environ["COPYCAT_STAND_IN_GATE"]).touch()
    print("the stand-in gave up", file=sys.stderr, flush=True)


def wait_for_gate() -> None:
    """Waits until the file that ``COPYCAT_STAND_IN_GATE`` names exists."""
    while not Path(os.environ["COPYCAT_STAND_IN_GATE"]).exists():
        time.sleep(0.02)


def withhold(channel: protocol.Channel) -> None:
    """Answers everything at once but what ``COPYCAT_STAND_IN_WITHHOLDS`` lists, which waits for the gate."""
    withheld = os.environ.get("COPYCAT_STAND_IN_WITHHOLDS", "").split(",")

    def answer(number: int, late: bool) -> None:
        if late:
            wait_for_gate()
        ok = {"status": "Training_1: the gate is open", "failed": False, "model": "/models/a.cat", "frames": []}
        channel.send({"id": number, "ok": {**ok, "run": {"directory": "/runs", "name": "Training_1"}}})

    while (received := channel.receive()) is not None:
        message = received[0]
        if "id" in message:
            late = message["do"] in withheld
            threading.Thread(target=answer, args=(message["id"], late), daemon=True).start()


def main() -> None:
    """Called as the plugin calls the interpreter: ``-P -m copycat.worker 3``."""
    descriptor = int(sys.argv[-1])
    how = os.environ.get("COPYCAT_STAND_IN", "")
    if how:
        misbehave(descriptor, how)
    else:
        from copycat.worker.server import serve_descriptor  # takes a second

        serve_descriptor(descriptor, load)


if __name__ == "__main__":
    main()
