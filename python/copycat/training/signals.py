"""Turns SIGINT and SIGTERM into a stop flag."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_MEANING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class StopSignals:
    """A context in which SIGINT and SIGTERM set ``received``; a second SIGINT raises KeyboardInterrupt.

    Python gives signals to the main thread alone: entered in another thread, nothing is ever received.

    Attributes:
        received: ``interrupted``, ``terminated``, or empty.
    """

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in _MEANING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == "interrupted":
            raise KeyboardInterrupt
        self.received = _MEANING[signal.Signals(number)]
