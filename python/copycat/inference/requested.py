"""The frames of a plate that somebody asks for: ranges, numbers, or all."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable

from copycat.sequence import ImageSequence, SequenceError, parse_frames


def requested_frames(source: ImageSequence, frames: str | int | Iterable[int]) -> list[int]:
    """The requested frames: a range, a number, numbers, or "all"; each once, in the order given.

    Raises:
        SequenceError: none is, or one is no frame number.
    """
    if isinstance(frames, str):
        numbers = source.frames() if frames.strip().lower() in ("", "all") else parse_frames(frames)
    else:
        numbers = _whole_numbers(frames)
    if not numbers:
        raise SequenceError(f"{source}: no frame of the plate was selected")
    return list(dict.fromkeys(numbers))


def _whole_numbers(frames: int | Iterable[int]) -> list[int]:
    with contextlib.suppress(TypeError):
        return [operator.index(frames)]  # type: ignore[arg-type]
    with contextlib.suppress(TypeError):
        return [operator.index(frame) for frame in frames]  # type: ignore[union-attr]
    raise SequenceError(f"{frames!r} are no frames: give a range, a number or numbers")


def frame_numbers(source: ImageSequence, frames: str | int | Iterable[int]) -> list[int]:
    """The requested frames, all of which the plate has.

    Raises:
        SequenceError: one is missing, or see :func:`requested_frames`.
    """
    numbers, there = requested_frames(source, frames), set(source.frames())
    for frame in numbers:
        if frame not in there:
            raise missing_frame(source, frame)
    return numbers


def missing_frame(source: ImageSequence, frame: int) -> SequenceError:
    """The error for a frame that the plate lacks."""
    return SequenceError(f"{source.path(frame)}: frame {frame} of the plate is missing")
