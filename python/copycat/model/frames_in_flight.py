"""Frames on their way through a GPU: while one is computed, another is copied to the GPU or back.

Each frame has a thread of its own, which reads from top to bottom what happens to it; the device's streams and the two
places for frames are shared. The kernels that encode pixels read the host's memory themselves, and those that decode
the results write it, so there is no copy besides. What is not pinned goes through a pinned buffer of its place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from copycat import ops
from copycat.data.host_memory import HostMemory

MOST_FRAMES = 2
# Tiles of a frame that are launched before the first of them is done, so that cancelling does not come too late.
_TILES_AHEAD = 2
_FIRST = -1  # priority of a stream: its few blocks do not wait behind those of a convolution

Encodings = tuple[ops.Encoding, ops.Encoding]


def flight_for(device: torch.device) -> FramesInFlight | None:
    """Takes frames through a GPU; None for another device, which computes what lies in the host's memory."""
    return FramesInFlight(device) if device.type == "cuda" else None


class FramesInFlight:
    """At most two frames on a device. Any thread."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        """``cuda`` is torch's module, or a test's stand-in for it."""
        self.device = device
        self.cuda = cuda
        self.coming, self.going = (cuda.Stream(device, priority=_FIRST) for _ in range(2))
        # Two networks' intermediate results at a time would take twice the memory.
        self.turn = threading.Lock()
        self._slots: SimpleQueue[_Slot] = SimpleQueue()
        for _ in range(MOST_FRAMES):
            self._slots.put(_Slot(device))

    @contextmanager
    def frame(self) -> Iterator[Frame]:
        """Waits until fewer than two frames are in flight; at the end the device is done with this one."""
        slot = self._slots.get()
        try:
            frame = Frame(self, slot)
            try:
                yield frame
            finally:
                frame.wait()
        finally:
            self._slots.put(slot)


class _Slot:
    """The buffers of a frame in flight, kept for the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, HostMemory] = {}

    def buffer(self, name: str, height: int, width: int, channels: int) -> Tensor | None:
        """[C, H, W] float32 in pinned memory; None where there is none to be had."""
        count = channels * height * width
        memory = self._buffers.get(name)
        if memory is None or len(memory) < 4 * count:
            self._buffers.pop(name, None)
            memory = None  # before the next takes its room
            try:
                memory = HostMemory(-1, 4 * count)
            except OSError:
                return None
            if not memory.pin(self._device):
                return None
            self._buffers[name] = memory
        return torch.frombuffer(memory, dtype=torch.float32, count=count).view(height, width, channels).movedim(-1, 0)


class Frame:
    """A frame in flight. For the thread that renders it."""

    def __init__(self, flight: FramesInFlight, slot: _Slot) -> None:
        self._flight = flight
        self._slot = slot
        self._running: deque[tuple[Any, ...]] = deque()  # an event, and what the device uses until then
        # The picture may be the result of what the caller has launched.
        flight.coming.wait_stream(flight.cuda.current_stream(flight.device))
        flight.going.wait_stream(flight.cuda.current_stream(flight.device))

    def readable(self, image: Tensor) -> Tensor:
        """The image [C, H, W] float32 where the device reads it: itself, or a copy."""
        if self._is_within_reach(image):
            return image
        channels, height, width = image.shape
        buffer = self._slot.buffer("image", height, width, channels)
        return image.to(self._flight.device) if buffer is None else buffer.copy_(image)

    def writable(self, shape: tuple[int, int, int], given: Tensor | None, home: torch.device) -> Tensor:
        """Where the device writes a result [M, H, W] that goes to ``home``: ``given`` if it can, else its own."""
        if given is not None and self._is_within_reach(given):
            return given
        channels, height, width = shape
        buffer = None if home.type == "cuda" else self._slot.buffer("result", height, width, channels)
        return torch.empty(shape, device=self._flight.device) if buffer is None else buffer

    def tile(
        self,
        network: Callable[[Tensor, Tensor | None], Tensor],
        source: Tensor,
        plate: Tensor | None,
        encodings: Encodings,
        inner: tuple[slice, slice],
        result: Tensor,
    ) -> None:
        """Launches a tile, and waits for one before it if too many are on their way.

        Args:
            network: takes encoded pixels and ``plate``.
            source: [1, C, h, w], of `readable`.
            plate: the clean plate under it, on the device.
            encodings: of the pixels and of the results.
            inner: rows and columns of the network's result that are wanted.
            result: receives them, [1, M, h', w'], of `writable`. Nobody may read it before `wait`.
        """
        while len(self._running) >= _TILES_AHEAD:
            self._running.popleft()[0].synchronize()
        flight, cuda = self._flight, self._flight.cuda
        with cuda.device(flight.device):
            try:
                with cuda.stream(flight.coming):
                    pixels = ops.normalize(source, encodings[0], device=flight.device)
                arrived = self._mark(flight.coming)
                with flight.turn:
                    stream = cuda.current_stream(flight.device)
                    stream.wait_event(arrived)
                    with cuda.stream(stream):
                        output = network(pixels, plate)
                    computed = self._mark(stream)
                flight.going.wait_event(computed)
                with cuda.stream(flight.going):
                    ops.denormalize_into(output[:, :, inner[0], inner[1]], encodings[1], result)
            except BaseException:
                self._running.append((self._mark(flight.coming),))  # it may still read the source
                raise
            self._running.append((self._mark(flight.going), pixels, output))

    def wait(self) -> None:
        """Returns when the device is done with the frame."""
        while self._running:
            self._running.popleft()[0].synchronize()

    def _is_within_reach(self, tensor: Tensor) -> bool:
        return (tensor.is_cuda and tensor.device == self._flight.device) or is_pinned(tensor)

    def _mark(self, stream: Any) -> Any:
        event = self._flight.cuda.Event(blocking=True)
        event.record(stream)
        return event


def is_pinned(tensor: Tensor) -> bool:
    """Whether a GPU reads and writes a tensor's memory in place."""
    return tensor.is_pinned()
