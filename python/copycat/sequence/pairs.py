"""Which files of the Input and the Ground Truth belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copycat import sequence
from copycat.errors import CopycatError


class DatasetError(CopycatError):
    """Input and Ground Truth do not fit together; the message names the file and the value."""


@dataclass(frozen=True)
class Pair:
    """One shot: the pattern of its Input, of its Ground Truth and, where there is one, of a mask sequence."""

    input: str
    ground_truth: str
    mask: str = ""


@dataclass(frozen=True)
class FramePair:
    """One Input / Ground Truth frame on disk."""

    input: Path
    ground_truth: Path
    mask: Path | None
    frame: int


def find_frames(pairs: Sequence[Pair], training_frames: str = "all") -> tuple[FramePair, ...]:
    """The frame pairs to train on: those asked for, or all that both sequences of a pair have.

    Raises:
        DatasetError: a frame that was asked for is missing, or there is no common frame.
        sequence.SequenceError: a pattern or range cannot be understood, or matches nothing.
    """
    if not pairs:
        raise DatasetError("there is no Input and Ground Truth to train on")
    wanted = None if training_frames.strip().lower() in ("", "all") else sequence.parse_frames(training_frames)
    found: list[FramePair] = []
    for pair in pairs:
        source = sequence.ImageSequence.parse(pair.input)
        target = sequence.ImageSequence.parse(pair.ground_truth)
        mask = sequence.ImageSequence.parse(pair.mask) if pair.mask else None
        if len(source.frames()) == 1 and len(target.frames()) == 1:
            # Two single files are a pair, whatever their numbers are.
            first = (source.path(source.frames()[0]), target.path(target.frames()[0]), source.frames()[0])
            found.append(FramePair(first[0], first[1], mask.path(mask.frames()[0]) if mask else None, first[2]))
            continue
        there = {"Input": source, "Ground Truth": target} | ({"Mask": mask} if mask else {})
        common = set.intersection(*(set(one.frames()) for one in there.values()))
        frames = sorted(common) if wanted is None else wanted
        for frame in frames:
            for what, one in there.items():
                if frame not in one.frames():
                    raise DatasetError(f"{one.path(frame)}: frame {frame} of the {what} is missing")
        if not frames:
            raise DatasetError(f"{pair.input} and {pair.ground_truth} have no frame in common")
        found += [FramePair(source.path(f), target.path(f), mask.path(f) if mask else None, f) for f in frames]
    return tuple(found)
