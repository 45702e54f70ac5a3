"""The worker's sign of life: what it sends while the plugin waits for it. Standard library only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from copycat.worker.protocol import Channel

_BEAT_SECONDS = 1.0
_IDLE_BEATS = 10


class Heartbeat:
    """A thread that beats while the worker starts, and from then on while it owes an answer.

    The thread starts before the imports that take long: a slow network disk is no silence.

    Attributes:
        owes: whether an answer is owed; set once the worker has started. Called in the thread.
        rest: called in the thread after ten seconds without a request.
    """

    def __init__(self, channel: Channel) -> None:
        self.owes: Callable[[], bool] = lambda: True
        self.rest: Callable[[], None] = lambda: None
        self._channel = channel
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="copycat-heartbeat", daemon=True).start()

    def end(self) -> None:
        """Stops beating."""
        self._ended.set()

    def _beat(self) -> None:
        idle = _IDLE_BEATS
        while not self._ended.wait(_BEAT_SECONDS):
            if self.owes():
                idle = 0
                with contextlib.suppress(OSError):  # the plugin is gone: the server finds out
                    self._channel.send({"alive": True})
            elif (idle := idle + 1) == _IDLE_BEATS:
                self.rest()
