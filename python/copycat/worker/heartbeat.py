"""The heartbeat that the worker sends while the plugin waits. Standard library only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from copycat.worker.protocol import Channel

_BEAT_SECONDS = 1.0
_IDLE_BEATS = 10


class Heartbeat:
    """A thread that beats while the worker starts, and from then on while it owes an answer.

    It starts before the slow imports, so that a slow network disk does not look like a dead worker.

    Attributes:
        owes: whether an answer is owed; set once the worker has started. Called in the thread.
        idle: called in the thread after ten seconds without a request.
    """

    def __init__(self, channel: Channel) -> None:
        self.owes: Callable[[], bool] = lambda: True
        self.idle: Callable[[], None] = lambda: None
        self._channel = channel
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="copycat-heartbeat", daemon=True).start()

    def end(self) -> None:
        """Stops beating."""
        self._ended.set()

    def _beat(self) -> None:
        silent = _IDLE_BEATS
        while not self._ended.wait(_BEAT_SECONDS):
            if self.owes():
                silent = 0
                with contextlib.suppress(OSError):  # the plugin is gone: the server finds out
                    self._channel.send({"alive": True})
            elif (silent := silent + 1) == _IDLE_BEATS:
                self.idle()
