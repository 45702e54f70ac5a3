"""Applies a network to a frame, whole or in tiles with the same result.

Tile origins are multiples of the network's stride, and tiles overlap by its receptive field, so no blending is needed.
Origin top left, as in files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate
from copycat.data.clean_plate import Placement
from copycat.errors import CopycatError
from copycat.model.bad_pixels import BadPixels
from copycat.model.frames_in_flight import Encodings, FramesInFlight
from copycat.model.network import Network


class CancelledError(CopycatError):
    """The caller asked to stop."""


def tile_boxes(
    height: int, width: int, size: int, overlap: int, stride: int
) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]:
    """Cuts a frame into tiles.

    Args:
        height, width: of the frame.
        size: side of a tile with its overlap, at least ``2 * overlap + stride``.
        overlap: pixels that a tile reads beyond its own, a multiple of ``stride``.
        stride: tile origins are multiples of it.

    Yields:
        ``(own, read)``, each y0, x0, y1, x1: the pixels that the tile writes, and those that it reads.
    """
    own = max(stride, (size - 2 * overlap) // stride * stride)
    for y in range(0, height, own):
        for x in range(0, width, own):
            bottom, right = min(y + own, height), min(x + own, width)
            read = (
                max(0, y - overlap),
                max(0, x - overlap),
                min(height, bottom + overlap),
                min(width, right + overlap),
            )
            yield (y, x, bottom, right), read


@torch.inference_mode()
def render(
    network: Network,
    image: Tensor,
    encodings: tuple[ops.Encoding, ops.Encoding],
    *,
    tile_size: int = 0,
    tile_overlap: int = 0,
    placement: Placement | None = None,
    zero_bad_pixels: bool = False,
    cancel: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
    out: Tensor | None = None,
    flight: FramesInFlight | None = None,
) -> Tensor:
    """Applies a network to a frame.

    Args:
        network: on the device that computes.
        image: [C, H, W] values as in the file, on any device.
        encodings: of the input and of the target channels.
        tile_size: side of a tile with its overlap in pixels; 0 renders the frame whole.
        tile_overlap: pixels; raised to the network's receptive field.
        placement: of the image on the network's clean plate; by default the image is the whole frame. A clean plate
            that moves needs none: it is made for the image.
        zero_bad_pixels: how the network sees bad pixels, see `BadPixels.filled`.
        cancel: called before each tile; True stops.
        warn: called with a sentence that counts the bad pixels, if there are any.
        out: receives the result, [M, H, W] float32 of any strides. It may share the image's memory; then it is written
            after everything has been read.
        flight: takes the frame through a GPU while another is computed; without it, a frame is copied, computed and
            copied back.

    Returns:
        [M, H, W] float32 values as in the file: ``out``, else on the image's device.

    Raises:
        CancelledError: ``cancel`` returned True.
    """
    device = next(network.parameters()).device
    _, height, width = image.shape
    placement = placement or Placement()
    bad = BadPixels.find(image, encodings[0])
    source = bad.filled(image, zero_bad_pixels) if bad else image
    if bad and warn:
        warn(bad.sentence(zero_bad_pixels, placement.origin))
    overlap = max(network.receptive_field, -(-tile_overlap // network.stride) * network.stride)
    stride = network.stride
    whole = -(-max(height, width) // stride) * stride  # else its last columns would be a tile of their own
    size = max(tile_size, 2 * overlap + stride) if tile_size else whole + 2 * overlap
    boxes = list(tile_boxes(height, width, size, overlap, stride))
    # With several tiles, a result in the image's own memory would be read by the next tile.
    given = out if out is not None and (len(boxes) == 1 or not _share_memory(source, out)) else None
    plate = network.clean_plate
    if plate is not None:
        plate = clean_plate.under_picture(plate, (height, width), placement)
    if network.painted is not None:
        own = network.painted.plate(source, encodings[0], network.residual)
        plate = torch.from_numpy(own.planes).movedim(-1, 0)[None].to(device)
        if not own.sources and warn:
            warn("no painted frame could be aligned with it, so it is rendered without a Clean Plate")
    with flight.frame() if flight else nullcontext(_Here(device)) as frame:
        source = frame.readable(source)
        result = frame.writable((len(network.residual), height, width), given, image.device)
        for (y0, x0, y1, x1), (top, left, bottom, right) in boxes:
            if cancel and cancel():
                raise CancelledError("the render was cancelled")
            frame.tile(
                network,
                source[None, :, top:bottom, left:right],
                None if plate is None else plate[..., top:bottom, left:right],
                encodings,
                (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)),
                result[None, :, y0:y1, x0:x1],
            )
        frame.wait()
        if bad:
            bad.restore(result, network.residual)
        if out is None:
            # The buffers of a frame in flight are the next one's.
            return torch.empty(result.shape, device=image.device).copy_(result) if flight else result
        return result if result is out else out.copy_(result)


class _Here:
    """The way of a frame through a device that works for nobody else meanwhile; the methods of `Frame`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host = device if ops.runs_on(device) else torch.device("cpu")  # of the kernels

    def readable(self, image: Tensor) -> Tensor:
        return image

    def writable(self, shape: tuple[int, int, int], given: Tensor | None, home: torch.device) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=home) if given is None else given

    def tile(
        self,
        network: Network,
        source: Tensor,
        plate: Tensor | None,
        encodings: Encodings,
        inner: tuple[slice, slice],
        result: Tensor,
    ) -> None:
        pixels = ops.normalize(source.to(self._host), encodings[0]).to(self._device)
        output = network(pixels, plate).to(self._host)
        result[0] = ops.denormalize(output[:, :, inner[0], inner[1]], encodings[1])[0]

    def wait(self) -> None:
        """Nothing is on its way."""


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
