"""Looks over a data set before a training and says what is wrong with it, or looks unintended.

An *error* is what a training would stop at, a *warning* what most likely is a mistake, a *note* what is good to know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from copycat.checks.findings import Finding, Report, Severity
from copycat.checks.pixels import Look, Pixels, check_looks, frames_are, look, some_of
from copycat.sequence import (
    FrameInfo,
    ImageSequence,
    SequenceError,
    describe_size,
    parse_frames,
    read_frame,
    read_info,
    resolve_channels,
)
from copycat.sequence.non_finite import without_non_finite
from copycat.settings.tables import Settings

_SMALLEST = 16
_MANY_PAIRS = 100


class PairOfSequences(Protocol):
    """What is looked at of a ``copycat.sequence.pairs.Pair``: patterns, and an optional ``mask``."""

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

    @property
    def files(self) -> tuple[Path, Path]:
        return self.input, self.target


@dataclass
class _Wanted:
    """What the training would read of each file."""

    input: tuple[str, ...]
    target: tuple[str, ...]
    mask_channel: str


class Inspection:
    """A look over a data set: at names and headers first, then at the pixels of its pairs, whoever reads them.

    Attributes:
        report: what was found so far.
    """

    def __init__(self, pairs: Sequence[PairOfSequences], settings: Settings) -> None:
        """Looks at names and headers; nothing is raised for what is wrong with them.

        Args:
            pairs: pairs of sequences.
            settings: of the training: frames, channels, what non-finite pixels do.
        """
        self.report = Report()
        self._settings = settings
        self._channels: _Wanted | None = None
        self._shots: list[_Shot] = []
        self._looks: dict[tuple[Path, Path], Look] = {}
        self._compared: set[tuple[Path, Path]] = set()
        asked = settings.training_frames.strip()
        try:
            wanted = None if asked.lower() in ("", "all") else parse_frames(asked)
        except SequenceError as error:
            self.report.findings.append(Finding("error", str(error)))
            return
        self._shots = [shot for pair in pairs for shot in _match(pair, wanted, self.report)]
        self.report.pairs = sum(len(shot.frames) for shot in self._shots)
        channels = (settings.input_channels, settings.ground_truth_channels, settings.mask_channel)
        with _readers() as pool:
            self._channels = _check_headers(self._shots, channels, self.report, pool)
        for shot in self._shots:
            self._compared |= {shot.frames[i].files for i in some_of(len(shot.frames))}

    def refuse_errors(self) -> None:
        """Raises SequenceError with the first error's sentence, where there is an error."""
        errors = self.report.errors
        if errors:
            more = f" (and {len(errors) - 1} more, which copycat check lists)" if len(errors) > 1 else ""
            raise SequenceError(errors[0].sentence + more)

    def look(self, source: Path, target: Path, source_part: Pixels, target_part: Pixels, empty_mask: bool) -> None:
        """Looks at the pixels of a pair; may be called by several threads.

        Args:
            source, target: its Input and its Ground Truth file.
            source_part, target_part: [H, W, C] what both files have data for, finite.
            empty_mask: whether there is a mask, and it is 0 all over.
        """
        assert self._channels is not None
        alike = self._channels.input == self._channels.target
        seen = look(source_part, target_part, alike, alike and (source, target) in self._compared)
        seen.empty_mask = empty_mask
        self._looks[source, target] = seen

    def read(self) -> None:
        """Reads all pairs and looks at their pixels."""
        pairs = [pair for shot in self._shots for pair in shot.frames] if self._channels else []
        severity: Severity = "error" if self._settings.non_finite == "Error" else "warning"
        with _readers() as pool:
            for pair, task in zip(pairs, [pool.submit(self._read, pair) for pair in pairs], strict=True):
                try:
                    for path, sentence in task.result():
                        self.report.add(severity, path, sentence)
                except SequenceError as error:
                    self.report.findings.append(Finding("error", str(error), str(pair.target)))

    def _read(self, pair: _FramePair) -> list[tuple[Path, str]]:
        """Looks at a pair; what is said of non-finite pixels. Every array of a frame's size is let go of on return."""
        assert self._channels is not None
        source, target = read_frame(pair.input, self._channels.input), read_frame(pair.target, self._channels.target)
        x0, y0 = map(int, np.maximum(source.valid[:2], target.valid[:2]))
        x1, y1 = map(int, np.minimum(source.valid[2:], target.valid[2:]))
        if min(x1 - x0, y1 - y0) < _SMALLEST:
            raise SequenceError(f"{pair.target}: its data window hardly meets that of its Input {pair.input}")
        parts = source.pixels[y0:y1, x0:x1], target.pixels[y0:y1, x0:x1]
        said = [(path, without_non_finite(part, x0, y0)) for path, part in zip(pair.files, parts, strict=True)]
        self.look(*pair.files, *parts, empty_mask=_mask_is_empty(pair, self._channels))
        return [(path, sentence) for path, sentence in said if sentence]

    def finish(self) -> Report:
        """The report with what the pixels told, the gravest first."""
        for shot in self._shots:
            looks = [(pair.number, self._looks[pair.files]) for pair in shot.frames if pair.files in self._looks]
            check_looks(looks, shot.input, shot.target, shot.mask, self.report)
        self.report.findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
        return self.report


def inspect_dataset(pairs: Sequence[PairOfSequences], settings: Settings, *, pixels: bool = True) -> Report:
    """Looks over a data set; nothing is raised for what is wrong with it.

    Args:
        pairs: pairs of sequences.
        settings: of the training.
        pixels: whether pixels are read too; without them only names and headers are looked at.
    """
    inspection = Inspection(pairs, settings)
    _check_amounts(inspection._shots, settings.crop_size, settings.use_multi_resolution_training, inspection.report)
    if pixels:
        inspection.read()
    return inspection.finish()


def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 2), "copycat-check")


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
                report.add("error", str(one), f"{frames_are(missing)} missing")
        common = sorted(set(common) & set(wanted))
    else:
        if alone := sorted(set(there[1]) - set(there[0])):
            report.add("warning", str(target), f"{frames_are(alone)} without an Input in {source} and left out")
        if mask and (bare := sorted(set(there[0]) & set(there[1]) - set(there[2]))):
            report.add("warning", str(mask[0]), f"{frames_are(bare)} missing, so these pairs are left out")
    if not common:
        report.add("error", str(target), f"has no frame in common with {source}")
        return
    shot.frames += [
        _FramePair(f, source.path(f), target.path(f), shot.mask.path(f) if shot.mask else None) for f in common
    ]
    yield shot


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


def _mask_is_empty(pair: _FramePair, channels: _Wanted) -> bool:
    if pair.mask is None and not channels.mask_channel:
        return False
    path = pair.mask or pair.target
    name = channels.mask_channel or read_info(path).channels[0]
    return not read_frame(path, [name]).pixels.any()
