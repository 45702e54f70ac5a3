"""The painted frames that a model with a moving Clean Plate keeps in its .cat, as tensors of at most 85 MB.

For each frame ``painted.N.picture`` is an EXR file as bytes, with the file values in half and DWA compression, as lossy
as the limit needs; its channel A is 0 where the frame shows nothing. ``painted.N.points`` and ``painted.N.descriptors``
are its features (:class:`copycat.data.plate_alignment.Features`). ``painted.edit`` is what the work does to exposure
(:class:`copycat.data.exposure.Exposure`); a file without it leaves the exposure of its frames as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate, moving_plate, plate_alignment
from copycat.data.exposure import Exposure, Factors
from copycat.data.moving_plate import FramePlate, PaintedFrame
from copycat.data.plate_alignment import Features, View
from copycat.sequence import read_frame, read_info, write_frame

_MOST_BYTES = 85_000_000  # with the weights of Large less than 100 MB
_LEVELS = (20, 60, 150, 400)  # of DWA compression, the first that fits
_MOST_FRAMES = 64
_MOST_THREADS = 8  # each holds a frame in float32
_MOST_FEATURES = 1 << 16
_COVERAGE = "A"
_EDIT = "painted.edit"
_LARGEST_EDIT = 100.0  # a logarithm


class PaintedFrames:
    """The painted frames of a shot. Several threads may call `plate`.

    Attributes:
        frames: each frame's picture and view.
        encoding: of their channels.
        edit: what the work does to their exposure; None does not match it.
    """

    def __init__(self, frames: Sequence[PaintedFrame], encoding: ops.Encoding, edit: Factors | None = None) -> None:
        self.frames = tuple(frames)
        self.encoding = encoding
        self.edit = edit
        self._tensors: dict[str, Tensor] | None = None

    def plate(self, image: Tensor, encoding: ops.Encoding, residual: Sequence[int]) -> FramePlate:
        """Makes the clean plate of a frame or a part of one.

        Args:
            image: [C, H, W] values as in the file, finite, on any device.
            encoding: of its channels.
            residual: for each channel of the painted frames, the channel of the image that it starts from.
        """
        threads = min(torch.get_num_threads(), _MOST_THREADS)
        with plate_alignment.one_thread(), ThreadPoolExecutor(threads, "copycat-plate") as pool:
            values = clean_plate.normalised(image.cpu().movedim(0, -1), encoding)[..., list(residual)]
            exposure = None if self.edit is None else Exposure(values, self.encoding, self.edit)
            return moving_plate.plate_of(
                View.of(moving_plate.grey(values)), values.shape[:2], self.frames, exposure, pool
            )

    def tensors(self) -> dict[str, Tensor]:
        """The frames by name, as the module says; made once."""
        if self._tensors is None:
            self._tensors = self._stored()
        return self._tensors

    def _stored(self) -> dict[str, Tensor]:
        frames = self.frames
        while True:
            features = sum(
                frame.view.features.points.nbytes + frame.view.features.descriptors.nbytes for frame in frames
            )
            for level in _LEVELS:
                pictures = [_file(frame, self.encoding, level) for frame in frames]
                if sum(map(len, pictures)) + features <= _MOST_BYTES:
                    edit = {} if self.edit is None else {_EDIT: torch.from_numpy(self.edit).float()}
                    return {**_named(frames, pictures), **edit}
            frames = tuple(frames[i] for i in clean_plate.frames_of(len(frames), max(1, len(frames) // 2)))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], encoding: ops.Encoding) -> PaintedFrames:
        """The inverse of `tensors`.

        Raises:
            CopycatError: a picture cannot be read.
            KeyError, TypeError, ValueError: something does not fit.
        """
        frames = []
        count = sum(name.endswith(".picture") for name in tensors)
        if not 0 < count <= _MOST_FRAMES:
            raise ValueError(f"it has {count} painted frames")
        for index in range(count):
            picture, points, descriptors = (
                tensors[f"painted.{index}.{part}"] for part in ("picture", "points", "descriptors")
            )
            shapes = [list(points.shape), list(descriptors.shape)]
            most = len(points) if points.ndim else 0
            if shapes != [[most, 2], [most, plate_alignment.DESCRIPTOR]] or most > _MOST_FEATURES:
                raise ValueError(f"painted frame {index} has features of {shapes[0]} and {shapes[1]}")
            if (picture.dtype, points.dtype, descriptors.dtype) != (torch.uint8, torch.float32, torch.uint8):
                raise ValueError(f"painted frame {index} is of another type")
            if not points.isfinite().all():
                raise ValueError(f"painted frame {index} has features at no finite place")
            values, shown = _values(picture.numpy().tobytes(), encoding)
            features = Features(points.numpy(), descriptors.numpy())
            view = View.of(moving_plate.grey(values), shown, features)
            frames.append(PaintedFrame(values.astype(np.float16), shown, view))
        edit = tensors.get(_EDIT)
        if edit is None:
            return cls(frames, encoding)
        if edit.shape != (len(encoding.mean),) or not (edit.is_floating_point() and edit.abs().max() < _LARGEST_EDIT):
            raise ValueError("what it does to the exposure is no such thing")
        return cls(frames, encoding, edit.double().numpy())


def is_tensor_of_painted(name: str) -> bool:
    """Whether a tensor of a .cat belongs to its painted frames."""
    return name.startswith("painted.")


def _named(frames: Sequence[PaintedFrame], pictures: Sequence[bytes]) -> dict[str, Tensor]:
    tensors = {}
    for index, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        tensors[f"painted.{index}.picture"] = torch.frombuffer(bytearray(picture), dtype=torch.uint8)
        tensors[f"painted.{index}.points"] = torch.from_numpy(frame.view.features.points)
        tensors[f"painted.{index}.descriptors"] = torch.from_numpy(frame.view.features.descriptors)
    return tensors


def _channels(count: int) -> tuple[str, ...]:
    """Names under which the compression treats the channels as a picture's, not as data."""
    return ("R", "G", "B") if count == 3 else tuple(f"c{index}.Y" for index in range(count))


def _file(frame: PaintedFrame, encoding: ops.Encoding, level: int) -> bytes:
    """A painted frame as an EXR file."""
    planes = torch.from_numpy(frame.picture.astype(np.float32)).movedim(-1, 0)[None]
    values = ops.denormalize(planes, encoding)[0].movedim(0, -1).numpy()
    names = _channels(values.shape[-1])
    if frame.shown is not None:
        values = np.concatenate([values * frame.shown[..., None], frame.shown[..., None]], axis=-1)
        names = (*names, _COVERAGE)
    largest = float(np.finfo(np.float16).max)
    with tempfile.TemporaryDirectory(prefix="copycat-") as folder:
        path = Path(folder) / "painted.exr"
        pixels = np.clip(values, -largest, largest).astype(np.float32)
        write_frame(path, pixels, names, dtype="half", compression=f"dwaa:{level}")
        return path.read_bytes()


def _values(file: bytes, encoding: ops.Encoding) -> tuple[np.ndarray, NDArray[np.bool_] | None]:
    """[H, W, C] normalised values of an EXR file, and which of them count."""
    names = _channels(len(encoding.mean))
    with tempfile.TemporaryDirectory(prefix="copycat-") as folder:
        path = Path(folder) / "painted.exr"
        path.write_bytes(file)
        covered = read_info(path).find_channel(_COVERAGE) is not None
        pixels = read_frame(path, (*names, _COVERAGE) if covered else names).pixels
    if not np.isfinite(pixels).all():
        raise ValueError("a painted frame has values that are no finite numbers")
    depth = len(names)
    values = clean_plate.normalised(torch.from_numpy(np.ascontiguousarray(pixels[..., :depth])), encoding)
    return values, pixels[..., depth] > 0.5 if covered else None
