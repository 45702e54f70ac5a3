"""Which frame of a shot to paint next: those on which a model is likely worst, worst first.

A model that has learned an effect makes the same of a picture and of its mirror image; where it has only remembered
what it saw, or guesses, it does not. So the measure is how much the two results differ, and needs no ground truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from copycat.config import InferenceSettings
from copycat.devices import choose_device
from copycat.encoding import encode
from copycat.inference import FrameReport, Model, frame_numbers
from copycat.runs import Run, RunError, read_json
from copycat.sequence import ImageSequence, parse_frames, read_frames_parallel, read_info, resolve_channels

_CHECKPOINT = re.compile(r"(?P<run>.+)_(?:[0-9]+|best)\.cat")
_LOOK_AHEAD = 2


@dataclass(frozen=True)
class Suggestion:
    """A frame of the plate.

    Attributes:
        frame: its number.
        score: how far the results for the frame and for its mirror image are from each other: mean absolute difference
            in display-like units (0..1). Larger is worse; scores of one model and plate can be compared.
        painted: whether the model was trained on it.
    """

    frame: int
    score: float
    painted: bool


def suggest(
    model: Model | str | Path,
    plate: str | Path,
    *,
    frames: str | Iterable[int] = "all",
    ground_truth_frames: str | Iterable[int] | None = None,
    settings: InferenceSettings | None = None,
    progress: Callable[[FrameReport], None] | None = None,
    warn: Callable[[str], None] | None = None,
    **knobs: Any,
) -> list[Suggestion]:
    """Ranks the frames of a plate by how badly a model is likely to do on them.

    Paint the first that is not painted, train again, and ask again: the frames that come next are often its neighbours.

    Args:
        model: a .cat, or a Model.
        plate: the sequence.
        frames: range or numbers to look at; all frames of the plate by default.
        ground_truth_frames: range or numbers of the frames that are painted; None reads them from the file that the
            training left beside the model.
        settings: device, precision, tiles; fields given by keyword take precedence.
        progress: told after each frame.
        warn: told what the user should know.

    Returns:
        Every frame looked at, the largest score first.

    Raises:
        CopycatError: a file cannot be read or does not fit the model.
    """
    settings = (settings or InferenceSettings()).replace(**knobs)
    if not isinstance(model, Model):
        device, warning = choose_device(settings.use_gpu_if_available, settings.gpu_index)
        if warning and warn:
            warn(warning)
        model = Model(model, device, settings.half_precision)
    source = ImageSequence.parse(str(plate))
    numbers = frame_numbers(source, frames)
    if ground_truth_frames is None:
        painted = painted_frames(model, source)
        if painted is None and warn:
            warn(f"{model.path}: it is not known which frames it was trained on; give the Ground Truth frames")
    else:
        given = ground_truth_frames
        painted = set(parse_frames(given) if isinstance(given, str) else given)
    paths = [source.path(number) for number in numbers]
    channels = resolve_channels(",".join(model.channels_in), read_info(paths[0]))
    found = []
    reader = read_frames_parallel(paths, channels, look_ahead=_LOOK_AHEAD)
    for number, path, frame in zip(numbers, paths, reader, strict=True):
        score = mirror_difference(model, frame.pixels, tile_size=settings.tile_size, warn=warn)
        found.append(Suggestion(number, score, number in (painted or ())))
        if progress:
            progress(FrameReport(number, len(found), len(numbers), path))
    return sorted(found, key=lambda one: -one.score)


def mirror_difference(
    model: Model, pixels: np.ndarray, *, tile_size: int = 0, warn: Callable[[str], None] | None = None
) -> float:
    """Mean absolute difference, in display-like units, of the results for a frame and for its mirror image.

    Args:
        model: what is applied.
        pixels: [H, W, C] values as in the file.
        tile_size: as for ``Model``.
        warn: told when memory is short.
    """
    results = [model(side, tile_size=tile_size, warn=warn) for side in (pixels, pixels[:, ::-1])]
    straight, mirrored = (encode(result, model.header.target_encoding) for result in results)
    return float(np.mean(np.abs(straight - mirrored[:, ::-1])))


def painted_frames(model: Model, plate: ImageSequence) -> set[int] | None:
    """The frames of the plate that the model was trained on, as the run's ``.json`` beside it says; None if none does.

    The frames of a run on one shot are taken to be the plate's, wherever its files were then; of a run on several shots
    those whose files the plate holds.
    """
    match = _CHECKPOINT.fullmatch(model.path.name)
    try:
        provenance = read_json(Run(model.path.parent, match["run"] if match else model.header.run).provenance)
        frames, shots = provenance["frames"], len(provenance["pairs"])
        return {
            int(one["frame"])
            for one in frames
            if shots == 1 or Path(one["input"]) == plate.path(int(one["frame"])).absolute()
        }
    except (RunError, KeyError, TypeError, ValueError):
        return None
