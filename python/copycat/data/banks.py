"""Reads the frames of all pairs into banks, in threads.

A bank is an array ``[N, H, W, C]``, origin top left, with smaller frames in the top left corner. It is 8 bits where all
files are, half where half holds the files' values, else float32.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from copycat import system_files
from copycat.data.alignment import moved, moved_weights, picture_shift
from copycat.data.frames import (
    SMALLEST_FRAME,
    BadPixels,
    PairChannels,
    PairHeaders,
    PairPixels,
    Pixels,
    as_float,
    check_headers,
    choose_channels,
    common_window,
    leave_out_unusable,
    read_headers,
    read_pair,
)
from copycat.errors import CopycatError
from copycat.machine import free_memory, usable_cores
from copycat.sequence import FrameInfo, format_frames
from copycat.sequence.pairs import DatasetError, FramePair
from copycat.settings.tables import Settings

_T = TypeVar("_T")
_READERS = max(2, min(8, usable_cores()))

Bank = np.ndarray[tuple[int, ...], np.dtype[Any]]
PairObserver = Callable[[Path, Path, Pixels, Pixels, bool], None]
"""Called with the files of Input and Ground Truth, their valid pixels, and whether the mask is empty."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameBanks:
    """The frames of a training as they were read.

    Attributes:
        input, target: [N, H, W, C]; uint8 where 255 stands for 1, float16 or float32.
        mask: [N, H, W, 1] float16 weights of the loss, or None.
        valid: [N, 4] int32: x0, y0, x1, y1 (half open) of each frame's pixels.
        sizes: width and height of each frame.
        input_channels, target_channels: full names.
        input_linear, target_linear: whether the first frames are scene-linear.
        data_hash: SHA-256 over the frames as read.
        fingerprints: of each pair's pixels and mask weights, hexadecimal.
        warnings: sentences for the user.
        channels, headers, notes: what the reading of other pairs into the same banks starts from.
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
    fingerprints: tuple[str, ...]
    warnings: tuple[str, ...]
    channels: PairChannels
    headers: tuple[PairHeaders, ...]
    notes: tuple[_PairNotes, ...]


def read_banks(
    pairs: Sequence[FramePair],
    settings: Settings,
    *,
    directory: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: PairObserver | None = None,
    before: FrameBanks | None = None,
    kept: Mapping[int, int] = MappingProxyType({}),
    failures: dict[int, CopycatError] | None = None,
) -> FrameBanks:
    """Reads all pairs.

    Args:
        pairs: the files.
        settings: channels, bank, mask, matte, non-finite pixels, alignment.
        directory: where a bank on disk is kept (an unnamed file), by default the system's temporary directory.
        progress: called with the number of pairs read and of all pairs.
        observe: called with each pair, from several threads.
        before: banks of the same channels from which pairs are taken over.
        kept: the pairs that are taken over: their index, and their index in ``before``.
        failures: where the error of a pair is left, by its index; None raises the first. The banks are then useless.

    Raises:
        DatasetError: sizes or channels do not fit, there are pixels that are not finite, or masks exclude everything.
        sequence.SequenceError: a file cannot be read or lacks a channel.
    """

    def attempt(work: Callable[[int], _T]) -> Callable[[int], _T | None]:
        def call(index: int) -> _T | None:
            try:
                return work(index)
            except CopycatError as error:
                if failures is None:
                    raise
                failures[index] = error
                return None

        return call

    def header_of(index: int) -> PairHeaders:
        if before and index in kept:
            return before.headers[kept[index]]
        header = read_headers(pairs[index])
        if before:
            check_headers(pairs[index], header, before.channels)
        return header

    with ThreadPoolExecutor(_READERS, "copycat-read") as pool:
        try:
            found = list(pool.map(attempt(header_of), range(len(pairs))))
            headers = [header for header in found if header is not None]
            if len(headers) < len(pairs):
                raise DatasetError("some of the frame pairs cannot be read")
            channels = before.channels if before else choose_channels(settings, headers[0])
            if not before:
                for pair, header in zip(pairs, headers, strict=True):
                    check_headers(pair, header, channels)
            reader = _Reader(pairs, headers, channels, settings, directory, observe)
            if before:
                kept = reader.take_over(before, kept)
            unread = [index for index in range(len(pairs)) if index not in kept]
            for done, _ in enumerate(pool.map(attempt(reader.read), unread), 1):
                if progress:
                    progress(done, len(unread))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # frames that no thread has started are dropped
            raise
    return reader.banks()


@dataclass
class _PairNotes:
    """What the reading of a pair leaves for the summary of all."""

    digest: bytes = b""
    fingerprint: str = ""
    bad: list[BadPixels] = field(default_factory=list)
    clamped: list[str] = field(default_factory=list)
    moved: str = ""


class _Reader:
    """Reads pairs into the banks. Several threads may call :meth:`read`, each with another index."""

    def __init__(
        self,
        pairs: Sequence[FramePair],
        headers: Sequence[PairHeaders],
        channels: PairChannels,
        settings: Settings,
        directory: Path | None,
        observe: PairObserver | None,
    ) -> None:
        """Allocates the banks."""
        if settings.align_ground_truth and channels.input != channels.target:
            names = " and ".join(",".join(names) for names in (channels.input, channels.target))
            raise DatasetError(
                f"{pairs[0].ground_truth}: Align Ground Truth compares it with the Input, so both need the same "
                f"channels, not {names}"
            )
        self._pairs, self._headers, self._channels = pairs, headers, channels
        self._settings = settings
        self._observe = observe
        self._masked = bool(channels.mask or any(pair.mask for pair in pairs))
        inputs, targets = [header.input for header in headers], [header.target for header in headers]
        shape = len(pairs), max(info.height for info in inputs), max(info.width for info in inputs)
        kinds = {
            "input": ((*shape, len(channels.input)), _bank_dtype(inputs)),
            # A moved Ground Truth has values between those of 8 bits.
            "target": ((*shape, len(channels.target)), _bank_dtype(targets, settings.align_ground_truth)),
        }
        if self._masked or settings.non_finite == "Mask":
            kinds["mask"] = ((*shape, 1), np.dtype(np.float16))
        on_disk = lies_on_disk(settings.bank, sum(math.prod(size) * dtype.itemsize for size, dtype in kinds.values()))
        self._banks = {name: allocate(*kind, on_disk, directory) for name, kind in kinds.items()}
        self._valid = np.zeros((len(pairs), 4), np.int32)
        self._notes = [_PairNotes() for _ in pairs]

    def take_over(self, before: FrameBanks, kept: Mapping[int, int]) -> Mapping[int, int]:
        """Copies pairs from other banks; returns those that were copied: none, if values would be rounded again."""
        if any(bank.dtype != getattr(before, name).dtype for name, bank in self._banks.items() if name != "mask"):
            return {}
        for index, old in kept.items():
            height, width = self._headers[index].input.height, self._headers[index].input.width
            for name, bank in self._banks.items():
                source = getattr(before, name)
                bank[index, :height, :width] = 1 if source is None else source[old, :height, :width]
            self._valid[index], self._notes[index] = before.valid[old], before.notes[old]
        return kept

    def read(self, index: int) -> None:
        """Reads a pair into the banks; raises DatasetError for pixels that are not finite, unless they are masked."""
        pair, header, notes = self._pairs[index], self._headers[index], self._notes[index]
        size = header.input.height, header.input.width
        views = {name: bank[index, : size[0], : size[1]] for name, bank in self._banks.items()}
        valid = common_window(pair, header, self._channels, self._settings.matte)
        pixels = read_pair(pair, self._channels, out=(views["input"], views["target"]))
        notes.digest = _digest(views["input"], views["target"])
        notes.bad, notes.clamped = leave_out_unusable(pair, pixels, valid)
        if notes.bad and self._settings.non_finite == "Error":
            raise DatasetError(
                f"{notes.bad[0].sentence}; repair the frame, or set Non-Finite Pixels to Mask to leave them out"
            )
        if self._settings.align_ground_truth:
            valid, notes.moved = _align(pair, pixels, valid)
        self._valid[index] = valid
        x0, y0, x1, y1 = valid
        notes.fingerprint = hashlib.sha256(notes.digest).hexdigest()
        if pixels.weights is not None:
            weights = np.ascontiguousarray(pixels.weights, np.float32)
            notes.fingerprint = hashlib.sha256(notes.digest + weights.tobytes()).hexdigest()
        if "mask" in views:
            views["mask"][...] = 1 if pixels.weights is None else pixels.weights
        if self._observe:
            parts = (as_float(view) if view.dtype == np.uint8 else view for view in (views["input"], views["target"]))
            source, target = (part[y0:y1, x0:x1] for part in parts)
            self._observe(pair.input, pair.ground_truth, source, target, self._masked and not views["mask"].any())

    def banks(self) -> FrameBanks:
        """The banks after all pairs are read; raises DatasetError if the masks exclude everything."""
        mask = self._banks.get("mask")
        if mask is not None and not any(
            frame[y0:y1, x0:x1].any() for frame, (x0, y0, x1, y1) in zip(mask, self._valid, strict=True)
        ):
            raise DatasetError(
                f"{self._pairs[0].mask or self._pairs[0].ground_truth}: the mask is 0 in all frames, or no pixel is "
                "finite where it is not: there is nothing to train on"
            )
        return FrameBanks(
            input=self._banks["input"],
            target=self._banks["target"],
            mask=mask,
            valid=self._valid,
            sizes=tuple((header.input.width, header.input.height) for header in self._headers),
            input_channels=self._channels.input,
            target_channels=self._channels.target,
            input_linear=self._headers[0].input.linear,
            target_linear=self._headers[0].target.linear,
            data_hash=hashlib.sha256(b"".join(notes.digest for notes in self._notes)).hexdigest(),
            fingerprints=tuple(notes.fingerprint for notes in self._notes),
            channels=self._channels,
            headers=tuple(self._headers),
            notes=tuple(self._notes),
            warnings=(*self._bad_pixels(), *self._clamped_masks(), *filter(None, (n.moved for n in self._notes))),
        )

    def _bad_pixels(self) -> list[str]:
        """Counts the pixels that are not finite, in one sentence each for Input, Ground Truth and masks."""
        found: dict[str, list[tuple[int, BadPixels]]] = {}
        for pair, notes in zip(self._pairs, self._notes, strict=True):
            for bad in notes.bad:
                kinds = {pair.input: "Input", pair.ground_truth: "Ground Truth"}
                found.setdefault(kinds.get(bad.file, "mask"), []).append((pair.frame, bad))
        sentences = []
        for kind, (first, *more) in found.items():
            text = first[1].sentence
            if more:
                frames = format_frames([frame for frame, _ in more])
                total = sum(bad.count for _, bad in (first, *more))
                text += f"; the {kind} has more in {'frame' if len(more) == 1 else 'frames'} {frames}, {total} in all"
            sentences.append(f"{text}; they are left out of the training")
        return sentences

    def _clamped_masks(self) -> list[str]:
        """One sentence about all masks with weights below 0."""
        clamped = [sentence for notes in self._notes for sentence in notes.clamped]
        more = len(clamped) - 1
        return [clamped[0] + (f"; so it is in {more} more of the masks" if more > 0 else "")] if clamped else []


def _align(
    pair: FramePair, pixels: PairPixels, valid: tuple[int, int, int, int]
) -> tuple[tuple[int, int, int, int], str]:
    """Moves a shifted Ground Truth back, and its mask with it.

    Returns:
        The valid rectangle afterwards, and a sentence if it was moved.
    """
    x0, y0, x1, y1 = valid
    target = as_float(pixels.target[y0:y1, x0:x1])
    shift = picture_shift(as_float(pixels.input[y0:y1, x0:x1]), target)
    if not shift:
        return valid, ""
    pixels.target[y0:y1, x0:x1] = moved(target, -shift.dx, -shift.dy)
    if pixels.target_weights is not None:
        weights = pixels.target_weights.copy()
        weights[y0:y1, x0:x1] = moved_weights(weights[y0:y1, x0:x1], -shift.dx, -shift.dy)
        pixels.target_weights = weights
    # The filter repeated the edge, which is no data.
    edge = math.ceil(max(abs(shift.dx), abs(shift.dy)))
    if min(x1 - x0, y1 - y0) - 2 * edge >= SMALLEST_FRAME:
        valid = x0 + edge, y0 + edge, x1 - edge, y1 - edge
    return valid, f"{pair.ground_truth}: moved back by {shift.dx:+.2f} pixels in x, {shift.dy:+.2f} in y"


def _digest(*parts: Pixels) -> bytes:
    """SHA-256 of a pair's pixels; 8-bit pixels are hashed as half, as the runs of earlier versions did."""
    digest = hashlib.sha256()
    for part in parts:
        stored = as_float(part).astype(np.float16) if part.dtype == np.uint8 else np.ascontiguousarray(part)
        digest.update(stored.view(np.uint8).data)
    return digest.digest()


def _bank_dtype(infos: Sequence[FrameInfo], fractions: bool = False) -> np.dtype[Any]:
    """The smallest type that holds the files' values, and with ``fractions`` also values between those of 8 bits."""
    kinds = {info.dtype for info in infos}
    if kinds == {"uint8"} and not fractions:
        return np.dtype(np.uint8)
    return np.dtype(np.float16 if kinds <= {"half", "uint8"} else np.float32)


def lies_on_disk(bank: str, size: int) -> bool:
    """Whether banks of ``size`` bytes go to a file; raises DatasetError if Bank is host and memory is short."""
    free = free_memory()
    if bank == "host" and size > free:
        raise DatasetError(
            f"the data set needs {size / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; set Bank to auto or "
            "disk, or train on fewer frames"
        )
    return bank == "disk" or (bank != "host" and size > 0.6 * free)


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], on_disk: bool, directory: Path | None) -> Bank:
    """A zeroed array in memory, or in an unnamed file that the system deletes with the process."""
    if not on_disk:
        return np.zeros(shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    try:
        with tempfile.TemporaryFile(dir=directory) as stream:
            system_files.reserve(stream.fileno(), size)
            return np.memmap(stream, dtype, "r+", shape=shape)
    except OSError as error:
        raise DatasetError(
            f"{directory or tempfile.gettempdir()}: no room for the data set of {size / 1e9:.1f} GB: {error.strerror}"
        ) from error
