"""Checks a data set before a training: names, headers, and the pixels of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from copycat.checks.findings import CheckReport, Finding, Severity
from copycat.checks.pixels import PairMeasurements, Pixels, frames_are, measure, report_measurements, some_of
from copycat.data.frames import (
    PairChannels,
    PairHeaders,
    check_headers,
    choose_channels,
    common_window,
    leave_out_unusable,
    read_headers,
    read_pair,
    valid_window,
)
from copycat.errors import CopycatError
from copycat.machine import free_memory, usable_cores
from copycat.sequence import ImageSequence
from copycat.sequence.pairs import DatasetError, FramePair, Patterns, chosen_frames, match_frames
from copycat.settings.tables import Settings

_MANY_PAIRS = 100
_MOST_OF_A_FRAME = 0.9


@dataclass
class _Shot:
    """A pair of sequences: its frame pairs, and the headers of their files."""

    input: ImageSequence
    target: ImageSequence
    mask: ImageSequence | None
    pairs: list[FramePair]
    headers: list[PairHeaders] = field(default_factory=list)


class Inspection:
    """A check of a data set: names and headers first, then the pixels of its pairs, read here or by a training.

    :meth:`look` may be called by several threads; everything else by one.

    Attributes:
        report: the findings so far.
    """

    def __init__(self, pairs: Sequence[Patterns], settings: Settings) -> None:
        """Checks names and headers; problems become findings, nothing is raised.

        Args:
            pairs: pairs of sequences.
            settings: of the training.
        """
        self.report = CheckReport()
        self.shots: list[_Shot] = []
        self._settings = settings
        self._channels: PairChannels | None = None
        self._measured: dict[tuple[Path, Path], PairMeasurements] = {}
        self._compared: set[tuple[Path, Path]] = set()
        try:
            frames = chosen_frames(settings.training_frames)
        except CopycatError as error:
            self.report.findings.append(Finding("error", str(error)))
            return
        for pair in pairs:
            match = match_frames(pair, frames, growing=settings.watch_training_frames)
            self.report.findings += [Finding(one.severity, one.sentence, one.file) for one in match.problems]
            if match.input and match.ground_truth and match.pairs:
                self.shots.append(_Shot(match.input, match.ground_truth, match.mask, match.pairs))
        self.report.pairs = sum(len(shot.pairs) for shot in self.shots)
        with _readers() as pool:
            for shot in self.shots:
                self._check_headers(shot, pool)
        for shot in self.shots:
            self._compared |= {_files(shot.pairs[i]) for i in some_of(len(shot.pairs))}

    def _check_headers(self, shot: _Shot, pool: ThreadPoolExecutor) -> None:
        """Reads the headers of a shot and drops pairs that cannot be trained on."""
        pairs, cropped = [], []
        for pair, headers in zip(shot.pairs, pool.map(_headers_or_error, shot.pairs), strict=True):
            try:
                if isinstance(headers, CopycatError):
                    raise headers
                self._channels = self._channels or choose_channels(self._settings, headers)
                check_headers(pair, headers, self._channels)
                window = common_window(pair, headers, self._channels, self._settings.matte)
            except CopycatError as error:
                self.report.findings.append(Finding("error", str(error), str(pair.ground_truth)))
                continue
            pairs.append(pair)
            shot.headers.append(headers)
            if _area(window) < _MOST_OF_A_FRAME * _area(valid_window(headers.input, self._channels.input)):
                cropped.append(pair.frame)
        shot.pairs = pairs
        if cropped:
            sentence = f"{frames_are(cropped)} trained on inside the data window only; outside of it there is no colour"
            self.report.add("note", str(shot.target), sentence)
        for pair, headers in zip(pairs[:1], shot.headers[:1], strict=True):
            source, target = headers.input, headers.target
            if source.linear != target.linear:
                state = {True: "scene-linear", False: "not scene-linear"}
                self.report.add(
                    "warning",
                    pair.ground_truth,
                    f"is {state[target.linear]} ({target.dtype} {target.format}), while its Input is"
                    f" {state[source.linear]} ({source.dtype} {source.format})",
                )

    def refuse_errors(self) -> None:
        """Raises DatasetError with the sentence of the first error, if there is one."""
        errors = self.report.errors
        if errors:
            more = f" (and {len(errors) - 1} more, which copycat check lists)" if len(errors) > 1 else ""
            raise DatasetError(errors[0].sentence + more)

    def look(self, source: Path, target: Path, source_part: Pixels, target_part: Pixels, empty_mask: bool) -> None:
        """Measures a pair.

        Args:
            source, target: files of Input and Ground Truth.
            source_part, target_part: [H, W, C] the valid pixels of both, finite.
            empty_mask: whether there is a mask, and it is 0 everywhere.
        """
        assert self._channels is not None
        alike = self._channels.input == self._channels.target
        compared = alike and (source, target) in self._compared
        self._measured[source, target] = measure(source_part, target_part, alike, compared)
        self._measured[source, target].empty_mask = empty_mask

    def read(self) -> None:
        """Reads and measures all pairs."""
        free = free_memory()
        pairs, most = [], 1
        for pair, headers in (one for shot in self.shots for one in zip(shot.pairs, shot.headers, strict=True)):
            size = self._memory(headers)
            if size > free:
                needs = f"{headers.input.width}x{headers.input.height} needs {size / 1e9:.1f} GB of memory"
                self.report.add("error", pair.input, f"{needs} to be checked, and {free / 1e9:.1f} GB are free")
            else:
                pairs.append((pair, headers))
                most = max(most, size)
        with _readers(free // most) as pool:
            tasks = [pool.submit(self._read, *one) for one in pairs]
            for (pair, _), task in zip(pairs, tasks, strict=True):
                try:
                    self.report.findings += task.result()
                except CopycatError as error:
                    self.report.findings.append(Finding("error", str(error), str(pair.ground_truth)))

    def _memory(self, headers: PairHeaders) -> int:
        """Bytes that :meth:`_read` takes, with the copies that it makes on the way."""
        assert self._channels is not None
        values = len(self._channels.input) + len(self._channels.target) + 1
        return 2 * 4 * values * headers.input.width * headers.input.height

    def _read(self, pair: FramePair, headers: PairHeaders) -> list[Finding]:
        """Measures a pair; returns findings about values that cannot be used. Frees every frame on return."""
        assert self._channels is not None
        x0, y0, x1, y1 = valid = common_window(pair, headers, self._channels, self._settings.matte)
        pixels = read_pair(pair, self._channels)
        bad, clamped = leave_out_unusable(pair, pixels, valid)
        parts = pixels.input[y0:y1, x0:x1], pixels.target[y0:y1, x0:x1]
        self.look(*_files(pair), *parts, empty_mask=pixels.mask is not None and not pixels.mask.any())
        severity: Severity = "error" if self._settings.non_finite == "Error" else "warning"
        findings = [Finding(severity, one.sentence, str(one.file)) for one in bad]
        return findings + [Finding("warning", sentence, sentence.partition(": ")[0]) for sentence in clamped]

    def finish(self) -> CheckReport:
        """Adds the findings about pixels; returns the report, the most severe findings first."""
        for shot in self.shots:
            files = [(pair.frame, _files(pair)) for pair in shot.pairs]
            measured = [(frame, self._measured[both]) for frame, both in files if both in self._measured]
            report_measurements(measured, shot.input, shot.target, shot.mask, self.report)
        if self._measured and all(found.empty_mask for found in self._measured.values()):
            self.report.add("error", "", "the mask is 0 in all frames: there is nothing to train on")
        self.report.findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
        return self.report


def inspect_dataset(pairs: Sequence[Patterns], settings: Settings, *, pixels: bool = True) -> CheckReport:
    """Checks a data set; problems become findings, nothing is raised.

    Args:
        pairs: pairs of sequences.
        settings: of the training.
        pixels: whether to read pixels too; else only names and headers.
    """
    inspection = Inspection(pairs, settings)
    _check_amounts(inspection.shots, settings.crop_size, settings.use_multi_resolution_training, inspection.report)
    if pixels:
        inspection.read()
    return inspection.finish()


def _readers(most: int = 4) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, min(4, most, usable_cores())), "copycat-check")


def _files(pair: FramePair) -> tuple[Path, Path]:
    return pair.input, pair.ground_truth


def _area(window: tuple[int, int, int, int]) -> int:
    return (window[2] - window[0]) * (window[3] - window[1])


def _headers_or_error(pair: FramePair) -> PairHeaders | CopycatError:
    try:
        return read_headers(pair)
    except CopycatError as error:
        return error


def _check_amounts(shots: Sequence[_Shot], crop_size: int, multi_resolution: bool, report: CheckReport) -> None:
    """Compares sizes and number of the pairs with the settings."""
    sizes = sorted({(headers.input.width, headers.input.height) for shot in shots for headers in shot.headers})
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
    count = sum(len(shot.pairs) for shot in shots)
    if multi_resolution and count > _MANY_PAIRS:
        report.add(
            "note",
            "",
            f"{count} pairs are more than {_MANY_PAIRS}: Multi-Resolution Training is better off with so many",
        )
