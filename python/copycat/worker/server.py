"""The worker's loop: receives requests, answers them in queues, ends with the host."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from copycat.data.memory import give_memory_back
from copycat.errors import CopycatError
from copycat.fault_log import explain
from copycat.runs.launch import Trainings
from copycat.worker.buffers import Buffers
from copycat.worker.greeting import greet
from copycat.worker.handovers import Handovers
from copycat.worker.heartbeat import Heartbeat
from copycat.worker.host_request import Answer, Handler, HostRequest, Later
from copycat.worker.overview import Overview
from copycat.worker.protocol import Channel, MessageError, ProtocolError, integer
from copycat.worker.rendering import Loader, Renderer
from copycat.worker.training import TrainingRequests

_PARENT_SECONDS = 1.0
_WRITE_SECONDS = 1.0
_END_SECONDS = 1.5  # the plugin waits for longer than that before it kills the worker

_QUEUES = {
    # Two frames at a time would take twice the memory and no less time. (On a GPU the renderer begins the next early.)
    "compute": (1, ("render", "preview", "purge")),
    "draw": (1, ("contact_sheet", "loss_curve")),
    # These wait for the disk, for a user's callback or for a page to open.
    "work": (8, ("begin_run", "begin_update", "hand_over", "train", "update", "abandon", "callback", "open_progress")),
    # A trainer answers these between two steps.
    "trainer": (2, ("checkpoint", "pictures", "plan")),
    # A host's interface waits for these.
    "quick": (8, ("status", "stop", "finish", "resume", "newest_model", "frames")),
}
"""Queue -> how many threads serve it, and the requests that wait in it."""


@dataclass
class _Open:
    """A request that is not answered yet."""

    request: HostRequest
    future: Future[None] | None = None


class Server:
    """Serves one plugin over one socket. :meth:`run` in one thread; :meth:`end` from any."""

    def __init__(self, channel: Channel, heartbeat: Heartbeat, load: Loader | None = None) -> None:
        """``load`` reads a model (path, device, half precision); the real one by default."""
        self._channel = channel
        self._buffers = Buffers()
        trainings = Trainings()
        self._handovers = Handovers(trainings)
        requests = TrainingRequests(trainings)
        self._overview = Overview(requests.failure)
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()
        parts = (self._handovers, requests, self._overview, Renderer(self._overview.status, load))
        self._handlers: dict[str, Handler] = {name: act for part in parts for name, act in part.handlers().items()}
        self._queues: dict[str, ThreadPoolExecutor] = {}
        for queue, (threads, names) in _QUEUES.items():
            self._queues |= dict.fromkeys(names, ThreadPoolExecutor(threads, f"copycat-{queue}"))
        heartbeat.owes = lambda: bool(self._open)
        heartbeat.idle = give_memory_back

    def run(self) -> None:
        """Answers requests until the plugin is gone.

        Raises:
            ProtocolError: the stream holds something that cannot be skipped.
        """
        while True:
            try:
                received = self._channel.receive()
            except MessageError as error:
                self._refuse(error.number, error)
                continue
            if received is None:
                return
            self._take(*received)

    def end(self) -> None:
        """Cancels all requests and deletes the frames of runs that never started."""
        with self._lock:
            requests = [entry.request for entry in self._open.values()]
        for request in requests:
            request.cancelled.set()
        self._overview.end()
        self._handovers.end(_WRITE_SECONDS)
        self._buffers.end()

    def _take(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        number: Any = message.get("id")
        try:
            self._buffers.update(message, descriptors)
            if "cancel" in message:
                self._cancel(integer(message["cancel"], "the id of a request to cancel"))
                return
            number = integer(number, "the id of a request")
            self._accept(number, message)
        except MessageError as error:
            self._refuse(number, error)

    def _accept(self, number: int, message: Mapping[str, Any]) -> None:
        name = str(message.get("do"))
        if name not in self._handlers:
            raise MessageError(f"unknown request {name:.80}")
        request = HostRequest(message, self._buffers, lambda share: self._send({"id": number, "progress": share}))
        with self._lock:
            if number in self._open:
                raise MessageError(f"request {number} is open already: a second one cannot have its id")
            entry = self._open[number] = _Open(request)
            entry.future = self._queues[name].submit(self._answer, number, request, self._handlers[name])

    def _answer(self, number: int, request: HostRequest, handler: Handler) -> None:
        def act() -> Answer:
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
            return handler(request)

        self._reply(number, request, act)

    def _reply(self, number: int, request: HostRequest, act: Callable[[], Answer]) -> None:
        """Sends what ``act`` returns, or what is wrong; an answer that comes later is sent in its own thread."""
        answer: dict[str, Any] = {"id": number}
        try:
            found = act()
            if isinstance(found, Later):
                found.begin(partial(self._reply, number, request, found.work))
                return
            answer["ok"] = found
        except (CopycatError, MessageError) as error:
            answer["error"] = str(error)
        except BaseException as error:  # a callback may even call sys.exit
            answer["error"] = explain(error, "worker")
        self._close(number, answer)
        request.spent.clear()

    def _close(self, number: int, answer: Mapping[str, Any]) -> None:
        with self._lock:
            del self._open[number]
        self._send(answer)

    def _refuse(self, number: Any, error: Exception) -> None:
        """Answers a request that was never accepted."""
        print(f"copycat worker: refused {error}", file=sys.stderr)
        self._send({"id": number, "error": f"the plugin and the worker misunderstand each other: {error}"})

    def _cancel(self, number: int) -> None:
        with self._lock:
            entry = self._open.get(number)
        if entry:
            entry.request.cancelled.set()
            if entry.future and entry.future.cancel():  # it waits in its queue still
                self._close(number, {"id": number, "error": "cancelled"})

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the plugin is gone: the loop finds out
            try:
                self._channel.send(message)
            except (TypeError, ValueError, RecursionError) as error:
                self._channel.send({"id": message.get("id"), "error": explain(error, "worker")})


def serve(channel: Channel, heartbeat: Heartbeat, load: Loader | None = None) -> None:
    """Serves the plugin at the other end of a channel and ends the process when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the host
    server = Server(channel, heartbeat, load)
    threading.Thread(target=_watch_parent, args=(server,), name="copycat-parent", daemon=True).start()
    try:
        server.run()
    except ProtocolError as error:
        print(f"copycat worker: the plugin sent {error}", file=sys.stderr)
    except Exception as error:
        print(f"copycat worker: {explain(error, 'worker')}", file=sys.stderr)
    _end(server)


def serve_descriptor(descriptor: int, load: Loader | None = None) -> None:
    """Greets the plugin at the other end of a socket, then :func:`serve`."""
    serve(*greet(descriptor), load)


def _watch_parent(server: Server) -> None:
    # A child that the host forked may hold the socket open after the host is gone.
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    _end(server)


def _end(server: Server) -> None:
    """Cleans up and ends the process; threads that still compute must not keep it."""
    timer = threading.Timer(_END_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()
    with contextlib.suppress(Exception):
        server.end()
    sys.stderr.flush()
    os._exit(0)
