"""A trained model on a device, applied to images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from copycat.data import clean_plate
from copycat.data.devices import choose_device, free_memory, half_dtype, is_out_of_memory
from copycat.errors import CopycatError
from copycat.model import cat, tiles
from copycat.runs import model_file

_TILE_SIZES = (4096, 2048, 1024, 512, 256)

Image = TypeVar("Image", np.ndarray, Tensor)


class InferenceError(CopycatError):
    """An image does not fit a model, or there is no memory for it."""


class Model:
    """A .cat on a device, ready to be applied.

    Attributes:
        path: the .cat; header: what it says about itself.
        device, dtype: where and in which precision it computes.
        tile_size: the tile size last used because memory was short, 0 when whole frames fit.
    """

    def __init__(self, path: str | Path, device: torch.device, half_precision: bool = False) -> None:
        """Reads a .cat onto a device.

        Raises:
            cat.ModelFileError: the file cannot be read.
        """
        self.path = model_file(path)
        self.header, weights = cat.load(self.path)
        self.device = device
        self.dtype = half_dtype(device) if half_precision else torch.float32
        self.tile_size = 0
        network = self.header.network()
        network.load_state_dict(weights)
        plate = network.clean_plate
        self.network = network.to(device=device, dtype=self.dtype).eval().requires_grad_(False)
        if plate is not None:
            self.network.clean_plate = plate.to(device)  # it is seen in the result, so it keeps its own precision
        # Else the weights would be turned round in every frame.
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
        """Steps it was trained for."""
        return self.header.step

    def __call__(
        self,
        image: Image,
        *,
        tile_size: int = 0,
        tile_overlap: int = 0,
        cancel: Callable[[], bool] | None = None,
        warn: Callable[[str], None] | None = None,
        out: Image | None = None,
    ) -> Image:
        """Applies the model to an image.

        Args:
            image: values as in the file: numpy [H, W, C], or torch [C, H, W] or [B, C, H, W].
            tile_size: side of the tiles in pixels; 0 takes the whole frame where memory allows.
            tile_overlap: pixels; raised to what the network sees.
            cancel: asked before each tile whether to stop.
            warn: told when memory is short and smaller tiles are used.
            out: where the result goes: float32, of the image's kind, layout and size, with the output channels; it may
                be a part of the image itself.

        Returns:
            The result, float32, of the same kind and layout, with the output channels: ``out`` where it is given.

        Raises:
            InferenceError: the image has another number of channels, ``out`` does not fit, or there is no memory even
                for small tiles.
            tiles.CancelledError: ``cancel`` said so.
        """
        if isinstance(image, np.ndarray):
            planes = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).movedim(-1, 0)
            # The result comes in the order of its memory, so that nobody puts its numbers into another one.
            made = np.empty((*image.shape[:-1], len(self.channels_out)), np.float32) if out is None else out
            self._render(planes, tile_size, tile_overlap, cancel, warn, torch.from_numpy(made).movedim(-1, 0))
            return made
        if image.ndim == 4:
            targets: Iterable[Tensor | None] = [None] * len(image) if out is None else torch.as_tensor(out)
            frames = [
                self._render(frame, tile_size, tile_overlap, cancel, warn, target)
                for frame, target in zip(image, targets, strict=True)
            ]
            return torch.stack(frames) if out is None else out
        return self._render(image, tile_size, tile_overlap, cancel, warn, out)

    def _render(
        self,
        image: Tensor,
        tile_size: int,
        overlap: int,
        cancel: Callable[[], bool] | None,
        warn: Callable[[str], None] | None,
        out: Tensor | None,
    ) -> Tensor:
        channels = len(self.channels_in)
        if image.ndim != 3 or image.shape[0] != channels:
            raise InferenceError(
                f"{self.path}: the model takes {channels} channels ({','.join(self.channels_in)}), "
                f"the image is of shape {tuple(image.shape)}"
            )
        wanted = (len(self.channels_out), *image.shape[1:])
        if out is not None and (out.dtype != torch.float32 or tuple(out.shape) != wanted):
            raise InferenceError(
                f"{self.path}: the model makes {wanted} in float32, out is {tuple(out.shape)} in {out.dtype}"
            )
        height, width = image.shape[1:]
        if (known := self.header.plate_size) and not clean_plate.fits(known, (height, width)):
            raise InferenceError(
                f"{self.path}: the model knows the Clean Plate of a shot of {known[1]}x{known[0]}, the image is "
                f"{width}x{height}; a model for other framings is trained with Clean Plate Off"
            )
        encodings = (self.header.input_encoding, self.header.target_encoding)
        size = min(filter(None, (tile_size, self.tile_size)), default=0) or self._fitting_tile(image)
        while True:
            try:
                return tiles.render(
                    self.network, image, encodings, tile_size=size, tile_overlap=overlap, cancel=cancel, out=out
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = [s for s in _TILE_SIZES if s < (size or max(image.shape[1:]))]
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if not smaller:
                raise InferenceError(f"{self.path}: there is not enough memory for a tile of {_TILE_SIZES[-1]} pixels")
            size = self.tile_size = smaller[0]
            if warn:
                warn(f"memory is short: rendering in tiles of {size} pixels")

    def _fitting_tile(self, image: Tensor) -> int:
        """0 when the whole frame fits the memory of a CPU, which would rather kill the process than say no."""
        if self.device.type == "cuda":
            return 0
        budget = 0.6 * free_memory()
        whole = image.shape[1] * image.shape[2]
        if whole * self._bytes_per_pixel() < budget:
            return 0
        fitting = [s for s in _TILE_SIZES if s * s * self._bytes_per_pixel() < budget]
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
        device: ``cpu``, ``cuda:0`` ...; None takes the GPU where there is one.
        half_precision: compute in half precision.

    Raises:
        cat.ModelFileError: the file is missing, is no .cat, is Nuke's, or is of a newer format.
    """
    chosen = torch.device(device) if device is not None else choose_device(True)[0]
    return Model(path, chosen, half_precision)
