"""The data set of a training: banks, encodings, difference centres and clean plate, at any level."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate, moving_plate
from copycat.data.banks import FrameBanks, PairObserver, allocate, lies_on_disk, read_banks
from copycat.data.centres import difference_centres
from copycat.data.clean_plate import Kind
from copycat.data.encodings import choose_encoding, mattes
from copycat.data.levels import downsized, downsized_mask, kept_centres
from copycat.data.painted_frames import PaintedFrames
from copycat.errors import CopycatError
from copycat.sequence.pairs import DatasetError, FramePair
from copycat.settings.tables import Settings

# Called with what is done, for how many pairs, and of how many; may raise.
Preparing = Callable[[str, int, int], None]

_LEAST = {"still": clean_plate.LEAST_FRAMES, "moving": moving_plate.LEAST_FRAMES}
_PROBED_SIDE = 960  # pixels; Auto tries a moving clean plate on frames reduced to about this


@dataclass(kw_only=True)
class Dataset:
    """The data set at one level.

    Attributes:
        pairs: the files.
        input_bank, target_bank: [N, H, W, C], see :mod:`copycat.data.banks`.
        mask_bank: [N, H, W, 1] weights, or None.
        valid: [N, 4] int32 on the CPU: x0, y0, x1, y1 (half open) of each frame's pixels.
        centres: [M, 2] int32 x, y at which the pairs differ, sorted by frame; centre_offsets: [N + 1] int32.
        input_channels, target_channels: full names.
        residual: for each target channel, the input channel it starts from, or -1.
        clean_plate: [1, H, W, C + 1] as `copycat.data.clean_plate.of_frames` returns it, or None; [N, H, W, C + 1]
            where each pair has a plate of its own.
        painted: what the plates of a moving shot are made of; None for other shots.
        linear: whether the Input is scene-linear.
        level: 4, 2 or 1.
        data_hash: SHA-256 over the frames as read.
        warnings: sentences for the user.
        notes: sentences that need no action.
        banks: the frames as they were read; None for a data set that was not read from files.
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
    painted: PaintedFrames | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    banks: FrameBanks | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def plate(self) -> Kind:
        """The clean plate that it has."""
        return "none" if self.clean_plate is None else "still" if self.painted is None else "moving"

    def at_level(self, level: int) -> Dataset:
        """The data set downsized from level 1 to ``level`` by area averages.

        A cell that contains a pixel of weight 0 gets the weight 0, because its average includes that pixel.
        """
        if level == self.level:
            return self
        assert self.level == 1
        low = self.valid[:, :2]
        high = self.valid[:, 2:]
        size = torch.tensor(self.input_bank.shape[2:0:-1], dtype=torch.int32)
        # A cell across the edge of the data averages pixels that are no data, unless the frame ends there.
        high = torch.where(high == size, -(-high // level), high // level)
        mask = None if self.mask_bank is None else downsized_mask(self.mask_bank, level)
        centres, offsets = kept_centres((self.centres // level).to(torch.int32), self.centre_offsets, mask)
        return replace(
            self,
            input_bank=downsized(self.input_bank, level),
            target_bank=downsized(self.target_bank, level),
            mask_bank=mask,
            clean_plate=None if self.clean_plate is None else ops.downsize(self.clean_plate, level),
            valid=torch.cat([-(-low // level), high], dim=1).to(torch.int32),
            centres=centres,
            centre_offsets=offsets,
            level=level,
        )

    def part(self, frames: Sequence[int]) -> Dataset:
        """A data set of some of the frames, at the same level; the clean plate of all stays."""
        chosen = torch.tensor(frames, dtype=torch.int64)
        starts, ends = self.centre_offsets[chosen].tolist(), self.centre_offsets[chosen + 1].tolist()
        counts = torch.tensor([0, *(end - start for start, end in zip(starts, ends, strict=True))])
        return replace(
            self,
            pairs=tuple(self.pairs[frame] for frame in frames),
            input_bank=self.input_bank[chosen],
            target_bank=self.target_bank[chosen],
            mask_bank=None if self.mask_bank is None else self.mask_bank[chosen],
            clean_plate=self.clean_plate if self.painted is None else self.clean_plate[chosen],  # type: ignore[index]
            valid=self.valid[chosen],
            centres=torch.cat([self.centres[start:end] for start, end in zip(starts, ends, strict=True)]),
            centre_offsets=counts.cumsum(0).to(self.centre_offsets.dtype),
            banks=None,
        )

    def crop(self, side: int) -> tuple[int, int]:
        """(height, width) of the crops: ``side``, or less where the smallest frame is smaller."""
        extent = (self.valid[:, 2:] - self.valid[:, :2]).amin(dim=0)
        width, height = (min(side, int(e)) for e in extent)
        # The network does not pad multiples of 16.
        return tuple(e - e % 16 if e >= 16 else e for e in (height, width))  # type: ignore[return-value]

    def to(self, device: torch.device, pinned: bool = False) -> Dataset:
        """A copy with the banks on ``device``, or in pinned host memory."""

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
    plate: Kind | None = None,
    progress: Preparing | None = None,
    observe: PairObserver | None = None,
    before: Dataset | None = None,
    kept: Mapping[int, int] = MappingProxyType({}),
    failures: dict[int, CopycatError] | None = None,
) -> Dataset:
    """Reads frame pairs into banks, and derives encodings, difference centres and the clean plate from them.

    Args:
        pairs: the files.
        settings: channels, bank, mask, matte, non-finite pixels, alignment, clean plate.
        directory: where a bank on disk is kept (an unnamed file), by default the system's temporary directory.
        encodings: input and target encoding of a model to continue; chosen from the data where None.
        plate: the clean plate of a model to continue; None lets the settings and the data decide.
        progress: says how far it is.
        observe: called with each pair as it is read, from several threads.
        before: a data set of the same encodings, at level 1, from which pairs are taken over.
        kept, failures: as for `data.banks.read_banks`.

    Raises:
        DatasetError: sizes or channels do not fit, pixels are not finite, or masks exclude everything.
        sequence.SequenceError: a file cannot be read or lacks a channel.
    """
    banks = read_banks(
        pairs,
        settings,
        directory=directory,
        progress=partial(progress, "reading frame pairs") if progress else None,
        observe=observe,
        before=before.banks if before else None,
        kept=kept,
        failures=failures,
    )
    if failures:
        raise DatasetError("some of the frame pairs cannot be read")
    if (
        before
        and before.banks
        and (banks.input.dtype, banks.target.dtype)
        != (
            before.banks.input.dtype,
            before.banks.target.dtype,
        )
    ):
        kept = {}  # values in another type are rounded otherwise, and their centres with them
    input_bank, target_bank, valid = (torch.from_numpy(array) for array in (banks.input, banks.target, banks.valid))
    names = banks.input_channels, banks.target_channels
    residual = tuple(names[0].index(name) if name in names[0] else -1 for name in names[1])
    mask = None if banks.mask is None else torch.from_numpy(banks.mask)
    if encodings is None:
        source_encoding = choose_encoding(input_bank, valid, names[0], banks.input_linear, mask)
        own = choose_encoding(target_bank, valid, names[1], banks.target_linear, mask)
        # A channel that starts from an Input channel needs that channel's units.
        target_encoding = _merge(own, source_encoding, residual)
        matte = mattes(target_bank, valid, target_encoding, settings.matte, mask)
        target_encoding = replace(target_encoding, matte=matte)
        encodings = (source_encoding, target_encoding)
    centres, offsets = difference_centres(
        banks.input,
        banks.target,
        banks.valid,
        encodings,
        settings.seed,
        banks.mask,
        before=(before.centres.numpy(), before.centre_offsets.numpy()) if before else None,
        kept=[index for index, old in kept.items() if index == old],
    )
    data = Dataset(
        pairs=tuple(pairs),
        input_bank=input_bank,
        target_bank=target_bank,
        mask_bank=mask,
        valid=valid,
        centres=torch.from_numpy(centres),
        centre_offsets=torch.from_numpy(offsets),
        input_channels=names[0],
        target_channels=names[1],
        residual=residual,
        input_encoding=encodings[0],
        target_encoding=encodings[1],
        linear=banks.input_linear,
        level=1,
        data_hash=banks.data_hash,
        warnings=banks.warnings,
        banks=banks,
    )
    if plate is None:
        plate = _choose_plate(data, banks.sizes, settings.clean_plate)
    elif before and plate != "none":
        _check_sizes(data, banks.sizes, plate)
    if plate == "still":
        data.clean_plate = clean_plate.of_frames(data.target_bank, data.valid, data.target_encoding, data.mask_bank)
    elif plate == "moving":
        _make_plates(data, settings, directory, progress)
    return data


def _make_plates(data: Dataset, settings: Settings, directory: Path | None, progress: Preparing | None) -> None:
    """Gives each pair a clean plate of the other painted frames."""
    count, height, width, depth = data.target_bank.shape
    shape, dtype = (count, height, width, clean_plate.channels(depth)), np.dtype(np.float16)
    on_disk = lies_on_disk(settings.bank, math.prod(shape) * dtype.itemsize)
    data.clean_plate = torch.from_numpy(allocate(shape, dtype, on_disk, directory))
    encodings = data.input_encoding, data.target_encoding

    def report(done: int) -> None:
        if progress:
            progress("making clean plates", done, count)

    frames, edit = moving_plate.of_pairs(
        data.input_bank,
        data.target_bank,
        data.valid,
        encodings=encodings,
        residual=data.residual,
        mask=data.mask_bank,
        plates=data.clean_plate,
        progress=report,
    )
    data.painted = PaintedFrames(frames, data.target_encoding, edit)


def _unfit_for_plate(pairs: Sequence[FramePair], sizes: Sequence[tuple[int, int]], plate: Kind) -> str:
    """Why these pairs can have no clean plate of a kind; empty if they can."""
    wrong, least = "", _LEAST[plate]
    if len(pairs) < least:
        what = "a moving Clean Plate" if plate == "moving" else "a Clean Plate"
        wrong = f"{pairs[0].ground_truth}: {what} needs {least} painted frames or more"
    for pair, (width, height) in zip(pairs, sizes, strict=True):
        if (width, height) != sizes[0]:
            wrong = (
                f"{pair.input}: for a Clean Plate all frames must be of one size; this one is {width}x{height}, "
                f"{pairs[0].input.name} is {sizes[0][0]}x{sizes[0][1]}"
            )
    return wrong


def _check_sizes(data: Dataset, sizes: Sequence[tuple[int, int]], plate: Kind) -> None:
    """Raises DatasetError if the pairs can no longer have the clean plate that their model has."""
    if wrong := _unfit_for_plate(data.pairs, sizes, plate):
        raise DatasetError(wrong)


def _choose_plate(data: Dataset, sizes: Sequence[tuple[int, int]], choice: str) -> Kind:
    """The clean plate that the knob asks for; raises DatasetError if that cannot be made.

    Auto leaves a note that says what it decided, and why.
    """
    if choice == "Off":
        return "none"
    pairs = data.pairs
    moving = choice == "Moving"
    wrong = _unfit_for_plate(pairs, sizes, "moving" if moving else "still")
    comparable = min(data.residual) >= 0
    if moving and not comparable:
        wrong = f"{pairs[0].ground_truth}: a moving Clean Plate needs Ground Truth channels that the Input has too"
    if choice != "Auto":
        if wrong:
            raise DatasetError(wrong)
        return "moving" if moving else "still"
    if wrong or not comparable:
        return "none"
    encodings = data.input_encoding, data.target_encoding
    if clean_plate.is_shown(
        data.input_bank,
        data.target_bank,
        data.centres,
        data.centre_offsets,
        encodings,
        data.residual,
        data.mask_bank,
    ):
        data.notes += ("the painted frames agree where they differ from the Input",)
        return "still"
    if len(pairs) < moving_plate.LEAST_FRAMES:
        return "none"
    least = -10 * math.log10(clean_plate.AGREEMENT)
    few = _selected(data, clean_plate.frames_of(len(pairs), moving_plate.MOST_FRAMES))
    few = few.at_level(next((level for level in (1, 2) if max(sizes[0]) <= _PROBED_SIDE * level), 4))
    gain = moving_plate.gain_of_probes(
        few.input_bank,
        few.target_bank,
        few.valid,
        centres=few.centres,
        centre_offsets=few.centre_offsets,
        encodings=encodings,
        residual=data.residual,
        mask=few.mask_bank,
        least=least,
    )
    if gain is None:
        return "none"
    enough = gain >= least
    data.notes += (
        f"where the pairs differ, the other painted frames, aligned, are {abs(gain):.1f} dB "
        f"{'nearer to' if gain >= 0 else 'farther from'} the Ground Truth than the Input is; "
        f"a clean plate needs {least:.0f} dB",
    )
    return "moving" if enough else "none"


def _selected(data: Dataset, indices: Sequence[int]) -> Dataset:
    """The data set of some of the pairs, without plates."""
    spans = [range(*data.centre_offsets[i : i + 2].tolist()) for i in indices]
    rows = torch.tensor([row for span in spans for row in span], dtype=torch.int64)
    ends = np.cumsum([0, *map(len, spans)])
    return replace(
        data,
        pairs=tuple(data.pairs[i] for i in indices),
        input_bank=data.input_bank[list(indices)],
        target_bank=data.target_bank[list(indices)],
        mask_bank=None if data.mask_bank is None else data.mask_bank[list(indices)],
        valid=data.valid[list(indices)],
        centres=data.centres[rows],
        centre_offsets=torch.tensor(ends, dtype=torch.int32),
        clean_plate=None,
        painted=None,
    )


def _merge(own: ops.Encoding, source: ops.Encoding, residual: Sequence[int]) -> ops.Encoding:
    def pick(mine: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(theirs[i] if i >= 0 else value for i, value in zip(residual, mine, strict=True))

    return ops.Encoding(pick(own.log_scale, source.log_scale), pick(own.mean, source.mean), pick(own.std, source.std))
