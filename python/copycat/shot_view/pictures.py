"""Makes the pictures of a shot: a file as a display shows it, and a model's result for one, as PNG.

The view transform is that of contact sheets and previews (:func:`copycat.sequence.colour.display`). On the CPU a model
computes in half precision where the processor can, which takes half the time; a render computes as its knobs say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from copycat.data.devices import choose_device
from copycat.inference.model import Model
from copycat.sequence import Frame, SequenceError, colour, read_frame, read_info, resolve_channels
from copycat.sequence.movie import file_of
from copycat.shot_view import png

_FRAME_BYTES = 384 << 20
_PICTURE_BYTES = 256 << 20
_MODELS = 2  # two steps or two runs side by side
_TILE = 1024  # a picture that nobody waits for any more is given up between tiles

Key = TypeVar("Key")
Value = TypeVar("Value")
Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class Picture:
    """A picture as PNG.

    Attributes:
        data: the file.
        width, height: of the whole frame in pixels; the picture itself may be smaller.
        matte: whether it is a single channel within 0 and 1.
        step: of the model; 0 for a file.
        device: that computed it; empty for a file.
    """

    data: bytes
    width: int
    height: int
    matte: bool
    step: int = 0
    device: str = ""


class _Recent(Generic[Key, Value]):
    """The values used last, up to a total weight."""

    def __init__(self, most: int, weight: Callable[[Value], int]) -> None:
        self._most, self._weight = most, weight
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._total = 0

    def get(self, key: Key) -> Value | None:
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> Value:
        self._total += self._weight(value) - (self._weight(old) if (old := self._values.pop(key, None)) else 0)
        self._values[key] = value
        while self._total > self._most and len(self._values) > 1:
            self._total -= self._weight(self._values.popitem(last=False)[1])
        return value


class FilePictures:
    """Pictures of files. One thread."""

    def __init__(self) -> None:
        self._pictures: _Recent[tuple[Stamp, str, str, int], Picture] = _Recent(_PICTURE_BYTES, _picture_bytes)

    def picture(self, path: Path, channels: str, view: str, width: int = 0) -> Picture:
        """A file as a display shows it.

        Args:
            path: the file.
            channels: names as the knobs have them, ``rgb`` or ``A``.
            view: OCIO View, empty for sRGB.
            width: the picture is at most about so wide; 0 for full size.

        Raises:
            SequenceError: the file is no regular file, cannot be read, or has no such channels.
        """
        key = (_stamp(path), channels, view, width)
        if picture := self._pictures.get(key):
            return picture
        names = resolve_channels(channels, read_info(path))
        frame = read_frame(path, names)
        return self._pictures.put(key, encode(frame.pixels, frame.info.linear, names, view, width))


class ResultPictures:
    """Pictures of what models make of files. One thread."""

    def __init__(self) -> None:
        self._models: _Recent[Stamp, Model] = _Recent(_MODELS, lambda model: 1)
        self._frames: _Recent[tuple[Stamp, tuple[str, ...]], Frame] = _Recent(
            _FRAME_BYTES, lambda frame: int(frame.pixels.nbytes)
        )
        self._pictures: _Recent[tuple[Stamp, Stamp, str, int], Picture] = _Recent(_PICTURE_BYTES, _picture_bytes)
        self._device, _ = choose_device(True)

    def picture(
        self, model: Path, path: Path, view: str, width: int = 0, dropped: Callable[[], bool] | None = None
    ) -> Picture:
        """A model's result for a file, as a display shows it.

        Args:
            model: a .cat.
            path: the plate's file.
            view, width: as for :meth:`FilePictures.picture`.
            dropped: asked before each tile; True gives up.

        Raises:
            CopycatError: the model or the file cannot be read, or do not fit.
            tiles.CancelledError: given up.
        """
        key = (_stamp(model), _stamp(path), view, width)
        if picture := self._pictures.get(key):
            return picture
        network = self._models.get(key[0]) or self._models.put(key[0], Model(model, self._device, True))
        frame = self._frame(key[1], path, network.channels_in)
        result = network(frame.pixels, tile_size=_TILE, format=(frame.info.width, frame.info.height), cancel=dropped)
        picture = encode(
            result,
            frame.info.linear,
            network.channels_out,
            view,
            width,
            step=network.step,
            device=network.device.type,
        )
        return self._pictures.put(key, picture)

    def _frame(self, stamp: Stamp, path: Path, channels: tuple[str, ...]) -> Frame:
        key = (stamp, channels)
        return self._frames.get(key) or self._frames.put(
            key, read_frame(path, resolve_channels(",".join(channels), read_info(path)))
        )


def encode(
    pixels: NDArray[np.float32],
    linear: bool,
    channels: Sequence[str],
    view: str,
    width: int,
    step: int = 0,
    device: str = "",
) -> Picture:
    """Pixels ``[H, W, C]`` as in a file as a PNG, at most about ``width`` wide unless that is 0."""
    matte = len(channels) < 3
    small = _smaller(pixels[..., :1] if matte else pixels[..., :3], width)
    shown = colour.to_integers(colour.display(small, linear, channels, view), "uint8")
    return Picture(
        png.encode(shown[..., 0] if matte else shown), pixels.shape[1], pixels.shape[0], matte, step=step, device=device
    )


def _smaller(pixels: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The mean of each square of pixels, so that a picture is at most about ``width`` wide; edges are cut."""
    factor = -(-pixels.shape[1] // width) if width else 1
    factor = min(factor, pixels.shape[0], pixels.shape[1])
    if factor <= 1:
        return pixels
    rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
    squares = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, -1)
    mean: NDArray[np.float32] = squares.mean((1, 3), dtype=np.float32)
    return mean


def _stamp(path: Path) -> Stamp:
    """What changes when a file does; a movie's frame has its file's."""
    try:
        status = file_of(path).stat()
    except OSError as error:
        raise SequenceError(f"{path}: cannot be read: {error.strerror}") from None
    return str(path), status.st_mtime_ns, status.st_size


def _picture_bytes(picture: Picture) -> int:
    return len(picture.data)
