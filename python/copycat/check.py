"""Looks over a data set before a training and says what is wrong with it, or looks unintended.

An *error* is what a training would stop at, a *warning* what most likely is a mistake, a *note* what is good to know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from copycat import compare
from copycat.sequence import (
    FrameInfo,
    ImageSequence,
    SequenceError,
    describe_size,
    format_frames,
    parse_frames,
    read_frame,
    read_info,
    resolve_channels,
)

Severity = Literal["error", "warning", "note"]

_SMALLEST = 16
_MANY_PAIRS = 100
# Shift, colour and grain are the same all over a sequence; so many of its frames are compared.
_COMPARED = 12
_LEAST_COLOUR = 0.02
_LEAST_EXPLAINED = 0.5
_LEAST_GRAIN = 0.003
_GRAIN_RATIO = 2.5


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        severity: "error", "warning" or "note".
        sentence: what it is, with the file and the value.
        file: the file or pattern it is about, "" for the whole data set.
    """

    severity: Severity
    sentence: str
    file: str = ""


@dataclass
class Report:
    """All that was found, the gravest first, and how many pairs of frames were looked at."""

    findings: list[Finding] = field(default_factory=list)
    pairs: int = 0

    @property
    def errors(self) -> list[Finding]:
        """What a training would stop at."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def add(self, severity: Severity, file: str | Path, sentence: str) -> None:
        """Adds a finding; the sentence begins with the file."""
        self.findings.append(Finding(severity, f"{file}: {sentence}" if file else sentence, str(file)))


class PairOfSequences(Protocol):
    """What is looked at of a ``copycat.dataset.Pair``: patterns, and an optional ``mask``."""

    @property
    def input(self) -> str:
        """Pattern of the Input."""

    @property
    def ground_truth(self) -> str:
        """Pattern of the Ground Truth."""


@dataclass
class _Shot:
    """A pair of sequences and those of its frames that can be read."""

    input: ImageSequence
    target: ImageSequence
    mask: ImageSequence | None
    frames: list[_FramePair] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class _FramePair:
    number: int
    input: Path
    target: Path
    mask: Path | None


@dataclass
class _Wanted:
    """What the training would read of each file."""

    input: tuple[str, ...]
    target: tuple[str, ...]
    mask_channel: str


@dataclass
class _Look:
    """What the pixels of a frame pair tell, small enough to keep for all of them."""

    identical: bool = False
    constant_input: bool = False
    constant_target: bool = False
    empty_mask: bool = False
    not_finite: list[tuple[Path, str]] = field(default_factory=list)
    shifts: list[compare.BlockShift] = field(default_factory=list)
    cells: tuple[compare.Array, compare.Array] | None = None
    grain: tuple[float, float] | None = None


def inspect_dataset(
    pairs: Sequence[PairOfSequences],
    *,
    frames: str = "all",
    input_channels: str = "rgb",
    ground_truth_channels: str = "rgb",
    mask_channel: str = "",
    crop_size: int = 256,
    multi_resolution: bool = True,
    non_finite: str = "Error",
    pixels: bool = True,
) -> Report:
    """Looks over a data set; nothing is raised for what is wrong with it.

    Args:
        pairs: pairs of sequences.
        frames: ranges as in ``1001-1100x5,1200``, or "all": those that both sequences of a pair have.
        input_channels: as ``resolve_channels`` reads them.
        ground_truth_channels: the same of the Ground Truth.
        mask_channel: channel of the mask sequence, or of the Ground Truth where there is none; "" = the first, or no
            mask.
        crop_size: side of the crops in pixels.
        multi_resolution: whether the training begins with a quarter of the resolution.
        non_finite: "Error" when a training stops at NaN, else they are a warning.
        pixels: whether pixels are read too; without them only names and headers are looked at.
    """
    report = Report()
    try:
        wanted = None if frames.strip().lower() in ("", "all") else parse_frames(frames)
    except SequenceError as error:
        report.findings.append(Finding("error", str(error)))
        return report
    shots = [shot for pair in pairs for shot in _match(pair, wanted, report)]
    report.pairs = sum(len(shot.frames) for shot in shots)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 2), "copycat-check") as pool:
        channels = _check_headers(shots, (input_channels, ground_truth_channels, mask_channel), report, pool)
        _check_amounts(shots, crop_size, multi_resolution, report)
        if pixels and channels:
            for shot in shots:
                _check_pixels(shot, channels, "error" if non_finite == "Error" else "warning", report, pool)
    report.findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
    return report


def _match(pair: PairOfSequences, wanted: list[int] | None, report: Report) -> Iterator[_Shot]:
    """Finds the frames that both sequences have; nothing when they cannot be found at all."""
    mask_pattern = getattr(pair, "mask", "")
    try:
        sequences = [ImageSequence.parse(p) for p in (pair.input, pair.ground_truth, mask_pattern) if p]
        there = [one.frames() for one in sequences]
    except SequenceError as error:
        report.findings.append(Finding("error", str(error), pair.ground_truth))
        return
    source, target, *mask = sequences
    shot = _Shot(source, target, mask[0] if mask else None)
    if len(there[0]) == len(there[1]) == 1:
        # Two single files are a pair, whatever their numbers are.
        files = [one.path(frames[0]) for one, frames in zip(sequences, there, strict=True)]
        shot.frames.append(_FramePair(there[0][0], files[0], files[1], files[2] if mask else None))
        yield shot
        return
    common = sorted(set.intersection(*map(set, there)))
    if wanted is not None:
        for one, frames in zip(sequences, there, strict=True):
            if missing := sorted(set(wanted) - set(frames)):
                report.add("error", str(one), f"{_frames(missing)} missing")
        common = sorted(set(common) & set(wanted))
    else:
        if alone := sorted(set(there[1]) - set(there[0])):
            report.add("warning", str(target), f"{_frames(alone)} without an Input in {source} and left out")
        if mask and (bare := sorted(set(there[0]) & set(there[1]) - set(there[2]))):
            report.add("warning", str(mask[0]), f"{_frames(bare)} missing, so these pairs are left out")
    if not common:
        report.add("error", str(target), f"has no frame in common with {source}")
        return
    shot.frames += [
        _FramePair(f, source.path(f), target.path(f), shot.mask.path(f) if shot.mask else None) for f in common
    ]
    yield shot


def _frames(frames: Sequence[int]) -> str:
    return f"frame {frames[0]} is" if len(frames) == 1 else f"frames {format_frames(frames)} are"


def _check_headers(
    shots: Sequence[_Shot], asked: tuple[str, str, str], report: Report, pool: ThreadPoolExecutor
) -> _Wanted | None:
    """Reads all headers, drops the pairs that do not fit, and finds the channels in the first that does."""
    channels: _Wanted | None = None
    for shot in shots:
        fine = []
        for pair, infos in zip(shot.frames, pool.map(_read_headers, shot.frames), strict=True):
            try:
                if isinstance(infos, SequenceError):
                    raise infos
                channels = channels or _Wanted(
                    resolve_channels(asked[0], infos[0]), resolve_channels(asked[1], infos[1]), asked[2]
                )
                _check_header(pair, infos, channels)
                fine.append((pair, infos))
            except SequenceError as error:
                report.findings.append(Finding("error", str(error), str(pair.target)))
        shot.frames = [pair for pair, _ in fine]
        shot.sizes = {(infos[0].width, infos[0].height) for _, infos in fine}
        for pair, infos in fine[:1]:
            if infos[0].linear != infos[1].linear:
                state = {True: "scene-linear", False: "not scene-linear"}
                report.add(
                    "warning",
                    pair.target,
                    f"is {state[infos[1].linear]} ({infos[1].dtype} {infos[1].format}), while its Input is"
                    f" {state[infos[0].linear]} ({infos[0].dtype} {infos[0].format})",
                )
    return channels


def _read_headers(pair: _FramePair) -> list[FrameInfo] | SequenceError:
    try:
        return [read_info(path) for path in (pair.input, pair.target, pair.mask) if path is not None]
    except SequenceError as error:
        return error


def _check_header(pair: _FramePair, infos: Sequence[FrameInfo], channels: _Wanted) -> None:
    first = infos[0]
    for info in infos[1:]:
        if (info.width, info.height) != (first.width, first.height):
            raise SequenceError(f"{describe_size(info)}, but {describe_size(first)}")
    if min(first.width, first.height) < _SMALLEST:
        raise SequenceError(f"{describe_size(first)}, too small to train on; {_SMALLEST} x {_SMALLEST} is the least")
    masked = [(infos[-1], [channels.mask_channel])] if channels.mask_channel else []
    for info, names in [(first, channels.input), (infos[1], channels.target), *masked]:
        for name in names:
            if name not in info.channels:
                raise SequenceError(f"{info.path} has no channel {name!r}; it has {', '.join(info.channels)}")


def _check_amounts(shots: Sequence[_Shot], crop_size: int, multi_resolution: bool, report: Report) -> None:
    """Compares sizes and number of the pairs with the settings."""
    sizes = sorted({size for shot in shots for size in shot.sizes})
    if not sizes:
        return
    smallest = min(min(size) for size in sizes)
    width, height = next(size for size in sizes if min(size) == smallest)
    if len(sizes) > 1:
        listed = ", ".join(f"{w} x {h}" for w, h in sizes)
        report.add("note", "", f"the frames have different sizes ({listed}); all take the memory of the largest")
    if smallest < crop_size:
        report.add("warning", "", f"frames of {width} x {height} are smaller than the crop size {crop_size}")
    elif multi_resolution and smallest // 4 < crop_size:
        report.add(
            "note",
            "",
            f"at a quarter of the resolution frames of {width} x {height} are smaller than the crop size {crop_size},"
            " so the first stage sees them whole",
        )
    count = sum(len(shot.frames) for shot in shots)
    if multi_resolution and count > _MANY_PAIRS:
        report.add(
            "note",
            "",
            f"{count} pairs are more than {_MANY_PAIRS}: Multi-Resolution Training is better off with so many",
        )


def _check_pixels(
    shot: _Shot, channels: _Wanted, not_finite: Severity, report: Report, pool: ThreadPoolExecutor
) -> None:
    """Reads every frame of a shot and says what its pixels tell."""
    count = len(shot.frames)
    compared = {int(i) for i in np.linspace(0, count - 1, min(count, _COMPARED))} if count else set()
    looks: list[tuple[int, _Look]] = []
    tasks = [pool.submit(_look, pair, channels, i in compared) for i, pair in enumerate(shot.frames)]
    for pair, task in zip(shot.frames, tasks, strict=True):
        try:
            looks.append((pair.number, task.result()))
        except SequenceError as error:
            report.findings.append(Finding("error", str(error), str(pair.target)))
    for _, look in looks:
        for path, sentence in look.not_finite:
            report.add(not_finite, path, sentence)

    def tell(severity: Severity, file: ImageSequence | None, test: Callable[[_Look], bool], what: str) -> None:
        if frames := [number for number, look in looks if test(look)]:
            report.add(severity, str(file), f"{_frames(frames)} {what}")

    same: Severity = "warning" if all(look.identical for _, look in looks) else "note"
    tell(same, shot.target, lambda look: look.identical, f"the same as in {shot.input}, pixel for pixel")
    tell("warning", shot.input, lambda look: look.constant_input, "of one colour only")
    tell("note", shot.target, lambda look: look.constant_target, "of one colour only")
    tell("warning", shot.mask or shot.target, lambda look: look.empty_mask, "0 all over in the mask and not trained on")
    _check_differences(shot, looks, report)


def _look(pair: _FramePair, channels: _Wanted, compared: bool) -> _Look:
    """Reads a pair of frames; every array of its size is let go of on return."""
    look = _Look()
    source, target = read_frame(pair.input, channels.input), read_frame(pair.target, channels.target)
    window = (*np.maximum(source.valid[:2], target.valid[:2]), *np.minimum(source.valid[2:], target.valid[2:]))
    x0, y0, x1, y1 = map(int, window)
    if min(x1 - x0, y1 - y0) < _SMALLEST:
        raise SequenceError(f"{pair.target}: its data window hardly meets that of its Input {pair.input}")
    a, b = source.pixels[y0:y1, x0:x1], target.pixels[y0:y1, x0:x1]
    for path, part in ((pair.input, a), (pair.target, b)):
        fine = np.isfinite(part).all(axis=-1)
        if not fine.all():
            y, x = np.argwhere(~fine)[0]
            bad = int(fine.size - np.count_nonzero(fine))
            where = f"the first at x {x + x0}, y {y + y0} from the top left"
            look.not_finite.append((path, f"{bad} {'pixel is' if bad == 1 else 'pixels are'} NaN or infinite, {where}"))
            np.nan_to_num(part, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    look.empty_mask = _mask_is_empty(pair, channels)
    look.constant_input, look.constant_target = bool((a == a[0, 0]).all()), bool((b == b[0, 0]).all())
    alike = channels.input == channels.target
    look.identical = alike and np.array_equal(a, b)
    if compared and alike and not (look.identical or look.constant_input or look.constant_target):
        grey = compare.luminance(a), compare.luminance(b)
        look.shifts = compare.block_shifts(*grey)
        look.cells = compare.colour_cells(a), compare.colour_cells(b)
        look.grain = compare.grain(grey[0]), compare.grain(grey[1])
    return look


def _mask_is_empty(pair: _FramePair, channels: _Wanted) -> bool:
    if pair.mask is None and not channels.mask_channel:
        return False
    path = pair.mask or pair.target
    name = channels.mask_channel or read_info(path).channels[0]
    return not read_frame(path, [name]).pixels.any()


def _check_differences(shot: _Shot, numbered: Sequence[tuple[int, _Look]], report: Report) -> None:
    """What the frames of a shot differ in: place, colour, grain."""
    looks = [look for _, look in numbered]
    shift = compare.agreed_shift([block for look in looks for block in look.shifts])
    advice = "; --align-ground-truth moves it back, frame by frame"
    if shift is not None:
        report.add(
            "warning",
            str(shot.target),
            f"the Ground Truth seems shifted against the Input by {shift.dx:+.2f} pixels in x and {shift.dy:+.2f} in y"
            f" (down is +), in {shift.confidence:.0%} of the places compared{advice}",
        )
    else:
        found = [(number, compare.agreed_shift(look.shifts)) for number, look in numbered]
        if alone := [(number, one) for number, one in found if one is not None]:
            listed = ", ".join(f"{number} by {one.dx:+.2f}, {one.dy:+.2f}" for number, one in alone)
            report.add(
                "warning",
                str(shot.target),
                f"single frames seem shifted against the Input, by pixels in x and in y (down is +): {listed}{advice}",
            )
    cells = [look.cells for look in looks if look.cells is not None]
    if cells and shift is None:
        colour = compare.common_colour(np.concatenate([a for a, _ in cells]), np.concatenate([b for _, b in cells]))
        if colour.size > _LEAST_COLOUR and colour.explained > _LEAST_EXPLAINED:
            gain, offset = (", ".join(f"{v:.3f}" for v in values) for values in (colour.gain, colour.offset))
            report.add(
                "note",
                str(shot.target),
                f"the whole Ground Truth differs in colour from the Input (gain {gain}; offset {offset});"
                " if that is not the effect, match it first",
            )
    grains = [look.grain for look in looks if look.grain is not None]
    if grains:
        before, after = np.median(np.array(grains), axis=0)
        if max(before, after) > _LEAST_GRAIN and max(before, after) > _GRAIN_RATIO * min(before, after):
            less = after < before
            report.add(
                "note",
                str(shot.target),
                f"the Ground Truth has {'less' if less else 'more'} grain than the Input"
                f" ({after:.4f} and {before:.4f}); the model {'will learn that too' if less else 'cannot learn it'}",
            )
