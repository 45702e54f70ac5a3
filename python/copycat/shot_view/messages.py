"""What the page and the process that makes pictures say to each other, over two pipes. Standard library only.

A message is a line of JSON, an object. One with ``"length": n`` is followed by n bytes of payload. The page sends::

    {"id": 7, "do": "picture", "path": "plate.1001.exr", "channels": "rgb", "view": "", "width": 0}
    {"id": 8, "do": "result", "path": ..., "channels": ..., "view": ..., "width": 0, "model": "runs/a_500.cat"}
    {"id": 8, "do": "drop"}                                   nobody waits for picture 8 any more

The process answers each picture once, in any order: ``{"id": 7, "length": n, "step": ..., "seconds": ...,
"cpu_seconds": ..., "matte": false, ...}`` with the PNG behind it, or ``{"id": 7, "problem": "a sentence"}``; the
problem of a picture that was dropped is empty. It ends when its input ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

_LONGEST_LINE = 1 << 20
_LARGEST = 1 << 31


def write_message(stream: IO[bytes], message: Mapping[str, Any], payload: bytes = b"") -> None:
    """Writes a message; the caller sees to it that no two threads write at a time.

    Raises:
        OSError: the other side is gone.
    """
    head = {**message, "length": len(payload)} if payload else dict(message)
    stream.write(json.dumps(head).encode() + b"\n" + payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message and its payload; None at the end of the stream.

    Raises:
        ValueError: what comes is no message.
    """
    line = stream.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"{line[:80]!r} is no message")
    length = message.get("length", 0)
    if not isinstance(length, int) or not 0 <= length <= _LARGEST:
        raise ValueError(f"{length!r} is no length of a payload")
    payload = stream.read(length) if length else b""
    return None if len(payload) < length else (message, payload)
