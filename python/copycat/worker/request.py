"""What a handler of the worker gets, and what a handler is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from copycat.worker.buffers import Buffers


@dataclass
class Request:
    """What a handler gets.

    Attributes:
        message: the JSON object.
        buffers: the shared memory.
        cancelled: set when the plugin cancels the request.
        spent: freed after the answer: freeing a large frame takes longer than answering.
        progress: reports the share done to the plugin, 0 to 1.
    """

    message: Mapping[str, Any]
    buffers: Buffers
    progress: Callable[[float], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    spent: list[Any] = field(default_factory=list)


Handler = Callable[[Request], dict[str, Any]]
