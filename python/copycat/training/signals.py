"""Ctrl-C and SIGTERM as a wish to stop at the end of the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_MEANING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class StopSignals:
    """Within it, SIGINT and SIGTERM set ``received``; a second SIGINT is a KeyboardInterrupt again.

    Only the main thread can take signals; elsewhere nothing is ever received.
    """

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _MEANING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == "interrupted":
            raise KeyboardInterrupt
        self.received = _MEANING[signal.Signals(number)]
