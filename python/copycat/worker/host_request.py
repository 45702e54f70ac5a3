"""A request of the plugin, with its parts checked, and the functions that answer one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from copycat.worker.buffers import Buffers
from copycat.worker.protocol import MessageError, integer


@dataclass
class HostRequest:
    """A request of the plugin. One thread answers it; another may set ``cancelled``.

    Attributes:
        message: the JSON object.
        buffers: the shared memory.
        progress: reports the share done to the plugin, 0 to 1.
        cancelled: set when the plugin cancels the request.
        spent: freed after the answer: freeing a large frame takes longer than answering.
    """

    message: Mapping[str, Any]
    buffers: Buffers
    progress: Callable[[float], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    spent: list[Any] = field(default_factory=list)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the effect by script name.

        Raises:
            MessageError: there are none.
        """
        return self.mapping("settings")

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object of the message.

        Raises:
            MessageError: it is missing or of another type.
        """
        value: Mapping[str, Any] = self._typed(name, Mapping, "object")
        return value

    def text(self, name: str) -> str:
        """A string of the message.

        Raises:
            MessageError: it is missing or of another type.
        """
        value: str = self._typed(name, str, "string")
        return value

    def _typed(self, name: str, kind: type, word: str) -> Any:
        value = self.message.get(name)
        if not isinstance(value, kind):
            raise MessageError(f"the request's {name} is no {word} ({value!r:.80})")
        return value

    def integer(self, name: str) -> int:
        """A whole number of the message.

        Raises:
            MessageError: it is missing or of another type.
        """
        return integer(self.message.get(name), f"the request's {name}")


@dataclass(frozen=True)
class Later:
    """An answer that is found in another thread, so that the next request of the queue can begin.

    Attributes:
        begin: calls a function in that thread.
        work: returns the answer.
    """

    begin: Callable[[Callable[[], None]], None]
    work: Callable[[], dict[str, Any]]


Answer = dict[str, Any] | Later
Handler = Callable[[HostRequest], Answer]
