"""Frame pairs -> frame banks in memory -> crops.

A bank is one array ``[N, H, W, C]`` (float16, or float32 where half cannot hold the files' values) with the frames of
all pairs, origin top left. Frames smaller than the largest lie in the top left corner; ``valid`` says where each holds
data.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from copycat import cat, clean_plate, compare, ops, sequence
from copycat.check import Inspection
from copycat.config import Settings
from copycat.devices import free_memory
from copycat.difference import difference_centres
from copycat.encoding import choose_encoding, mattes
from copycat.frame_pairs import DatasetError, FramePair
from copycat.pixel_check import without_non_finite

_READERS = max(2, min(8, os.cpu_count() or 2))
_SMALLEST_FRAME = 16


@dataclass
class Dataset:
    """The frames of a training in memory, at one level.

    Attributes:
        pairs: where the frames come from.
        input_bank, target_bank: [N, H, W, C].
        mask_bank: [N, H, W, 1] weights, or None.
        valid: [N, 4] int32 on the CPU: x0, y0, x1, y1 (half open) of each frame's pixels.
        centres: [M, 2] int32 x, y where the pair differs, sorted by frame; centre_offsets: [N + 1] int32.
        input_channels, target_channels: full names.
        residual: for each target channel, the input channel it starts from, or -1.
        clean_plate: [1, H, W, C + 1] what `copycat.clean_plate` makes of the truths, or None where it is of no use.
        linear: whether the Input is scene-linear.
        level: 4, 2 or 1.
        data_hash: SHA-256 over the frames as read.
        warnings: what the user should know, one sentence each.
    """

    pairs: tuple[FramePair, ...]
    input_bank: Tensor
    target_bank: Tensor
    mask_bank: Tensor | None
    valid: Tensor
    centres: Tensor
    centre_offsets: Tensor
    input_channels: tuple[str, ...]
    target_channels: tuple[str, ...]
    residual: tuple[int, ...]
    input_encoding: ops.Encoding
    target_encoding: ops.Encoding
    linear: bool
    level: int
    data_hash: str
    clean_plate: Tensor | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def model_header(self, model_size: str) -> cat.ModelHeader:
        """What a model of this data set says of itself before it is trained."""
        return cat.ModelHeader(
            model_size=model_size,
            channels_in=self.input_channels,
            channels_out=self.target_channels,
            residual=self.residual,
            input_encoding=self.input_encoding,
            target_encoding=self.target_encoding,
            plate_size=None if self.clean_plate is None else (self.clean_plate.shape[1], self.clean_plate.shape[2]),
            data_hash=self.data_hash,
        )

    def at_level(self, level: int) -> Dataset:
        """The data set downsized from level 1 to ``level`` by area averages."""
        if level == self.level:
            return self
        assert self.level == 1
        low = self.valid[:, :2]
        high = self.valid[:, 2:]
        size = torch.tensor(self.input_bank.shape[2:0:-1], dtype=torch.int32)
        # A cell that reaches over the edge of the data would mix in what is not data, unless the frame ends there.
        high = torch.where(high == size, -(-high // level), high // level)
        return replace(
            self,
            input_bank=ops.downsize(self.input_bank, level),
            target_bank=ops.downsize(self.target_bank, level),
            mask_bank=None if self.mask_bank is None else ops.downsize(self.mask_bank, level),
            clean_plate=None if self.clean_plate is None else ops.downsize(self.clean_plate, level),
            valid=torch.cat([-(-low // level), high], dim=1).to(torch.int32),
            centres=(self.centres // level).to(torch.int32),
            level=level,
        )

    def crop(self, side: int) -> tuple[int, int]:
        """(height, width) of the crops: ``side``, or less where the smallest frame is smaller."""
        extent = (self.valid[:, 2:] - self.valid[:, :2]).amin(dim=0)
        width, height = (min(side, int(e)) for e in extent)
        # Whole multiples of 16 need no padding in the network.
        return tuple(e - e % 16 if e >= 16 else e for e in (height, width))  # type: ignore[return-value]

    def to(self, device: torch.device, pinned: bool = False) -> Dataset:
        """The data set with its banks on ``device``, or in pinned host memory."""

        def moved(bank: Tensor) -> Tensor:
            return bank.pin_memory() if pinned else bank.to(device)

        return replace(
            self,
            input_bank=moved(self.input_bank),
            target_bank=moved(self.target_bank),
            mask_bank=None if self.mask_bank is None else moved(self.mask_bank),
            clean_plate=None if self.clean_plate is None else self.clean_plate.to(device),
            centres=self.centres.to(device),
            centre_offsets=self.centre_offsets.to(device),
        )


def load_dataset(
    pairs: Sequence[FramePair],
    settings: Settings,
    *,
    directory: Path | None = None,
    encodings: tuple[ops.Encoding, ops.Encoding] | None = None,
    told_plate: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    inspection: Inspection | None = None,
) -> Dataset:
    """Reads frame pairs into banks, in threads, each frame straight into its place.

    Args:
        pairs: what to read.
        settings: channels, bank, mask, non-finite.
        directory: where a bank on disk is kept (an unnamed file), by default the system's temporary directory.
        encodings: input and target encoding of a model to continue; chosen from the data where None.
        told_plate: whether a model to continue is told a clean plate; None where the settings and the data say it.
        progress: called with frames read and their number.
        inspection: of the same pairs, shown the pixels of each.

    Raises:
        DatasetError: sizes or channels do not fit, or there are pixels that are not finite.
        sequence.SequenceError: a file cannot be read or lacks a channel.
    """
    infos = [sequence.read_info(pair.input) for pair in pairs]
    target_infos = [sequence.read_info(pair.ground_truth) for pair in pairs]
    for pair, a, b in zip(pairs, infos, target_infos, strict=True):
        if (a.width, a.height) != (b.width, b.height):
            raise DatasetError(
                f"{pair.ground_truth}: the Ground Truth is {b.width}x{b.height}, "
                f"its Input {pair.input.name} is {a.width}x{a.height}"
            )
        if min(a.width, a.height) < _SMALLEST_FRAME:
            raise DatasetError(f"{pair.input}: {a.width}x{a.height} is too small to train on; 16x16 is the least")
    input_channels = sequence.resolve_channels(settings.input_channels, infos[0])
    target_channels = sequence.resolve_channels(settings.ground_truth_channels, target_infos[0])
    width, height = max(i.width for i in infos), max(i.height for i in infos)
    masked = bool(settings.mask_channel) or any(pair.mask for pair in pairs) or settings.non_finite == "Mask"
    shapes = {
        "input": (len(pairs), height, width, len(input_channels)),
        "target": (len(pairs), height, width, len(target_channels)),
        "mask": (len(pairs), height, width, 1),
    }
    dtypes = {"input": _bank_dtype(infos), "target": _bank_dtype(target_infos), "mask": np.dtype(np.float16)}
    needed = {name: math.prod(shapes[name]) * dtypes[name].itemsize for name in shapes if name != "mask" or masked}
    on_disk = _on_disk(settings.bank, sum(needed.values()))
    banks = {name: _allocate(shapes[name], dtypes[name], on_disk, directory) for name in needed}
    valid = np.zeros((len(pairs), 4), np.int32)
    digests: list[bytes] = [b""] * len(pairs)
    bad: list[str] = [""] * len(pairs)
    moves: list[str] = [""] * len(pairs)
    if settings.align_ground_truth and input_channels != target_channels:
        raise DatasetError(
            f"{pairs[0].ground_truth}: Align Ground Truth compares it with the Input, so both need the same channels, "
            f"not {','.join(input_channels)} and {','.join(target_channels)}"
        )

    def read(index: int) -> None:
        pair = pairs[index]
        place = {name: bank[index, : infos[index].height, : infos[index].width] for name, bank in banks.items()}
        source = sequence.read_frame(pair.input, input_channels, out=place["input"])
        target = sequence.read_frame(pair.ground_truth, target_channels, out=place["target"])
        x0, y0 = np.maximum(source.valid[:2], target.valid[:2])
        x1, y1 = np.minimum(source.valid[2:], target.valid[2:])
        if min(x1 - x0, y1 - y0) < _SMALLEST_FRAME:
            raise DatasetError(f"{pair.ground_truth}: its data window hardly meets that of the Input {pair.input.name}")
        valid[index] = x0, y0, x1, y1
        digest = hashlib.sha256()
        for name in ("input", "target"):
            digest.update(np.ascontiguousarray(place[name]).view(np.uint8).data)
        digests[index] = digest.digest()
        if "mask" in place:
            finite = [np.isfinite(place[name]).all(axis=-1, keepdims=True) for name in ("input", "target")]
            place["mask"][...] = _mask(pair, settings, infos[index]) * finite[0] * finite[1]
        for name, file in (("input", pair.input), ("target", pair.ground_truth)):
            if said := without_non_finite(place[name], 0, 0):
                bad[index] = f"{file}: {said}"
        if settings.align_ground_truth:
            source_part, target_part = (place[name][y0:y1, x0:x1] for name in ("input", "target"))
            wanted = target_part.astype(np.float32)
            if shift := compare.picture_shift(source_part.astype(np.float32), wanted):
                target_part[...] = compare.moved(wanted, -shift.dx, -shift.dy)
                moves[index] = f"{pair.ground_truth}: moved back by {shift.dx:+.2f} pixels in x, {shift.dy:+.2f} in y"
                # What came in over the edge is not data.
                edge = math.ceil(max(abs(shift.dx), abs(shift.dy)))
                if min(x1 - x0, y1 - y0) - 2 * edge >= _SMALLEST_FRAME:
                    valid[index] = x0 + edge, y0 + edge, x1 - edge, y1 - edge
        if inspection:
            x0, y0, x1, y1 = valid[index]
            source_part, target_part = (place[name][y0:y1, x0:x1] for name in ("input", "target"))
            empty_mask = bool(pair.mask or settings.mask_channel) and not place["mask"].any()
            inspection.look(pair.input, pair.ground_truth, source_part, target_part, empty_mask)

    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for done, _ in enumerate(pool.map(read, range(len(pairs))), 1):
                if progress:
                    progress(done, len(pairs))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # whoever stops, or fails, does not wait for the frames not yet begun
            raise
    warnings = [sentence for sentence in (*bad, *moves) if sentence]
    if any(bad) and settings.non_finite == "Error":
        raise DatasetError(f"{warnings[0]}; repair the frame, or set Non-Finite Pixels to Mask to leave them out")
    input_bank, target_bank = torch.from_numpy(banks["input"]), torch.from_numpy(banks["target"])
    residual = tuple(input_channels.index(c) if c in input_channels else -1 for c in target_channels)
    if encodings is None:
        linear = infos[0].linear
        where = torch.from_numpy(valid)
        source_encoding = choose_encoding(input_bank, where, input_channels, linear)
        own = choose_encoding(target_bank, where, target_channels, target_infos[0].linear)
        # A channel that starts from the Input's must be in the Input's units.
        target_encoding = _merge(own, source_encoding, residual)
        target_encoding = replace(target_encoding, matte=mattes(target_bank, where, target_encoding, settings.matte))
        encodings = (source_encoding, target_encoding)
    centres, offsets = difference_centres(banks["input"], banks["target"], valid, encodings, settings.seed)
    data = Dataset(
        pairs=tuple(pairs),
        input_bank=input_bank,
        target_bank=target_bank,
        mask_bank=torch.from_numpy(banks["mask"]) if masked else None,
        valid=torch.from_numpy(valid),
        centres=torch.from_numpy(centres),
        centre_offsets=torch.from_numpy(offsets),
        input_channels=input_channels,
        target_channels=target_channels,
        residual=residual,
        input_encoding=encodings[0],
        target_encoding=encodings[1],
        linear=infos[0].linear,
        level=1,
        data_hash=hashlib.sha256(b"".join(digests)).hexdigest(),
        warnings=tuple(warnings),
    )
    if told_plate is None:
        told_plate = _wants_plate(data, infos, settings.clean_plate)
        if told_plate and settings.clean_plate == "Auto":
            data.warnings += ("the painted frames agree where they differ from the Input: a Clean Plate is used",)
    if told_plate:
        data.clean_plate = clean_plate.of_frames(data.target_bank, data.valid, data.target_encoding)
    return data


def _wants_plate(data: Dataset, infos: Sequence[sequence.FrameInfo], asked: str) -> bool:
    """Whether there is to be a clean plate; raises DatasetError where one is asked for that cannot be."""
    if asked == "Off":
        return False
    pairs = data.pairs
    wrong = ""
    if len(pairs) < clean_plate.LEAST_FRAMES:
        wrong = f"{pairs[0].ground_truth}: a Clean Plate needs {clean_plate.LEAST_FRAMES} painted frames or more"
    for pair, info in zip(pairs, infos, strict=True):
        if (info.width, info.height) != (infos[0].width, infos[0].height):
            wrong = (
                f"{pair.input}: for a Clean Plate all frames must be of one size; this one is "
                f"{info.width}x{info.height}, {pairs[0].input.name} is {infos[0].width}x{infos[0].height}"
            )
    if asked == "On":
        if wrong:
            raise DatasetError(wrong)
        return True
    return not wrong and clean_plate.is_shown(
        data.input_bank,
        data.target_bank,
        data.centres,
        data.centre_offsets,
        (data.input_encoding, data.target_encoding),
        data.residual,
    )


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


def _allocate(
    shape: tuple[int, ...], dtype: np.dtype[np.floating], on_disk: bool, directory: Path | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
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


def _merge(own: ops.Encoding, source: ops.Encoding, residual: Sequence[int]) -> ops.Encoding:
    def pick(mine: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(theirs[i] if i >= 0 else value for i, value in zip(residual, mine, strict=True))

    return ops.Encoding(pick(own.log_scale, source.log_scale), pick(own.mean, source.mean), pick(own.std, source.std))
