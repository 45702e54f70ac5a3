"""Shared memory of the plugin: which pieces are mapped, and the pictures in them."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence.colour import to_integers
from copycat.worker.protocol import ProtocolError

COMPONENTS = {"RGBA": ("R", "G", "B", "A"), "RGB": ("R", "G", "B"), "A": ("A",)}
_DTYPES: dict[str, type[np.generic]] = {"byte": np.uint8, "short": np.uint16, "half": np.float16, "float": np.float32}
_LARGEST_HALF = 65504.0


class Buffers:
    """The mapped pieces by id. Any thread."""

    def __init__(self) -> None:
        self._mapped: dict[int, mmap.mmap] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._mapped)

    def update(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Maps what came with a request and lets go of what it drops; closes the descriptors."""
        self._drop(request.get("drop", ()))
        described = request.get("buffer")
        try:
            if descriptors and described:
                # One call instead of a fault for every page; but while frames are handed over the host waits.
                populate = 0 if request.get("do") == "hand_over" else getattr(mmap, "MAP_POPULATE", 0)
                piece = mmap.mmap(descriptors[0], int(described["bytes"]), flags=mmap.MAP_SHARED | populate)
                with self._lock:
                    self._mapped[int(described["id"])] = piece
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _drop(self, ids: Iterable[int]) -> None:
        with self._lock:
            for number in ids:
                self._mapped.pop(int(number), None)

    def get(self, request: Mapping[str, Any]) -> mmap.mmap:
        """The piece that a request names.

        Raises:
            ProtocolError: it was never handed over.
        """
        number = int(request.get("buffer", {}).get("id", 0))
        with self._lock:
            if number not in self._mapped:
                raise ProtocolError(f"buffer {number} was never handed over")
            return self._mapped[number]

    def keep(self, request: Mapping[str, Any]) -> mmap.mmap:
        """Like :meth:`get`, but takes the piece out: its memory goes when the caller lets go of it."""
        piece = self.get(request)
        self._drop([int(request["buffer"]["id"])])
        return piece


def picture(piece: mmap.mmap, described: Mapping[str, Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The picture in a piece of memory.

    Returns:
        ``[H, W, C]`` in the host's depth, origin top-left, writable and shared; and the names of its components.

    Raises:
        ProtocolError: it does not fit, or its depth or components are unknown.
    """
    try:
        dtype, names = np.dtype(_DTYPES[described["depth"]]), COMPONENTS[described["components"]]
        shape = (int(described["height"]), int(described["width"]), len(names))
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"a picture is not described: {error}") from error
    count = shape[0] * shape[1] * shape[2]
    if min(shape) <= 0 or count * dtype.itemsize > len(piece):
        raise ProtocolError(f"a picture of {shape} does not fit into {len(piece)} bytes")
    return np.frombuffer(piece, dtype, count).reshape(shape), names


def store(values: NDArray[Any], pixels: NDArray[Any], indices: list[int] | None = None) -> None:
    """Writes values ``[H, W, C]`` into components of a picture of any depth; integers are clamped and rounded."""
    chosen = indices if indices is not None else list(range(values.shape[2]))
    if pixels.dtype == np.float16:
        values = np.where(np.isfinite(values), np.clip(values, -_LARGEST_HALF, _LARGEST_HALF), values)
    elif pixels.dtype != np.float32:
        values = to_integers(values, pixels.dtype)
    for plane, component in enumerate(chosen):
        pixels[..., component] = values[..., plane]
