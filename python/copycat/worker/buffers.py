"""Shared memory of the plugin: the mapped pieces, and the pictures in them."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.data.host_memory import HostMemory
from copycat.sequence.colour import from_integers, to_integers
from copycat.worker.protocol import MessageError, integer

COMPONENTS = {"RGBA": ("R", "G", "B", "A"), "RGB": ("R", "G", "B"), "A": ("A",)}
_DTYPES: dict[str, type[np.generic]] = {"byte": np.uint8, "short": np.uint16, "half": np.float16, "float": np.float32}
_LARGEST_HALF = 65504.0


class Buffers:
    """The mapped pieces by id. Any thread."""

    def __init__(self) -> None:
        self._mapped: dict[int, HostMemory] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._mapped)

    def update(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Maps what came with a request and frees what it drops; closes the descriptors.

        Raises:
            MessageError: the buffer is not described, or cannot be mapped.
        """
        try:
            dropped = message.get("drop", ())
            if not isinstance(dropped, (list, tuple)):
                raise MessageError(f"drop is no list of buffers ({dropped!r:.80})")
            self._drop([integer(number, "a buffer to drop") for number in dropped])
            if descriptors:
                # One call instead of a fault for every page; but while frames are handed over the host waits.
                populate = 0 if message.get("do") == "hand_over" else getattr(mmap, "MAP_POPULATE", 0)
                number, size = _described(message)
                piece = _map(descriptors[0], number, size, populate)
                with self._lock:
                    self._mapped[number] = piece
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def end(self) -> None:
        """Frees all pieces but those that a request computes on."""
        with self._lock:
            self._mapped.clear()

    def _drop(self, ids: Iterable[int]) -> None:
        with self._lock:
            for number in ids:
                self._mapped.pop(number, None)

    def get(self, message: Mapping[str, Any]) -> HostMemory:
        """The piece that a request names.

        Raises:
            MessageError: it was never handed over.
        """
        number, _ = _described(message)
        with self._lock:
            if number not in self._mapped:
                raise MessageError(f"buffer {number} was never handed over")
            return self._mapped[number]

    def keep(self, message: Mapping[str, Any]) -> HostMemory:
        """Like :meth:`get`, but takes the piece out: its memory is freed with the last reference to it."""
        piece = self.get(message)
        self._drop([_described(message)[0]])
        return piece


def _described(message: Mapping[str, Any]) -> tuple[int, int]:
    """(id, bytes) of the buffer that a request names."""
    described = message.get("buffer")
    if not isinstance(described, Mapping):
        raise MessageError(f"the request's buffer is no object ({described!r:.80})")
    size = integer(described.get("bytes", 0), "the size of a buffer")
    return integer(described.get("id"), "the id of a buffer"), size


def _map(descriptor: int, number: int, size: int, flags: int) -> HostMemory:
    try:
        held = os.fstat(descriptor).st_size
        if size <= 0 or size > held:
            raise MessageError(f"buffer {number} of {size} bytes has a file of {held} bytes")
        return HostMemory(descriptor, size, flags=mmap.MAP_SHARED | flags)
    except (OSError, ValueError) as error:
        raise MessageError(f"buffer {number} of {size} bytes cannot be mapped: {error}") from error


def picture(piece: mmap.mmap, described: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The picture in a piece of memory.

    Returns:
        ``[H, W, C]`` in the host's depth, origin top-left, writable and shared; and the names of its components.

    Raises:
        MessageError: it does not fit, or its depth or components are unknown.
    """
    try:
        dtype, names = np.dtype(_DTYPES[described["depth"]]), COMPONENTS[described["components"]]
        sides = described["height"], described["width"]
    except (KeyError, TypeError) as error:
        raise MessageError(f"a picture is not described: {error}") from error
    shape = (integer(sides[0], "the height of a picture"), integer(sides[1], "the width of a picture"), len(names))
    count = shape[0] * shape[1] * shape[2]
    if min(shape) <= 0 or count * dtype.itemsize > len(piece):
        raise MessageError(f"a picture of {shape} does not fit into {len(piece)} bytes")
    return np.frombuffer(piece, dtype, count).reshape(shape), names


def write_picture(path: Path, pixels: NDArray[Any], names: tuple[str, ...]) -> None:
    """Writes a picture to an EXR, in half floats if the host's are.

    Raises:
        SequenceError: the file cannot be written.
    """
    from copycat.sequence import write_frame

    values = from_integers(pixels)  # none of their values is lost in float32
    write_frame(path, values, names, dtype="half" if values.dtype == np.float16 else "float", compression="zip")


def store(values: NDArray[Any], pixels: NDArray[Any], indices: list[int] | None = None) -> None:
    """Writes values ``[H, W, C]`` into components of a picture of any depth; integers are clamped and rounded."""
    chosen = indices if indices is not None else list(range(values.shape[2]))
    if pixels.dtype == np.float16:
        values = np.where(np.isfinite(values), np.clip(values, -_LARGEST_HALF, _LARGEST_HALF), values)
    elif pixels.dtype != np.float32:
        values = to_integers(values, pixels.dtype)
    for plane, component in enumerate(chosen):
        pixels[..., component] = values[..., plane]
