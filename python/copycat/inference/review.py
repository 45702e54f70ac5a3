"""Says for each frame of a shot how far to trust a model's result, without the truth.

A frame's *doubt* is the geometric mean of ratios, each to the median of the painted frames: of its disagreement, its
unlikeness, at least 1, its chatter and, of a matte, its indecision (:mod:`copycat.inference.signals`). So 1 is usual on
painted frames. ``docs/explanation/benchmarks.md`` says how well doubt and true error agree.

The ``.review`` of a run, and the JSON of the command line, are one object::

    {"model": "runs/a_2000.cat", "input": "plate.%04d.exr", "doubtful": [1013],
     "frames": [{"frame": 1013, "doubt": 1.61, "disagreement": 0.0053, "unlikeness": 0.42, "chatter": 1.31,
                 "indecision": null, "painted": false, "doubtful": true}, ...]}

``chatter`` is null where no neighbour was reviewed, ``indecision`` where the result has no matte.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from copycat.errors import CopycatError
from copycat.inference.model import Model, model_for
from copycat.inference.outputs import check_overwriting
from copycat.inference.painted import is_plate_of, run_of, trained_frames
from copycat.inference.render import FrameReport
from copycat.inference.requested import frame_numbers
from copycat.inference.review_sheet import Picture, sheet_picture, write_sheet
from copycat.inference.signals import Chatter, look, unlikeness
from copycat.runs import RunError, write_json
from copycat.sequence import ImageSequence, check_writable, read_frames_parallel, read_info, resolve_channels
from copycat.settings.knob import SettingsError
from copycat.settings.tables import InferenceSettings

DOUBTFUL = 1.25
_KNOBS = ("gpu_index", "half_precision", "tile_size", "use_gpu_if_available")
_LOOK_AHEAD = 2
_MOST_PAINTED = 16  # frames that the others are compared with
_LEAST = 1e-6  # of a signal; below it there is nothing to compare


class ReviewError(CopycatError):
    """No file says what a model was trained on."""


@dataclass(frozen=True)
class ReviewedFrame:
    """A frame of the plate.

    Attributes:
        frame: its number.
        doubt: how little to trust its result; 1 is the median of the painted frames.
        disagreement: mean change of the result when the network sees a part of the frame, in the result's units.
        unlikeness: mean distance of its content to the nearest in a painted frame, in standard deviations.
        chatter: how many times as much as the plate the result differs from its neighbours; None without a neighbour.
        indecision: mean of m (1 - m) over the result's mattes; None without one.
        painted: whether the model was trained on it.
        doubtful: whether it is not painted and its doubt is above ``DOUBTFUL``.
    """

    frame: int
    doubt: float
    disagreement: float
    unlikeness: float
    chatter: float | None
    indecision: float | None
    painted: bool
    doubtful: bool


@dataclass(frozen=True)
class Review:
    """What was found.

    Attributes:
        model: the .cat.
        input: the plate's pattern, absolute.
        frames: in the plate's order.
        sheet: the contact sheet of the worst frames; None if there is none.
    """

    model: Path
    input: str
    frames: tuple[ReviewedFrame, ...]
    sheet: Path | None = None

    @property
    def worst(self) -> list[ReviewedFrame]:
        """The frames that are not painted, the most doubtful first."""
        return sorted((one for one in self.frames if not one.painted), key=lambda one: -one.doubt)

    def to_json(self) -> dict[str, Any]:
        """The object that the module describes."""
        doubtful = [one.frame for one in self.frames if one.doubtful]
        rows = [asdict(one) for one in self.frames]
        return {"model": str(self.model), "input": self.input, "doubtful": doubtful, "frames": rows}


def review(
    model: Model | str | Path,
    plate: str | Path,
    *,
    frames: str | int | Iterable[int] = "all",
    ground_truth_frames: str | int | Iterable[int] | None = None,
    json: str | Path = "",
    sheet: str | Path = "",
    settings: InferenceSettings | None = None,
    progress: Callable[[FrameReport], None] | None = None,
    warn: Callable[[str], None] | None = None,
    **knobs: Any,
) -> Review:
    """Says for each frame of a plate how far to trust a model's result.

    A run's review of its own plate is written as its ``.review``, which Shot view shows, and a contact sheet of the
    worst frames beside it (``<run>_review.png``), if the run can be written. All files are written whole at the end.

    Args:
        model: a .cat, a run, or a Model.
        plate: the sequence.
        frames: a range, a number or numbers to review; by default all frames of the plate.
        ground_truth_frames: a range, a number or numbers of the plate's painted frames; None reads them from the file
            that the training left beside the model.
        json: a file for the review of every frame, as the module describes it.
        sheet: a PNG for the contact sheet, instead of the run's.
        settings: device, precision, tiles; fields given by keyword take precedence.
        progress: called after each frame.
        warn: called with a sentence that the user should know.

    Returns:
        The review of every frame.

    Raises:
        ReviewError: no file says what the model was trained on.
        CopycatError: a file cannot be read or written, or does not fit the model.
    """
    for name in knobs:
        if name not in _KNOBS:
            raise SettingsError(f"unknown knob {name!r}; the knobs of review are {', '.join(_KNOBS)}")
    if sheet and Path(sheet).suffix.lower() != ".png":
        raise ReviewError(f"{sheet}: the contact sheet is a PNG, so its name ends in .png")
    files = [Path(file) for file in (json, sheet) if file]
    settings = (settings or InferenceSettings()).replace(**knobs)
    model = model_for(model, settings, warn)
    source = ImageSequence.parse(plate)
    numbers = sorted(frame_numbers(source, frames))
    run = run_of(model)
    painted, others = trained_frames(run, source) if run else (set(), [])
    if ground_truth_frames is not None:
        painted, others = set(frame_numbers(source, ground_truth_frames)), []
    if not painted and not others:
        raise ReviewError(f"{model.path}: no file says what it was trained on; give the Ground Truth frames")
    check_overwriting(files, (model.path, *map(source.path, source.frames())))
    check_writable(files)
    own = {number: source.path(number) for number in numbers}
    chosen = _spread([*(source.path(number) for number in sorted(painted)), *others])
    there = set(own.values())
    evidence = _look_at(model, source, own, [path for path in chosen if path not in there], settings, progress, warn)
    result = Review(model.path, os.path.abspath(str(source)), _compared(own, evidence, chosen, painted))
    worst = [_labelled(one, evidence[own[one.frame]]) for one in result.worst]
    if json:
        write_json(Path(json), result.to_json())
    if sheet and worst:
        write_sheet(Path(sheet), worst)
        result = replace(result, sheet=Path(sheet))
    if run and is_plate_of(run, source):
        try:
            write_json(run.review, result.to_json())
            if worst and not sheet:
                write_sheet(run.review_sheet, worst)
                result = replace(result, sheet=run.review_sheet)
        except RunError as error:  # the run may be somebody else's
            (warn or _ignore)(str(error))
    return result


@dataclass(eq=False)
class _Evidence:
    """What is kept of a frame: its signals, features, and pictures for the sheet.

    Attributes:
        chatters: to each neighbour.
    """

    disagreement: float
    indecision: float
    cells: Tensor
    plate: Picture
    result: Picture
    chatters: list[float] = field(default_factory=list)

    @property
    def chatter(self) -> float:
        """The mean over the neighbours; NaN without one."""
        return float(np.mean(self.chatters)) if self.chatters else math.nan


def _look_at(
    model: Model,
    source: ImageSequence,
    own: Mapping[int, Path],
    more: Sequence[Path],
    settings: InferenceSettings,
    progress: Callable[[FrameReport], None] | None,
    warn: Callable[[str], None] | None,
) -> dict[Path, _Evidence]:
    """Looks at the plate's frames, and at painted ones that are not among them."""
    paths = [*own.values(), *more]
    info = read_info(paths[0])
    channels = resolve_channels(",".join(model.channels_in), info)
    previous = {after: before for before, after in pairwise(source.frames())}
    chatter, last = Chatter(model), None
    evidence: dict[Path, _Evidence] = {}
    frames = zip(
        [*own, *[None] * len(more)], paths, read_frames_parallel(paths, channels, look_ahead=_LOOK_AHEAD), strict=True
    )
    for number, path, frame in frames:
        one = look(model, frame.pixels, settings.tile_size, None if warn is None else partial(_warn_of, warn, path))
        pictures = [
            sheet_picture(one.plate, info.linear, model.channels_in),
            sheet_picture(one.result, info.linear, model.channels_out),
        ]
        evidence[path] = _Evidence(one.disagreement, one.indecision, one.cells, pictures[0], pictures[1])
        if number is None:
            continue
        if last and previous.get(number) == last[0]:
            value = chatter.between(last[1], one)
            for neighbour in () if math.isnan(value) else (path, own[last[0]]):
                evidence[neighbour].chatters.append(value)
        last = number, one
        if progress:
            progress(FrameReport(number, len(evidence), len(own), path))
    return evidence


def _compared(
    own: Mapping[int, Path], evidence: Mapping[Path, _Evidence], chosen: Sequence[Path], painted: set[int]
) -> tuple[ReviewedFrame, ...]:
    """The plate's frames beside the painted ones."""
    frames = list(evidence.values())
    strange = unlikeness([one.cells for one in frames], [evidence[path].cells for path in chosen])
    signals = np.array(
        [[one.disagreement, unlike, one.chatter, one.indecision] for one, unlike in zip(frames, strange, strict=True)]
    )
    index = {path: i for i, path in enumerate(evidence)}
    doubts = doubts_of(signals, [index[path] for path in chosen])
    reviewed = []
    for number, path in own.items():
        row, doubt, is_painted = signals[index[path]].tolist(), float(doubts[index[path]]), number in painted
        reviewed.append(
            ReviewedFrame(
                frame=number,
                doubt=doubt,
                disagreement=row[0],
                unlikeness=row[1],
                chatter=None if math.isnan(row[2]) else row[2],
                indecision=None if math.isnan(row[3]) else row[3],
                painted=is_painted,
                doubtful=doubt > DOUBTFUL and not is_painted,
            )
        )
    return tuple(reviewed)


def doubts_of(signals: np.ndarray, painted: Sequence[int]) -> NDArray[np.float64]:
    """The doubt of each frame.

    Args:
        signals: [N, 4] disagreement, unlikeness, chatter and indecision; NaN where there is none.
        painted: indices of the painted frames.

    Returns:
        [N] the geometric mean of the ratios to the painted frames.
    """
    usual = [_usual(signals[list(painted), i], signals[:, i]) for i in range(signals.shape[1])]
    ratios = np.maximum(signals, _LEAST) / np.maximum(usual, _LEAST)
    # A frame that is more like a painted one than these are to each other is no better for it.
    ratios[:, 1] = np.maximum(ratios[:, 1], 1)
    doubts: NDArray[np.float64] = np.exp(np.nanmean(np.log(ratios), axis=1))
    return doubts


def _usual(painted: np.ndarray, everything: np.ndarray) -> float:
    """The median of a signal over the painted frames; over all frames where no painted frame has it."""
    for values in (painted, everything):
        if not np.isnan(values).all():
            return float(np.nanmedian(values))
    return 1.0


def _spread(paths: Sequence[Path]) -> list[Path]:
    """At most 16 of the paths, evenly spread."""
    return [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(len(paths), _MOST_PAINTED))]


def _warn_of(warn: Callable[[str], None], path: Path, sentence: str) -> None:
    warn(f"{path}: {sentence}")


def _labelled(one: ReviewedFrame, evidence: _Evidence) -> tuple[str, Picture, Picture]:
    return f"{one.frame}   {one.doubt:.2f}", evidence.plate, evidence.result


def _ignore(_sentence: str) -> None:
    """Ignores a warning."""
