"""Which files of the Input, the Ground Truth and the mask belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from copycat.errors import CopycatError
from copycat.sequence.error import SequenceError
from copycat.sequence.pattern import ImageSequence, format_frames, missing_frames, parse_frames


class DatasetError(CopycatError):
    """Input and Ground Truth do not fit together; the message names the file and the value."""


class Patterns(Protocol):
    """The patterns of one shot, as :class:`Pair` has them."""

    @property
    def input(self) -> str:
        """Pattern of the Input."""

    @property
    def ground_truth(self) -> str:
        """Pattern of the Ground Truth."""

    @property
    def mask(self) -> str:
        """Pattern of the mask, empty if there is none."""


@dataclass(frozen=True)
class Pair:
    """One shot: the pattern of its Input, of its Ground Truth and, where there is one, of a mask sequence."""

    input: str
    ground_truth: str
    mask: str = ""

    def __post_init__(self) -> None:
        """Makes paths text; raises DatasetError for anything else, such as an array."""
        for name in ("input", "ground_truth", "mask"):
            pattern = getattr(self, name)
            if not isinstance(pattern, (str, os.PathLike)):
                label = name.replace("_", " ").title()
                raise DatasetError(
                    f"the {label} is of type {type(pattern).__name__}: name the files, as in plate.%04d.exr"
                )
            object.__setattr__(self, name, os.fspath(pattern))


@dataclass(frozen=True)
class FramePair:
    """One Input / Ground Truth frame on disk."""

    input: Path
    ground_truth: Path
    mask: Path | None
    frame: int


@dataclass(frozen=True)
class Problem:
    """A problem of a shot: frames without a partner, a gap, or a pattern without files.

    Attributes:
        severity: "error" if a training must not start, "warning" if it can leave these frames out.
        sentence: names the file and the frames.
        file: the pattern that the sentence is about.
    """

    severity: Literal["error", "warning"]
    sentence: str
    file: str


@dataclass
class Match:
    """The frame pairs of one shot.

    Attributes:
        pairs: the frames that have all their files, in ascending order.
        problems: what is wrong with the others.
        input, ground_truth, mask: the sequences; None if a pattern matches no file or, for the mask, if there is none.
    """

    pairs: list[FramePair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    input: ImageSequence | None = None
    ground_truth: ImageSequence | None = None
    mask: ImageSequence | None = None


def find_frames(
    pairs: Sequence[Patterns], training_frames: str = "all", *, growing: bool = False
) -> tuple[FramePair, ...]:
    """Finds the frame pairs to train on.

    Args:
        pairs: the shots.
        training_frames: frame ranges that every shot must have, or "all" for the frames that all its sequences have.
        growing: accept ranges with frames that only the Input has yet, as long as one is there.

    Raises:
        DatasetError: a requested frame is missing, or there is no common frame.
        SequenceError: a pattern or range cannot be understood, or matches nothing.
    """
    if not pairs:
        raise DatasetError("there is no Input and Ground Truth to train on")
    numbers = chosen_frames(training_frames)
    found: list[FramePair] = []
    for pair in pairs:
        match = match_frames(pair, numbers, growing=growing)
        for problem in match.problems:
            if problem.severity == "error":
                raise DatasetError(problem.sentence)
        found += match.pairs
    return tuple(found)


def left_out(pairs: Sequence[Patterns], training_frames: str = "all", *, growing: bool = False) -> tuple[str, ...]:
    """Sentences about files that are not trained on, and about gaps in the sequences.

    Args:
        pairs, training_frames, growing: as for :func:`find_frames`, which accepts them.
    """
    numbers = chosen_frames(training_frames)
    problems = [problem for pair in pairs for problem in match_frames(pair, numbers, growing=growing).problems]
    return tuple(problem.sentence for problem in problems if problem.severity == "warning")


def chosen_frames(training_frames: str) -> list[int] | None:
    """The frames of the knob Training Frames; None for all.

    Raises:
        SequenceError: it is no list of frame ranges.
    """
    return None if training_frames.strip().lower() in ("", "all") else parse_frames(training_frames)


def match_frames(patterns: Patterns, numbers: Iterable[int] | None = None, *, growing: bool = False) -> Match:
    """Matches the files of one shot by frame number; problems are returned, not raised.

    Two single files are a pair whatever their numbers, and a single file given as mask is the mask of every frame. A
    sequence of one frame is a sequence: its frame must be the partner's.

    Args:
        patterns: the shot.
        numbers: the frames to match; None for all that have their files.
        growing: a frame of these that has an Input and no Ground Truth or mask yet is a warning, while one has both.
    """
    match = Match()
    for role in ("input", "ground_truth", "mask"):
        if pattern := getattr(patterns, role):
            try:
                found = ImageSequence.parse(pattern)
                found.frames()
                setattr(match, role, found)
            except SequenceError as error:
                match.problems.append(Problem("error", str(error), pattern))
        elif role != "mask":
            match.problems.append(Problem("error", f"the {_LABELS[role]} is not given", pattern))
    if match.input and match.ground_truth and not match.problems:
        _match(match, match.input, match.ground_truth, match.mask, numbers, growing)
    return match


_DENSE = 5  # frames for each that is missing
_LABELS = {"input": "Input", "ground_truth": "Ground Truth", "mask": "Mask"}


def _match(
    match: Match,
    source: ImageSequence,
    target: ImageSequence,
    mask: ImageSequence | None,
    numbers: Iterable[int] | None,
    growing: bool,
) -> None:
    """Fills in the pairs and the problems of sequences that all have files."""
    stills = source.single and target.single
    sequences = {"input": source, "ground_truth": target} | ({"mask": mask} if mask and not mask.single else {})
    there = {role: set(one.frames()) for role, one in sequences.items()}
    match.problems += [Problem("warning", one.left_out, str(one)) for one in sequences.values() if one.left_out]
    if stills:
        numbers = there["ground_truth"] = there["input"]
    elif nameless := next((one for one in (source, target) if not one.numbered), None):
        other = target if nameless is source else source
        sentence = f"{nameless} has no frame number that says which frame of {other} it belongs to"
        match.problems.append(Problem("error", sentence, str(nameless)))
        return
    common = set.intersection(*there.values())
    if numbers is None:
        _report_alone(match, sequences, there)
    else:
        common &= set(numbers)
        for role, one in sequences.items():
            if missing := sorted(set(numbers) - there[role]):
                sentence = f"{one.path(missing[0])}: {_frames(missing, f'of the {_LABELS[role]}')} missing"
                comes = growing and bool(common) and role != "input"
                if comes:
                    sentence += f"; {'it' if len(missing) == 1 else 'each'} is taken in when it is there"
                match.problems.append(Problem("warning" if comes else "error", sentence, str(one)))
    match.pairs = [
        FramePair(source.path(frame), target.path(frame), mask.path(frame) if mask else None, frame)
        for frame in sorted(common)
    ]


def _report_alone(match: Match, sequences: dict[str, ImageSequence], there: dict[str, set[int]]) -> None:
    """Reports Ground Truth frames without an Input, gaps, and pairs without a mask."""
    source, target, mask = sequences["input"], sequences["ground_truth"], sequences.get("mask")
    both = there["input"] & there["ground_truth"]
    if not both:
        frames = [format_frames(list(there[role])) for role in ("input", "ground_truth")]
        sentence = f"{source} ({frames[0]}) and {target} ({frames[1]}) have no frame in common"
        match.problems.append(Problem("error", sentence, str(target)))
        return
    if not source.single and (alone := sorted(there["ground_truth"] - there["input"])):
        sentence = f"{target}: {_frames(alone)} without an Input in {source} and left out"
        match.problems.append(Problem("warning", sentence, str(target)))
    gaps = {role: _gaps(one, there[role]) for role, one in (("input", source), ("ground_truth", target))}
    # A Ground Truth is painted on some frames only: what it lacks is a gap if it has nearly all others.
    if len(gaps["ground_truth"]) * _DENSE > len(there["ground_truth"]):
        gaps["ground_truth"] = set()
    gaps["ground_truth"] &= there["input"]
    gaps["input"] -= there["ground_truth"]
    for role, missing in gaps.items():
        if missing:
            sentence = f"{sequences[role]}: {_frames(sorted(missing), f'of the {_LABELS[role]}')} missing"
            match.problems.append(Problem("warning", sentence, str(sequences[role])))
    if mask and (bare := sorted(both - there["mask"])):
        masked = both & there["mask"]
        sentence = f"{mask}: {_frames(bare)} missing, " + (
            "so these pairs are left out" if masked else "so that no pair has a mask"
        )
        match.problems.append(Problem("warning" if masked else "error", sentence, str(mask)))


def _gaps(one: ImageSequence, there: set[int]) -> set[int]:
    """The frames that a sequence lacks between its first and its last; none if it has no regular step."""
    missing = set() if one.single else set(missing_frames(sorted(there)))
    return missing if len(missing) < len(there) else set()


def _frames(frames: Sequence[int], owner: str = "") -> str:
    """``frame 7 of the Input is``, ``frames 7-9 are``."""
    one = len(frames) == 1
    words = [f"frame {frames[0]}" if one else f"frames {format_frames(frames)}", owner, "is" if one else "are"]
    return " ".join(word for word in words if word)
