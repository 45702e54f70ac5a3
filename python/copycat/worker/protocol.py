r"""How the plugin and the worker talk. This docstring is the protocol's specification, version 1.

Transport: a Unix socket pair of kind stream. A message is a *frame*: 4 bytes length of the JSON, 4 bytes number of
descriptors, both unsigned little endian, then the JSON in UTF-8, one object. A path may hold other bytes; they come
back as they went. Descriptors travel as ``SCM_RIGHTS`` with the first byte of their frame. End of file means that the
other side is gone.

The worker speaks first: ``{"hello": {"protocol": 1, "version": "0.1.0", "pid": 4711}}``. A plugin that speaks another
protocol says so to its user and ends the worker.

The plugin then sends requests, as many at a time as it likes::

    {"id": 7, "do": "render", ...}

and gets exactly one answer to each, in any order: ``{"id": 7, "ok": {...}}`` or
``{"id": 7, "error": "a sentence for the user"}``, before that any number of ``{"id": 7, "progress": 0.4}``. As long as
it owes an answer the worker sends ``{"alive": true}`` once a second; a worker that is silent for longer than a minute
counts as dead. ``{"cancel": 7}`` asks to give a request up; it is answered all the same, mostly with an error.

Shared memory: ``"buffer": {"id": 3, "bytes": 1048576}`` in a request names a piece of it. The frame in which an id
comes first carries its descriptor. The worker keeps it mapped until an id appears in ``"drop": [3]`` of a later
request. In it lies a *picture*: rows from top to bottom without gaps, components interleaved, as ``"picture": {"width":
1920, "height": 1080, "components": "RGBA", "depth": "float"}`` says; components are RGBA, RGB or A, depth is byte,
short, half or float. Byte 255 and short 65535 stand for 1.0. The plugin does not touch a buffer between request and
answer.

``settings`` is an object of script names and values as in :mod:`copycat.settings.tables`; ``display`` is one of the
knobs of the Progress page, which say how runs are shown and whether those that train elsewhere are read on.

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
``begin_run``       settings (CopyCat)                                 run
``hand_over``       run, clip (input, groundTruth or preview), frame,  {} at once; the buffer is the worker's for good
                    buffer, picture
``train``           run, settings (CopyCat)                            as status; progress while frames are written
``abandon``         run                                                {}; what was handed over is deleted
``status``,         settings (CopyCat), display                        status: text, training_info: text, can_resume,
``open_progress``                                                      failed, run_table: a line for each run
``stop``,           settings (CopyCat)                                 as status, without run_table
``finish``,
``resume``
``newest_model``    settings (CopyCat)                                 model
==================  =================================================  =================================================

``run`` is an object that ``begin_run`` made and the plugin gives back as it is.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

PROTOCOL = 1
_HEADER = struct.Struct("<II")
_LONGEST = 16 << 20
_MOST_DESCRIPTORS = 8


class ProtocolError(Exception):
    """The other side sent something that is no message."""


def pack(message: Mapping[str, Any], descriptors: int = 0) -> bytes:
    """The frame of a message."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogateescape")
    return _HEADER.pack(len(body), descriptors) + body


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
                rights = array.array("i", descriptors)
                sent = self._stream.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                frame = frame[sent:]
            self._stream.sendall(frame)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Waits for a message; None at the end of file. The caller owns the descriptors.

        Raises:
            ProtocolError: what came is no message.
        """
        descriptors: list[int] = []
        header = self._read(_HEADER.size, descriptors)
        if header is None:
            return None
        length, count = _HEADER.unpack(header)
        if length > _LONGEST or count > _MOST_DESCRIPTORS:
            raise ProtocolError(f"a message of {length} bytes with {count} descriptors")
        body = self._read(length, descriptors)
        if body is None:
            return None
        try:
            message = json.loads(body.decode(errors="surrogateescape"))
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if not isinstance(message, dict) or len(descriptors) != count:
            raise ProtocolError(f"a message that is no object, or has {len(descriptors)} of {count} descriptors")
        return message, descriptors

    def _read(self, length: int, descriptors: list[int]) -> bytes | None:
        received = bytearray()
        space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
        while len(received) < length:
            try:
                data, ancillary, _, _ = self._stream.recvmsg(length - len(received), space)
            except ConnectionError:
                data, ancillary = b"", []
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                    descriptors.extend(numbers)
            if not data:
                for descriptor in descriptors:
                    os.close(descriptor)
                descriptors.clear()
                return None
            received += data
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return bytes(received)
