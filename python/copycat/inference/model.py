"""A trained model on a device, applied to images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate
from copycat.data.clean_plate import Placement
from copycat.data.devices import automatic, choose_device, half_dtype, is_out_of_memory
from copycat.data.host_memory import HostMemory
from copycat.errors import CopycatError
from copycat.machine import free_memory
from copycat.model import cat, tiles
from copycat.model.frames_in_flight import MOST_FRAMES, flight_for
from copycat.runs import model_file
from copycat.sequence.colour import from_integers
from copycat.settings.tables import InferenceSettings

_TILE_SIZES = (4096, 2048, 1024, 512, 256)
_INTEGERS = ("uint8", "uint16")  # whose largest value means 1

Image = TypeVar("Image", np.ndarray, Tensor)


class InferenceError(CopycatError):
    """An image does not fit a model, or there is no memory for it."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    """How an image is rendered; the arguments of :meth:`Model.__call__`."""

    tile_size: int
    tile_overlap: int
    placement: Placement
    cancel: Callable[[], bool] | None
    warn: Callable[[str], None]


class Model:
    """A .cat on a device, ready to be applied. As many threads at a time as `frames_in_flight` says.

    Attributes:
        path: the .cat.
        header: the .cat's header.
        device: where it computes.
        dtype: precision in which it computes.
        tile_size: the tile size used since memory ran short; 0 while whole frames fit.
    """

    def __init__(self, path: str | Path, device: torch.device, half_precision: bool = False) -> None:
        """Reads a .cat onto a device.

        Raises:
            cat.ModelFileError: the file cannot be read.
        """
        self.path = model_file(os.path.expanduser(path))
        self.header, weights = cat.load(self.path)
        self.device = device
        self.dtype = half_dtype(device) if half_precision else torch.float32
        self.tile_size = 0
        network = self.header.network()
        network.load_state_dict(weights)
        plate = network.clean_plate
        self.network = network.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        self.network.painted = cat.load_painted(self.path, self.header)
        if plate is not None:
            self.network.clean_plate = plate.to(device)  # shows in the result, so it keeps its own precision
        self._flight = flight_for(device)
        # Channels-first weights would be reordered for every frame.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs

    @property
    def channels_in(self) -> tuple[str, ...]:
        """Names of the input channels in order."""
        return self.header.channels_in

    @property
    def channels_out(self) -> tuple[str, ...]:
        """Names of the output channels in order."""
        return self.header.channels_out

    @property
    def step(self) -> int:
        """Training steps."""
        return self.header.step

    @property
    def frames_in_flight(self) -> int:
        """How many frames to render at a time, each in a thread of its own, for the device to be always busy."""
        return MOST_FRAMES if self._flight else 1

    def share(self, memory: HostMemory) -> None:
        """Lets a GPU read and write memory that images lie in, without copies."""
        if self._flight:
            memory.pin(self.device)

    def __call__(
        self,
        image: Image,
        *,
        tile_size: int = 0,
        tile_overlap: int = 0,
        origin: tuple[int, int] = (0, 0),
        format: tuple[int, int] | None = None,
        scale: float | None = None,
        bounds: tuple[int, int, int, int] | None = None,
        cancel: Callable[[], bool] | None = None,
        warn: Callable[[str], None] | None = None,
        out: Image | None = None,
    ) -> Image:
        """Applies the model to an image.

        Pixels that are NaN, infinite or too large are hidden from the network, which sees their neighbours instead
        (0 if it was trained with Non-Finite Pixels: Mask). An output channel that the Input has too keeps them.

        Args:
            image: numpy [H, W, C], or torch [C, H, W] or [B, C, H, W]. Floating point: values as in the file. uint8 and
                uint16: 0 to the largest integer means 0 to 1, as in files.
            tile_size: side of the tiles in pixels; 0 renders the whole frame if memory allows.
            tile_overlap: pixels; raised to the network's receptive field.
            origin: x, y of the image's top left pixel in the frame that it was cut from. A model with a Clean Plate
                needs it.
            format: width and height of that frame, in pixels of the image; by default the image is the whole frame.
            scale: render scale of the image, if known. A frame of exactly 1/2 or 1/4 of the training frames counts as a
                proxy without it.
            bounds: in place of ``origin`` and ``format``, x1, y1, x2, y2 of the image in a compositing host's pixels,
                origin bottom left.
            cancel: called before each tile; True stops.
            warn: called with a sentence when memory is short, or when the image has pixels that are not finite.
            out: receives the result: float32, of the image's kind, layout and size, with the output channels. It may
                share the image's memory.

        Returns:
            The result, float32, of the same kind and layout, with the output channels: ``out`` if given.

        Raises:
            InferenceError: the image has other channels or a dtype that is no picture's, cannot be placed on the
                Clean Plate, ``out`` does not fit, or memory does not even hold small tiles.
            tiles.CancelledError: ``cancel`` returned True.
        """
        options = _Options(
            tile_size=tile_size,
            tile_overlap=tile_overlap,
            placement=self._placement(Placement(origin=origin, format=format, scale=scale), bounds),
            cancel=cancel,
            warn=warn or _ignore,
        )
        if isinstance(image, np.ndarray):
            planes = torch.from_numpy(self._values(image)).movedim(-1, 0)
            # Allocated in the layout of the result, which so is never transposed.
            result = np.empty((*image.shape[:-1], len(self.channels_out)), np.float32) if out is None else out
            self._render(planes, torch.from_numpy(result).movedim(-1, 0), options)
            return result
        values = self._planes(image)
        if image.ndim != 4:
            return self._render(values, out, options)
        targets: Iterable[Tensor | None] = [None] * len(image) if out is None else torch.as_tensor(out)
        frames = [self._render(frame, target, options) for frame, target in zip(values, targets, strict=True)]
        return torch.stack(frames) if out is None else out

    def _placement(self, given: Placement, bounds: tuple[int, int, int, int] | None) -> Placement:
        if bounds is None or not self.header.plate_size or self.header.plate != "still":
            return given
        try:
            return clean_plate.placement_in_host(self.header.plate_size, bounds, given.scale)
        except clean_plate.PlacementError as error:
            raise InferenceError(f"{self.path}: {error}") from None

    def _values(self, image: np.ndarray) -> np.ndarray:
        """[H, W, C] as in a file, float32, contiguous and writable as torch wants it; the same memory if possible."""
        if image.dtype.kind != "f" and image.dtype.name not in _INTEGERS:
            raise self._wrong_dtype(image.dtype)
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and so a bad pixel
            return np.require(from_integers(image), np.float32, ("C", "W"))

    def _planes(self, image: Tensor) -> Tensor:
        """[..., C, H, W] as in a file, float32; the same memory if possible."""
        name = str(image.dtype).removeprefix("torch.")
        if not image.dtype.is_floating_point and name not in _INTEGERS:
            raise self._wrong_dtype(name)
        values = image.to(torch.float32)
        return values if image.dtype.is_floating_point else values / torch.iinfo(image.dtype).max

    def _wrong_dtype(self, name: object) -> InferenceError:
        return InferenceError(
            f"{self.path}: the image is {name}; a picture is floating point with values as in the file, or uint8 or "
            "uint16, whose largest integer means 1"
        )

    def _render(self, image: Tensor, out: Tensor | None, options: _Options) -> Tensor:
        """[C, H, W] float -> [M, H, W], in smaller tiles when memory runs short."""
        self._check(image, out, options.placement)
        size = min(filter(None, (options.tile_size, self.tile_size)), default=0) or self._fitting_tile(image)
        warn = options.warn
        while True:
            try:
                return tiles.render(
                    self.network,
                    image,
                    (self.header.input_encoding, self.header.target_encoding),
                    tile_size=size,
                    tile_overlap=options.tile_overlap,
                    placement=options.placement,
                    zero_bad_pixels=self.header.saw_bad_pixels,
                    cancel=options.cancel,
                    warn=warn,
                    out=out,
                    flight=self._flight,
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            smaller = [side for side in _TILE_SIZES if side < (size or max(image.shape[1:]))]
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if not smaller:
                raise InferenceError(f"{self.path}: there is not enough memory for a tile of {_TILE_SIZES[-1]} pixels")
            size = self.tile_size = smaller[0]
            warn = _ignore  # the bad pixels have been counted
            options.warn(f"memory is short: rendering in tiles of {size} pixels")

    def _check(self, image: Tensor, out: Tensor | None, placement: Placement) -> None:
        channels = len(self.channels_in)
        if image.ndim != 3 or image.shape[0] != channels or not image.numel():
            raise InferenceError(
                f"{self.path}: the model takes {channels} channels ({','.join(self.channels_in)}), "
                f"the image is of shape {tuple(image.shape)}"
            )
        needed = (len(self.channels_out), *image.shape[1:])
        if out is not None and (out.dtype != torch.float32 or tuple(out.shape) != needed):
            raise InferenceError(
                f"{self.path}: the model makes {needed} in float32, out is {tuple(out.shape)} in {out.dtype}"
            )
        if self.header.plate_size and self.header.plate == "still":
            try:
                clean_plate.check_placement(self.header.plate_size, (image.shape[1], image.shape[2]), placement)
            except clean_plate.PlacementError as error:
                raise InferenceError(f"{self.path}: {error}") from None

    def _fitting_tile(self, image: Tensor) -> int:
        """0 if the whole frame fits; without this a CPU's system would kill the process rather than refuse memory."""
        if self.device.type == "cuda":
            return 0
        budget = 0.6 * free_memory()
        whole = image.shape[1] * image.shape[2]
        if whole * self._bytes_per_pixel() < budget:
            return 0
        fitting = [side for side in _TILE_SIZES if side * side * self._bytes_per_pixel() < budget]
        return fitting[0] if fitting else _TILE_SIZES[-1]

    def _bytes_per_pixel(self) -> float:
        # At half resolution a block holds its input, the gate's two halves, their product and a projection: about
        # eight times the width, measured with the peak of a whole frame.
        width = self.network.row.width
        return 10 * width / 4 * self.dtype.itemsize + 8 * (len(self.channels_in) + len(self.channels_out))


def load(path: str | Path, device: str | torch.device | None = None, half_precision: bool = False) -> Model:
    """Reads a .cat.

    Args:
        path: the file; or a run (``directory/name``) or a Data Directory, for its newest checkpoint.
        device: ``cpu``, ``cuda``, ``cuda:0`` ..., or ``gpu``; None takes the GPU if there is one.
        half_precision: compute in half precision.

    Raises:
        cat.ModelFileError: the file is missing, is no .cat, is Nuke's, or is of a newer format.
        InferenceError: this machine has no such device.
    """
    return Model(path, choose_device(True)[0] if device is None else _device(device), half_precision)


def model_for(
    model: Model | str | Path,
    settings: InferenceSettings,
    warn: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Model:
    """The model itself, or a .cat read onto the device and in the precision that the settings ask for.

    ``note`` is called with a sentence that says which device Auto chose.

    Raises:
        cat.ModelFileError: see :func:`load`.
    """
    if isinstance(model, Model):
        return model
    device, warning = choose_device(settings.use_gpu_if_available, settings.gpu_index)
    if warning and warn:
        warn(warning)
    if note and settings.use_gpu_if_available and settings.gpu_index == "Auto":
        note(f"Auto: renders on {automatic(device)}")
    return Model(model, device, settings.half_precision)


def _device(name: str | torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() and ops.cuda_available() else 0
    devices = ["cpu", *(["cuda", "gpu", *(f"cuda:{index}" for index in range(count))] if count else [])]
    if str(name).lower() not in devices:
        raise InferenceError(f"there is no device {str(name)!r}; this machine has {', '.join(devices)}")
    return torch.device(str(name).lower().replace("gpu", "cuda"))


def _ignore(_sentence: str) -> None:
    """Ignores a warning."""
