"""Frame pairs read into banks, in threads, each frame straight into its place.

A bank is one array ``[N, H, W, C]`` with the frames of all pairs, float16, or float32 where half cannot hold the files'
values, origin top left. Frames smaller than the largest lie in the top left corner.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from copycat import sequence
from copycat.data.alignment import moved, picture_shift
from copycat.data.devices import free_memory
from copycat.sequence.non_finite import without_non_finite
from copycat.sequence.pairs import DatasetError, FramePair
from copycat.settings.tables import Settings

_READERS = max(2, min(8, os.cpu_count() or 2))
_SMALLEST_FRAME = 16

Bank = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
PairObserver = Callable[[Path, Path, Bank, Bank, bool], None]
"""Called with the files of Input and Ground Truth, their valid pixels, and whether the mask is empty."""


@dataclass(frozen=True, eq=False)
class FrameBanks:
    """The frames of a training as they were read.

    Attributes:
        input, target: [N, H, W, C].
        mask: [N, H, W, 1] weights, or None.
        valid: [N, 4] int32: x0, y0, x1, y1 (half open) of each frame's pixels.
        sizes: width and height of each frame.
        input_channels, target_channels: full names.
        input_linear, target_linear: whether the first frames are scene-linear.
        data_hash: SHA-256 over the frames as read.
        warnings: what the user should know, one sentence each.
    """

    input: Bank
    target: Bank
    mask: Bank | None
    valid: np.ndarray
    sizes: tuple[tuple[int, int], ...]
    input_channels: tuple[str, ...]
    target_channels: tuple[str, ...]
    input_linear: bool
    target_linear: bool
    data_hash: str
    warnings: tuple[str, ...]


def read_banks(
    pairs: Sequence[FramePair],
    settings: Settings,
    *,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: PairObserver | None = None,
) -> FrameBanks:
    """Reads all pairs.

    Args:
        pairs: what to read.
        settings: channels, bank, mask, non-finite, alignment.
        directory: where a bank on disk is kept (an unnamed file), by default the system's temporary directory.
        progress: called with frames read and their number.
        observe: called with each pair.

    Raises:
        DatasetError: sizes or channels do not fit, or there are pixels that are not finite.
        sequence.SequenceError: a file cannot be read or lacks a channel.
    """
    reader = _Reader(pairs, settings, directory, observe)
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for done, _ in enumerate(pool.map(reader.read, range(len(pairs))), 1):
                if progress:
                    progress(done, len(pairs))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # whoever stops, or fails, does not wait for the frames not yet begun
            raise
    return reader.banks()


class _Reader:
    """Reads one pair after another, or many at a time: each has places of its own in the arrays and lists."""

    def __init__(
        self, pairs: Sequence[FramePair], settings: Settings, directory: Path | None, observe: PairObserver | None
    ) -> None:
        """Reads the headers, and makes room."""
        self._pairs = pairs
        self._settings = settings
        self._observe = observe
        infos = [sequence.read_info(pair.input) for pair in pairs]
        target_infos = [sequence.read_info(pair.ground_truth) for pair in pairs]
        _check_sizes(pairs, infos, target_infos)
        self._infos = infos
        self._linear = infos[0].linear, target_infos[0].linear
        self._channels = (
            sequence.resolve_channels(settings.input_channels, infos[0]),
            sequence.resolve_channels(settings.ground_truth_channels, target_infos[0]),
        )
        if settings.align_ground_truth and self._channels[0] != self._channels[1]:
            names = " and ".join(",".join(channels) for channels in self._channels)
            raise DatasetError(
                f"{pairs[0].ground_truth}: Align Ground Truth compares it with the Input, so both need the same "
                f"channels, not {names}"
            )
        shape = len(pairs), max(info.height for info in infos), max(info.width for info in infos)
        wanted = {
            "input": ((*shape, len(self._channels[0])), _bank_dtype(infos)),
            "target": ((*shape, len(self._channels[1])), _bank_dtype(target_infos)),
        }
        if settings.mask_channel or any(pair.mask for pair in pairs) or settings.non_finite == "Mask":
            wanted["mask"] = ((*shape, 1), np.dtype(np.float16))
        on_disk = _on_disk(settings.bank, sum(math.prod(shape) * dtype.itemsize for shape, dtype in wanted.values()))
        self._banks = {name: _allocate(*kind, on_disk, directory) for name, kind in wanted.items()}
        self._valid = np.zeros((len(pairs), 4), np.int32)
        self._digests = [b""] * len(pairs)
        self._bad = [""] * len(pairs)
        self._moves = [""] * len(pairs)

    def read(self, index: int) -> None:
        """Reads a pair into its place."""
        pair, info = self._pairs[index], self._infos[index]
        place = {name: bank[index, : info.height, : info.width] for name, bank in self._banks.items()}
        source = sequence.read_frame(pair.input, self._channels[0], out=place["input"])
        target = sequence.read_frame(pair.ground_truth, self._channels[1], out=place["target"])
        x0, y0 = np.maximum(source.valid[:2], target.valid[:2])
        x1, y1 = np.minimum(source.valid[2:], target.valid[2:])
        if min(x1 - x0, y1 - y0) < _SMALLEST_FRAME:
            raise DatasetError(f"{pair.ground_truth}: its data window hardly meets that of the Input {pair.input.name}")
        self._valid[index] = x0, y0, x1, y1
        digest = hashlib.sha256()
        for name in ("input", "target"):
            digest.update(np.ascontiguousarray(place[name]).view(np.uint8).data)
        self._digests[index] = digest.digest()
        if "mask" in place:
            finite = [np.isfinite(place[name]).all(axis=-1, keepdims=True) for name in ("input", "target")]
            place["mask"][...] = _mask(pair, self._settings, info) * finite[0] * finite[1]
        for name, file in (("input", pair.input), ("target", pair.ground_truth)):
            if said := without_non_finite(place[name], 0, 0):
                self._bad[index] = f"{file}: {said}"
        if self._settings.align_ground_truth:
            self._align(index, place)
        if self._observe:
            x0, y0, x1, y1 = self._valid[index]
            source_part, target_part = (place[name][y0:y1, x0:x1] for name in ("input", "target"))
            empty_mask = bool(pair.mask or self._settings.mask_channel) and not place["mask"].any()
            self._observe(pair.input, pair.ground_truth, source_part, target_part, empty_mask)

    def _align(self, index: int, place: dict[str, Bank]) -> None:
        """Moves a Ground Truth back that lies beside its Input."""
        x0, y0, x1, y1 = self._valid[index]
        source, target = (place[name][y0:y1, x0:x1] for name in ("input", "target"))
        wanted = target.astype(np.float32)
        shift = picture_shift(source.astype(np.float32), wanted)
        if not shift:
            return
        target[...] = moved(wanted, -shift.dx, -shift.dy)
        name = self._pairs[index].ground_truth
        self._moves[index] = f"{name}: moved back by {shift.dx:+.2f} pixels in x, {shift.dy:+.2f} in y"
        # What came in over the edge is not data.
        edge = math.ceil(max(abs(shift.dx), abs(shift.dy)))
        if min(x1 - x0, y1 - y0) - 2 * edge >= _SMALLEST_FRAME:
            self._valid[index] = x0 + edge, y0 + edge, x1 - edge, y1 - edge

    def banks(self) -> FrameBanks:
        """What was read, when all pairs are; raises DatasetError where pixels are not finite and must be."""
        bad = [sentence for sentence in self._bad if sentence]
        if bad and self._settings.non_finite == "Error":
            raise DatasetError(f"{bad[0]}; repair the frame, or set Non-Finite Pixels to Mask to leave them out")
        return FrameBanks(
            input=self._banks["input"],
            target=self._banks["target"],
            mask=self._banks.get("mask"),
            valid=self._valid,
            sizes=tuple((info.width, info.height) for info in self._infos),
            input_channels=self._channels[0],
            target_channels=self._channels[1],
            input_linear=self._linear[0],
            target_linear=self._linear[1],
            data_hash=hashlib.sha256(b"".join(self._digests)).hexdigest(),
            warnings=(*bad, *filter(None, self._moves)),
        )


def _check_sizes(
    pairs: Sequence[FramePair], infos: Sequence[sequence.FrameInfo], target_infos: Sequence[sequence.FrameInfo]
) -> None:
    for pair, a, b in zip(pairs, infos, target_infos, strict=True):
        if (a.width, a.height) != (b.width, b.height):
            raise DatasetError(
                f"{pair.ground_truth}: the Ground Truth is {b.width}x{b.height}, "
                f"its Input {pair.input.name} is {a.width}x{a.height}"
            )
        if min(a.width, a.height) < _SMALLEST_FRAME:
            raise DatasetError(f"{pair.input}: {a.width}x{a.height} is too small to train on; 16x16 is the least")


def _bank_dtype(infos: Sequence[sequence.FrameInfo]) -> np.dtype[np.floating]:
    """Half where it holds what the files hold: 8 bits and half itself."""
    narrow = all(info.dtype in ("half", "uint8") for info in infos)
    return np.dtype(np.float16 if narrow else np.float32)


def _on_disk(bank: str, size: int) -> bool:
    """Whether banks of ``size`` bytes are kept in a file; raises DatasetError where memory was asked for in vain."""
    free = free_memory()
    if bank == "host" and size > free:
        raise DatasetError(
            f"the data set needs {size / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; set Bank to auto or "
            "disk, or train on fewer frames"
        )
    return bank == "disk" or (bank != "host" and size > 0.6 * free)


def _allocate(shape: tuple[int, ...], dtype: np.dtype[np.floating], on_disk: bool, directory: Path | None) -> Bank:
    """Zeroed array in memory, or in a file that goes away with the process."""
    if not on_disk:
        return np.zeros(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    try:
        with tempfile.TemporaryFile(dir=directory) as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
            return np.memmap(stream, dtype, "r+", shape=shape)
    except OSError as error:
        raise DatasetError(
            f"{directory or tempfile.gettempdir()}: no room for the data set of {size / 1e9:.1f} GB: {error.strerror}"
        ) from error


def _mask(pair: FramePair, settings: Settings, info: sequence.FrameInfo) -> np.ndarray:
    """[H, W, 1] loss weights of a frame: ones, the mask sequence's first channel, or the mask channel."""
    if pair.mask is not None:
        mask_info = sequence.read_info(pair.mask)
        if (mask_info.width, mask_info.height) != (info.width, info.height):
            raise DatasetError(
                f"{pair.mask}: the mask is {mask_info.width}x{mask_info.height}, "
                f"its Input {pair.input.name} is {info.width}x{info.height}"
            )
        channel = settings.mask_channel or mask_info.channels[0]
        return sequence.read_frame(pair.mask, [channel], np.float32).pixels
    if settings.mask_channel:
        return sequence.read_frame(pair.ground_truth, [settings.mask_channel], np.float32).pixels
    return np.ones((info.height, info.width, 1), np.float16)
