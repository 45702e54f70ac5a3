"""Introduces the worker before the slow imports. Standard library only."""

from __future__ import annotations

import contextlib
import os
import socket

from copycat import __version__
from copycat.worker.heartbeat import Heartbeat
from copycat.worker.protocol import PROTOCOL, Channel


def greet(descriptor: int) -> tuple[Channel, Heartbeat]:
    """Introduces the worker to the plugin at the other end of a socket, and starts to beat."""
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(OSError):  # the plugin is gone already: the server finds out
        channel.send({"hello": {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}})
    return channel, Heartbeat(channel)
