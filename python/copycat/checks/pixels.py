"""What the pixels of frame pairs tell: which are not finite, the same, of one colour, moved, graded or grainier."""

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

# Shift, colour and grain are the same all over a sequence; so many of its frames are compared.
_COMPARED = 12
_LEAST_COLOUR = 0.02
_LEAST_EXPLAINED = 0.5
_LEAST_GRAIN = 0.003
_GRAIN_RATIO = 2.5


@dataclass
class Look:
    """What the pixels of a frame pair tell, small enough to keep for all of them."""

    identical: bool = False
    constant_input: bool = False
    constant_target: bool = False
    empty_mask: bool = False
    shifts: list[BlockShift] = field(default_factory=list)
    cells: tuple[Array, Array] | None = None
    grain: tuple[float, float] | None = None


def some_of(count: int) -> set[int]:
    """Which of ``count`` frames are compared for shift, colour and grain."""
    return {int(i) for i in np.linspace(0, count - 1, min(count, _COMPARED))} if count else set()


def look(a: Pixels, b: Pixels, alike: bool, compared: bool) -> Look:
    """Looks at the pixels of a pair.

    Args:
        a, b: [H, W, C] the Input and the Ground Truth, finite.
        alike: whether both have the same channels.
        compared: whether to measure shift, colour and grain.
    """
    seen = Look()
    seen.constant_input, seen.constant_target = bool((a == a[0, 0]).all()), bool((b == b[0, 0]).all())
    seen.identical = alike and np.array_equal(a, b)
    if compared and not (seen.identical or seen.constant_input or seen.constant_target):
        source, target = a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)
        grey = luminance(source), luminance(target)
        seen.shifts = block_shifts(*grey)
        seen.cells = colour_cells(source), colour_cells(target)
        seen.grain = grain(grey[0]), grain(grey[1])
    return seen


def check_looks(
    looks: Sequence[tuple[int, Look]],
    source: ImageSequence,
    target: ImageSequence,
    mask: ImageSequence | None,
    report: CheckReport,
) -> None:
    """Adds to the report what the numbered frames of a shot tell."""

    def tell(severity: Severity, file: ImageSequence, test: Callable[[Look], bool], what: str) -> None:
        if frames := [number for number, seen in looks if test(seen)]:
            report.add(severity, str(file), f"{frames_are(frames)} {what}")

    same: Severity = "warning" if all(seen.identical for _, seen in looks) else "note"
    tell(same, target, lambda seen: seen.identical, f"the same as in {source}, pixel for pixel")
    tell("warning", source, lambda seen: seen.constant_input, "of one colour only")
    tell("note", target, lambda seen: seen.constant_target, "of one colour only")
    tell("warning", mask or target, lambda seen: seen.empty_mask, "0 all over in the mask and not trained on")
    _check_differences(looks, target, report)


def frames_are(frames: Sequence[int]) -> str:
    """``frame 7 is``, ``frames 7-9 are``."""
    return f"frame {frames[0]} is" if len(frames) == 1 else f"frames {format_frames(frames)} are"


def _check_differences(numbered: Sequence[tuple[int, Look]], file: ImageSequence, report: CheckReport) -> None:
    """What the frames of a shot differ in: place, colour, grain."""
    looks = [look for _, look in numbered]
    shift = agreed_shift([block for look in looks for block in look.shifts])
    advice = "; --align-ground-truth moves it back, frame by frame"
    if shift is not None:
        report.add(
            "warning",
            str(file),
            f"the Ground Truth seems shifted against the Input by {shift.dx:+.2f} pixels in x and {shift.dy:+.2f} in y"
            f" (down is +), in {shift.confidence:.0%} of the places compared{advice}",
        )
    else:
        found = [(number, agreed_shift(look.shifts)) for number, look in numbered]
        if alone := [(number, one) for number, one in found if one is not None]:
            listed = ", ".join(f"{number} by {one.dx:+.2f}, {one.dy:+.2f}" for number, one in alone)
            report.add(
                "warning",
                str(file),
                f"single frames seem shifted against the Input, by pixels in x and in y (down is +): {listed}{advice}",
            )
    cells = [look.cells for look in looks if look.cells is not None]
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
    grains = [look.grain for look in looks if look.grain is not None]
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
