"""The worker's loop: receives requests, answers them in threads, beats while it owes answers, ends with the host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from copycat import __version__
from copycat.data.memory import give_memory_back
from copycat.errors import CopycatError
from copycat.worker.buffers import Buffers
from copycat.worker.overview import Overview
from copycat.worker.protocol import PROTOCOL, Channel, ProtocolError
from copycat.worker.rendering import Loader, Renderer
from copycat.worker.request import Handler, Request
from copycat.worker.training import Trainings

_BEAT_SECONDS = 1.0
_REST_BEATS = 10  # without a request, after which the host is to have the memory
_REQUESTS_AT_ONCE = 8
_END_SECONDS = 3.0


class Server:
    """Serves one plugin over one socket."""

    def __init__(self, channel: Channel, load: Loader | None = None) -> None:
        """``load`` reads a model (path, device, half precision); the real one by default."""
        self._channel = channel
        self._buffers = Buffers()
        self._trainings = Trainings()
        self._overview = Overview(self._trainings.word)
        self._open: dict[int, Request] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "copycat-request")
        parts = (self._trainings, self._overview, Renderer(self._overview.status, load))
        self._handlers: dict[str, Handler] = {name: act for part in parts for name, act in part.handlers().items()}

    def run(self) -> None:
        """Answers requests until the plugin is gone."""
        self._channel.send({"hello": {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}})
        threading.Thread(target=self._beat, name="copycat-heartbeat", daemon=True).start()
        while (received := self._channel.receive()) is not None:
            message, descriptors = received
            if "cancel" in message:
                self._cancel(int(message["cancel"]))
                continue
            self._buffers.update(message, descriptors)
            self._accept(message)

    def end(self) -> None:
        """Gives up what is under way and deletes what was handed over for a run that never started."""
        with self._lock:
            requests = list(self._open.values())
        for request in requests:
            request.cancelled.set()
        self._overview.end()
        self._trainings.end(_END_SECONDS)

    def _accept(self, message: Mapping[str, Any]) -> None:
        number = int(message.get("id", 0))
        request = Request(message, self._buffers, lambda share: self._send({"id": number, "progress": share}))
        with self._lock:
            self._open[number] = request
        self._threads.submit(self._answer, number, request)

    def _answer(self, number: int, request: Request) -> None:
        answer: dict[str, Any] = {"id": number}
        try:
            handler = self._handlers.get(str(request.message.get("do")))
            if handler is None:
                raise ProtocolError(f"unknown request {request.message.get('do')!r}")
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
            answer["ok"] = handler(request)
        except CopycatError as error:
            answer["error"] = str(error)
        except Exception as error:
            traceback.print_exc()
            answer["error"] = f"copycat failed: {type(error).__name__}: {error}"
        with self._lock:
            del self._open[number]
        self._send(answer)
        request.spent.clear()

    def _cancel(self, number: int) -> None:
        with self._lock:
            request = self._open.get(number)
        if request:
            request.cancelled.set()

    def _beat(self) -> None:
        idle = _REST_BEATS
        while True:
            time.sleep(_BEAT_SECONDS)
            if self._open:
                self._send({"alive": True})
                idle = 0
            elif (idle := idle + 1) == _REST_BEATS:
                give_memory_back()

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the plugin is gone: the loop finds out
            self._channel.send(message)


def serve(descriptor: int, load: Loader | None = None) -> None:
    """Serves the plugin at the other end of a socket and ends the process when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the host
    server = Server(Channel(socket.socket(fileno=descriptor)), load)
    threading.Thread(target=_watch_parent, args=(server,), name="copycat-parent", daemon=True).start()
    try:
        server.run()
    except ProtocolError as error:
        print(f"copycat worker: the plugin sent {error}", file=sys.stderr)
    except OSError:
        pass  # the plugin was gone before the greeting
    _end(server)


def _watch_parent(server: Server) -> None:
    # A child that the host forked may hold the socket open after the host is gone.
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_BEAT_SECONDS)
    _end(server)


def _end(server: Server) -> None:
    with contextlib.suppress(Exception):
        server.end()
    sys.stderr.flush()
    os._exit(0)  # threads that still compute must not keep the process
