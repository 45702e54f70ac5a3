r"""How the plugin and the worker talk. This docstring is the protocol's specification, version 1.

Transport: a Unix socket pair of kind stream. A message is a *frame*: 4 bytes length of the JSON, 4 bytes number of
descriptors, both unsigned little endian, then the JSON in UTF-8, one object. A path may hold other bytes, which are
sent back unchanged. Descriptors travel as ``SCM_RIGHTS`` with the first byte of their frame. End of file means that the
other side is gone.

The worker speaks first: ``{"hello": {"protocol": 1, "version": "0.1.0", "pid": 4711}}``. A plugin that speaks another
protocol says so to its user and ends the worker.

The plugin then sends requests, as many at a time as it likes::

    {"id": 7, "do": "render", ...}

and gets exactly one answer to each, in any order: ``{"id": 7, "ok": {...}}`` or
``{"id": 7, "error": "a sentence for the user"}``, before that any number of ``{"id": 7, "progress": 0.4}``. As long as
it owes an answer, and while it starts, the worker sends ``{"alive": true}`` once a second; a worker that is silent for
longer than a minute counts as dead. ``{"cancel": 7}`` gives a request up; it is answered all the same, mostly with an
error. ``id`` is a whole number. A request whose id is still open, or that is malformed, is answered with an error; only
a frame whose length or number of descriptors is impossible ends the worker, since nothing after it can be read.

Renders wait for each other in a queue of their own, and so do the pictures that are drawn; ``status`` and the buttons
wait for neither. After the end of file the worker deletes the frames of runs that never started and ends within 1.5
seconds.

Shared memory: ``"buffer": {"id": 3, "bytes": 1048576}`` in a request names a piece of it. The frame in which an id
comes first carries its descriptor. The worker keeps it mapped until an id appears in ``"drop": [3]`` of a later
request. In it lies a *picture*: rows from top to bottom without gaps, components interleaved, as ``"picture": {"width":
1920, "height": 1080, "components": "RGBA", "depth": "float"}`` says; components are RGBA, RGB or A, depth is byte,
short, half or float. Byte 255 and short 65535 stand for 1.0. Its ``x`` and ``y``, optional, are the lower left corner
in the host's pixel coordinates; ``scale`` beside ``picture`` is the render scale. The plugin does not touch a buffer
between request and answer.

``settings`` is an object of script names and values as in :mod:`copycat.settings.tables`; ``display`` is one of the
knobs of the Progress page, which say how runs are shown and whether runs that train elsewhere are followed.

==================  =================================================  =================================================
``do``              request                                            ``ok``
==================  =================================================  =================================================
``render``          settings (Inference), frame, buffer, picture       model, channels_in, channels_out, loads, warning;
                                                                       the picture is changed in place
``callback``        settings (Inference), name (before_render,         {}
                    after_render), frame
``purge``                                                              {}; models are forgotten
``preview``         settings (CopyCat), display, frame, buffer,        status; the picture is changed in place if there
                    picture                                            is a checkpoint
``contact_sheet``,  settings (CopyCat), display, buffer, picture       status; the picture becomes the newest sheet,
``loss_curve``                                                         or the graph of the runs' losses
``frames``          text (Training Frames), input, ground_truth:       frames
                    [first, last] or []
``begin_run``,      settings (CopyCat)                                 run: a new one, or the active one
``begin_update``
``hand_over``       run, clip (input, groundTruth or preview), frame,  {} at once; the buffer is the worker's for good
                    buffer, picture
``train``           run, settings (CopyCat)                            as status; progress while frames are written
``update``          run                                                as status; the run has the frames from now on
``abandon``         run                                                {}; the frames handed over are deleted
``status``,         settings (CopyCat), display                        status: text, training_info: text, can_resume,
``open_progress``                                                      failed, run_table: a line for each run
``stop``,           settings (CopyCat)                                 as status, without run_table
``finish``,
``resume``,
``checkpoint``,
``plan``
``pictures``        settings (CopyCat); frame, buffer, picture: what   as ``stop``; the buffer is the worker's for good
                    previews show from now on, if that is to change
``newest_model``    settings (CopyCat)                                 model
==================  =================================================  =================================================

``run`` is an object that ``begin_run`` or ``begin_update`` made and the plugin gives back as it is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

PROTOCOL = 1
_HEADER = struct.Struct("<II")
_LONGEST = 16 << 20
_MOST_DESCRIPTORS = 8


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NUMBER = re.compile(rb'"id"\s*:\s*([0-9]{1,18})\b')


class ProtocolError(Exception):
    """The other side sent something that is no message, and nothing after it can be read."""


class MessageError(ProtocolError):
    """One message cannot be used; the next one can.

    Attributes:
        number: the id of the request, None if it cannot be read.
    """

    def __init__(self, text: str, number: int | None = None) -> None:
        super().__init__(text)
        self.number = number


def integer(value: Any, name: str) -> int:
    """A whole number of at most 53 bits, as JSON carries it.

    Raises:
        MessageError: the value is none; the text begins with ``name``.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) <= 2**53 or int(value) != value:
        raise MessageError(f"{name} is no whole number ({value!r:.80})")
    return int(value)


def pack(message: Mapping[str, Any], descriptors: int = 0) -> bytes:
    """The frame of a message: numbers that JSON does not have become null."""
    try:
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(message), separators=(",", ":"), ensure_ascii=False)
    try:
        body = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        body = text.encode(errors="replace")
    return _HEADER.pack(len(body), descriptors) + body


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


class Channel:
    """One end of the socket. Any thread may send; one receives."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends a message.

        Raises:
            OSError: the other side is gone.
        """
        frame = pack(message, len(descriptors))
        with self._sending:
            if descriptors:
                frame = frame[socket.send_fds(self._stream, [frame], list(descriptors)) :]
            self._stream.sendall(frame)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Waits for a message; None at the end of file. The caller owns the descriptors.

        Raises:
            MessageError: this message cannot be used.
            ProtocolError: nor can anything after it.
        """
        descriptors: list[int] = []
        try:
            header = self._read(_HEADER.size, descriptors)
            if header is None:
                return None
            length, count = _HEADER.unpack(header)
            if length > _LONGEST or count > _MOST_DESCRIPTORS:
                raise ProtocolError(f"a message of {length} bytes with {count} descriptors")
            body = self._read(length, descriptors)
            if body is None:
                return None
            message = _parse(body)
            if len(descriptors) != count:
                raise MessageError(f"{len(descriptors)} of {count} descriptors came with a message", _number_in(body))
            passed, descriptors = descriptors, []
            return message, passed
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _read(self, length: int, descriptors: list[int]) -> bytes | None:
        received = bytearray()
        while len(received) < length:
            try:
                data, passed, _, _ = socket.recv_fds(self._stream, length - len(received), _MOST_DESCRIPTORS)
            except ConnectionError:
                data, passed = b"", []
            for descriptor in passed:
                os.set_inheritable(descriptor, False)
            descriptors += passed
            if not data:
                return None
            received += data
        return bytes(received)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body.decode(errors="surrogateescape"))
        if b"\\u" in body:  # an escape
            text = json.dumps(message, ensure_ascii=False)
            text.encode(errors="surrogateescape")
            if _NUL.search(text):
                raise ValueError("a text holds a NUL, as no file's name does")
    except (ValueError, RecursionError) as error:  # also UnicodeEncodeError: a surrogate that stands for no byte
        raise MessageError(f"a message that is no JSON: {error}", _number_in(body)) from None
    if not isinstance(message, dict):
        raise MessageError("a message that is no object")
    return message


def _number_in(body: bytes) -> int | None:
    found = _NUMBER.search(body)
    return int(found[1]) if found else None
