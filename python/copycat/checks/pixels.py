"""Measures frame pairs, and reports those that are identical, of one colour, shifted, graded or grainier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from copycat.checks.compare import colour_cells, common_colour, grain
from copycat.checks.findings import CheckReport, Severity
from copycat.data.alignment import Array, BlockShift, agreed_shift, block_shifts, luminance
from copycat.sequence import ImageSequence, format_frames

Pixels = NDArray[np.floating]

# Shift, colour and grain are alike in all frames of a sequence, so it is enough to compare this many.
_COMPARED = 12
_LEAST_COLOUR = 0.02
_LEAST_EXPLAINED = 0.5
_LEAST_GRAIN = 0.003
_GRAIN_RATIO = 2.5


@dataclass
class PairMeasurements:
    """Measurements of a frame pair, small enough to keep for all pairs.

    Attributes:
        identical: Input and Ground Truth are equal.
        constant_input, constant_target: all pixels have one value.
        empty_mask: there is a mask, and it is 0 everywhere.
        shifts: of blocks of the Ground Truth against the Input.
        cells: mean colours of squares of Input and Ground Truth, None if not compared.
        grain: standard deviation of the grain of Input and Ground Truth, None if not compared.
    """

    identical: bool = False
    constant_input: bool = False
    constant_target: bool = False
    empty_mask: bool = False
    shifts: list[BlockShift] = field(default_factory=list)
    cells: tuple[Array, Array] | None = None
    grain: tuple[float, float] | None = None


def some_of(count: int) -> set[int]:
    """Indices of the frames, of ``count``, that are compared for shift, colour and grain."""
    return {int(i) for i in np.linspace(0, count - 1, min(count, _COMPARED))} if count else set()


def measure(a: Pixels, b: Pixels, alike: bool, compared: bool) -> PairMeasurements:
    """Measures a pair.

    Args:
        a, b: [H, W, C] Input and Ground Truth, finite.
        alike: whether both have the same channels.
        compared: whether to measure shift, colour and grain.
    """
    found = PairMeasurements()
    found.constant_input, found.constant_target = bool((a == a[0, 0]).all()), bool((b == b[0, 0]).all())
    found.identical = alike and np.array_equal(a, b)
    if compared and not (found.identical or found.constant_input or found.constant_target):
        source, target = a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)
        grey = luminance(source), luminance(target)
        found.shifts = block_shifts(*grey)
        found.cells = colour_cells(source), colour_cells(target)
        found.grain = grain(grey[0]), grain(grey[1])
    return found


def report_measurements(
    pairs: Sequence[tuple[int, PairMeasurements]],
    source: ImageSequence,
    target: ImageSequence,
    mask: ImageSequence | None,
    report: CheckReport,
) -> None:
    """Adds findings about a shot to the report.

    Args:
        pairs: frame numbers and their measurements.
        source, target, mask: the sequences.
        report: takes the findings.
    """

    def add(
        severity: Severity, file: ImageSequence, test: Callable[[PairMeasurements], bool], description: str
    ) -> None:
        if frames := [number for number, found in pairs if test(found)]:
            report.add(severity, str(file), f"{frames_are(frames)} {description}")

    same: Severity = "warning" if all(found.identical for _, found in pairs) else "note"
    add(same, target, lambda found: found.identical, f"the same as in {source}, pixel for pixel")
    add("warning", source, lambda found: found.constant_input, "of one colour only")
    add("note", target, lambda found: found.constant_target, "of one colour only")
    add("warning", mask or target, lambda found: found.empty_mask, "0 all over in the mask and not trained on")
    _report_differences(pairs, target, report)


def frames_are(frames: Sequence[int]) -> str:
    """``frame 7 is``, ``frames 7-9 are``."""
    return f"frame {frames[0]} is" if len(frames) == 1 else f"frames {format_frames(frames)} are"


def _report_differences(
    pairs: Sequence[tuple[int, PairMeasurements]], file: ImageSequence, report: CheckReport
) -> None:
    """Reports differences in position, colour and grain that a whole shot has."""
    measured = [found for _, found in pairs]
    shift = agreed_shift([block for found in measured for block in found.shifts])
    advice = "; --align-ground-truth moves it back, frame by frame"
    if shift is not None:
        report.add(
            "warning",
            str(file),
            f"the Ground Truth seems shifted against the Input by {shift.dx:+.2f} pixels in x and {shift.dy:+.2f} in y"
            f" (down is +), in {shift.confidence:.0%} of the blocks compared{advice}",
        )
    else:
        single = [(number, agreed_shift(found.shifts)) for number, found in pairs]
        if alone := [(number, one) for number, one in single if one is not None]:
            listed = ", ".join(f"{number} by {one.dx:+.2f}, {one.dy:+.2f}" for number, one in alone)
            report.add(
                "warning",
                str(file),
                f"single frames seem shifted against the Input, by pixels in x and in y (down is +): {listed}{advice}",
            )
    cells = [found.cells for found in measured if found.cells is not None]
    if cells and shift is None:
        colour = common_colour(np.concatenate([a for a, _ in cells]), np.concatenate([b for _, b in cells]))
        if colour.size > _LEAST_COLOUR and colour.explained > _LEAST_EXPLAINED:
            gain, offset = (", ".join(f"{v:.3f}" for v in values) for values in (colour.gain, colour.offset))
            report.add(
                "note",
                str(file),
                f"the whole Ground Truth differs in colour from the Input (gain {gain}; offset {offset});"
                " if that is not the effect, match it first",
            )
    grains = [found.grain for found in measured if found.grain is not None]
    if grains:
        before, after = np.median(np.array(grains), axis=0)
        if max(before, after) > _LEAST_GRAIN and max(before, after) > _GRAIN_RATIO * min(before, after):
            less = after < before
            report.add(
                "note",
                str(file),
                f"the Ground Truth has {'less' if less else 'more'} grain than the Input"
                f" ({after:.4f} and {before:.4f}); the model {'will learn that too' if less else 'cannot learn it'}",
            )
