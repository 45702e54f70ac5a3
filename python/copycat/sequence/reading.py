"""Reads the pixels of a frame strip by strip into the caller's array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from copycat.sequence.error import SequenceError
from copycat.sequence.info import (
    FrameInfo,
    Part,
    Window,
    check_size,
    describe,
    intersect,
    opened,
    pending_error,
    reason,
    unite,
)

# A multiple of the rows of a block in every EXR compression (1 to 256), so that no block is decompressed twice.
STRIP_ROWS = 256


@dataclass
class Frame:
    """The pixels of one frame.

    Attributes:
        pixels: ``[H, W, C]``, origin top-left, 0 outside the data window; in the size of the display window, with
            overscan of the rectangle around display and data windows.
        valid: the data window, clipped to the pixels, relative to the display window; for several parts the
            intersection of theirs.
        info: the file's header.
        origin: x, y of the first pixel, relative to the display window: 0, 0 or, in overscan, negative.
    """

    pixels: NDArray[Any]
    valid: Window
    info: FrameInfo
    origin: tuple[int, int] = (0, 0)


def read_frame(
    path: str | Path,
    channels: Sequence[str],
    dtype: DTypeLike = np.float32,
    out: NDArray[Any] | None = None,
    *,
    overscan: bool = False,
) -> Frame:
    """Reads channels of a file. Values stay as they are in the file; those of integer formats become 0..1.

    Args:
        path: the file.
        channels: full channel names, as ``resolve_channels`` returns them, or "part.channel".
        dtype: float32 or float16; uint8 for files of that depth, whose values then stay 0..255. Finite values beyond
            the range of float16 become the largest float16.
        out: an array ``[H, W, C]`` to write to, for example one frame of a bank; its dtype replaces ``dtype``.
        overscan: whether pixels outside the display window are read too; the picture is then the rectangle around
            display and data windows.

    Returns:
        The frame; its ``pixels`` are ``out`` if given.

    Raises:
        SequenceError: if the file is missing, damaged or truncated, has no such channel, or does not fit ``out``.
    """
    path = Path(path)
    with opened(path) as source:
        info = describe(source, path)
        names = []
        for name in channels:
            full = info.find_channel(name)
            if full is None:
                raise SequenceError(f"{path} has no channel {name!r}; it has {', '.join(info.channels)}")
            names.append(full)
        used = info.parts_with(names)
        region: Window = (0, 0, info.width, info.height)
        for _, part in used if overscan else ():
            region = unite(region, part.data_window)
        width, height = region[2] - region[0], region[3] - region[1]
        check_size(path, width, height)
        shape = (height, width, len(channels))
        if out is None:
            try:
                out = np.zeros(shape, dtype)
            except MemoryError:
                raise SequenceError(f"{path} is {width} x {height}, which memory cannot hold") from None
        elif out.shape != shape:
            raise SequenceError(
                f"{path} is {width} x {height} with {len(channels)} channels, but the array to fill is"
                f" {out.shape[1]} x {out.shape[0]} with {out.shape[2]}"
            )
        valid = region
        for _, part in used:
            valid = intersect(valid, part.data_window)
        if valid != region:
            out[...] = 0
        for index, part in used:
            _read_part(source, path, index, part, names, out, region[:2])
        # The JPEG reader fills what is missing with grey and leaves only a message behind.
        message = pending_error(source)
        if message:
            raise SequenceError(f"{path} cannot be read: {reason(message)}")
    return Frame(out, valid, info, region[:2])


def read_rows(
    source: Any, path: Path, index: int, part: Part, rows: tuple[int, int], channels: tuple[int, int], dtype: str
) -> NDArray[Any]:
    """Reads rows of an open part over the whole width of its data window.

    Args:
        source: the open image.
        path: its file, for messages.
        index: number of the part.
        part: the part.
        rows: first and end row inside the data window, relative to the display window.
        channels: first and end channel within the part.
        dtype: "half", "float", "uint" or "uint8".

    Returns:
        ``[rows, width of the data window, channels]``.

    Raises:
        SequenceError: if the file is damaged or truncated.
    """
    spec = part.spec
    y0, y1 = rows[0] + spec.full_y, rows[1] + spec.full_y
    if spec.tile_width:
        top = y0 - (y0 - spec.y) % spec.tile_height
        bottom = min(y1 + (spec.y - y1) % spec.tile_height, spec.y + spec.height)
        window = (spec.x, spec.x + spec.width, top, bottom, 0, 1)
        strip = source.read_tiles(index, 0, *window, *channels, dtype)
    else:
        top, bottom = y0, y1
        strip = source.read_scanlines(index, 0, top, bottom, 0, *channels, dtype)
    if strip is None:
        raise SequenceError(f"{path} cannot be read: {reason(pending_error(source))}")
    pixels: NDArray[Any] = strip.reshape(bottom - top, spec.width, channels[1] - channels[0])
    return pixels[y0 - top : y1 - top]


def strip_rows(spec: Any) -> int:
    """The number of rows to read at once so that no block or tile is decompressed twice."""
    return -(-STRIP_ROWS // spec.tile_height) * spec.tile_height if spec.tile_height else STRIP_ROWS


def _read_part(
    source: Any,
    path: Path,
    index: int,
    part: Part,
    channels: Sequence[str],
    out: NDArray[Any],
    origin: tuple[int, int],
) -> None:
    """Reads those of the channels that are in this part into ``out``, which begins at ``origin``."""
    x, y = origin
    x0, y0, x1, y1 = intersect((x, y, x + out.shape[1], y + out.shape[0]), part.data_window)
    if x0 == x1:
        return
    here = [(part.channels.index(name), column) for column, name in enumerate(channels) if name in part.channels]
    begin, end = min(i for i, _ in here), max(i for i, _ in here) + 1
    pick, to = _slice([i - begin for i, _ in here]), _slice([column for _, column in here])
    # float and 32-bit integers hold values beyond the range of half.
    clamp = out.dtype == np.float16 and part.dtype not in ("half", "uint8", "uint16", "int8", "int16")
    dtype = "uint8" if out.dtype == np.uint8 else "half" if out.dtype == np.float16 and not clamp else "float"
    left, top = part.data_window[:2]
    step = strip_rows(part.spec)
    # Strips start where the blocks of the file start, which count from the data window.
    for start in range(y0 - (y0 - top) % step, y1, step):
        first, last = max(start, y0), min(start + step, y1)
        strip = read_rows(source, path, index, part, (first, last), (begin, end), dtype)
        picked = strip[:, x0 - left : x1 - left, pick]
        out[first - y : last - y, x0 - x : x1 - x, to] = to_half(picked) if clamp else picked


def to_half(pixels: NDArray[Any]) -> NDArray[Any]:
    """Converts to float16; finite values beyond its range become its largest, infinities and NaN stay."""
    largest = float(np.finfo(np.float16).max)
    return np.where(np.isfinite(pixels), np.clip(pixels, -largest, largest), pixels).astype(np.float16)


def _slice(indices: list[int]) -> slice | list[int]:
    """Neighbouring indices as a slice, which numpy copies far faster than a list."""
    return slice(indices[0], indices[-1] + 1) if indices == list(range(indices[0], indices[-1] + 1)) else indices
