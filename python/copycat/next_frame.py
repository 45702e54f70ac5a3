"""Which frame of a shot to paint next: those least like the frames that a model was trained on, the least like first.

What is alike is asked of the network itself: each frame is cut into cells of 32 pixels, and the features in the middle
of the network are compared with those of the nearest cell of a painted frame. The 95th percentile over the cells is the
frame's score, so that something new counts although most of the picture is known. ``docs/benchmarks.md`` compares this
with other measures, with uniform spacing and with a random choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from copycat.config import InferenceSettings
from copycat.devices import choose_device
from copycat.errors import CopycatError
from copycat.inference import FrameReport, Model, frame_numbers
from copycat.runs import Run, RunError, read_json
from copycat.sequence import ImageSequence, read_frames_parallel, read_info, resolve_channels

_CHECKPOINT = re.compile(r"(?P<run>.+)_(?:[0-9]+|best)\.cat")
_LOOK_AHEAD = 2
_QUANTILE = 0.95
_ROWS = 512


class SuggestionError(CopycatError):
    """It is not known what a model was trained on."""


@dataclass(frozen=True)
class Suggestion:
    """A frame of the plate.

    Attributes:
        frame: its number.
        score: how far its features are from those of the painted frames, in standard deviations of theirs. Larger is
            less known; scores of one model can be compared.
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
    """Ranks the frames of a plate by how little a model knows of what they show.

    Paint the first that is not painted, train again, and ask again: the frames that come next are often its neighbours.

    Args:
        model: a .cat, or a Model.
        plate: the sequence.
        frames: range or numbers to look at; all frames of the plate by default.
        ground_truth_frames: range or numbers of the plate's frames that are painted; None reads from the file that the
            training left beside the model what it was trained on.
        settings: device, precision, tiles; fields given by keyword take precedence.
        progress: told after each frame.
        warn: told what the user should know.

    Returns:
        Every frame looked at, the largest score first.

    Raises:
        SuggestionError: it is not known what the model was trained on.
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
        painted, known_paths = trained_frames(model, source)
    else:
        painted = set(frame_numbers(source, ground_truth_frames))
        known_paths = [source.path(number) for number in sorted(painted)]
    if not known_paths:
        raise SuggestionError(f"{model.path}: what it was trained on is not known; give the Ground Truth frames")

    def cells(paths: list[Path]) -> Iterator[Tensor]:
        channels = resolve_channels(",".join(model.channels_in), read_info(paths[0]))
        for frame in read_frames_parallel(paths, channels, look_ahead=_LOOK_AHEAD):
            yield features(model, frame.pixels, tile_size=settings.tile_size, warn=warn)

    known = Familiar(torch.cat(list(cells(known_paths))))
    found = []
    paths = [source.path(number) for number in numbers]
    for number, path, looked_at in zip(numbers, paths, cells(paths), strict=True):
        found.append(Suggestion(number, known.distance(looked_at), number in painted))
        if progress:
            progress(FrameReport(number, len(found), len(numbers), path))
    return sorted(found, key=lambda one: -one.score)


def features(
    model: Model, pixels: np.ndarray, *, tile_size: int = 0, warn: Callable[[str], None] | None = None
) -> Tensor:
    """What the middle of the network makes of a frame, mean of each cell of 32 pixels.

    Args:
        model: what is applied.
        pixels: [H, W, C] values as in the file.
        tile_size: as for ``Model``.
        warn: told when memory is short.

    Returns:
        [cells, D] float32 on the model's device; where the frame is cut into tiles, what they share counts twice.
    """
    caught: list[Tensor] = []

    def catch(_module: object, _inputs: object, output: Tensor) -> None:
        caught.append(functional.avg_pool2d(output[0].float(), 2, ceil_mode=True).flatten(1).T)

    handle = model.network.middle.register_forward_hook(catch)
    try:
        model(pixels, tile_size=tile_size, warn=warn)
    finally:
        handle.remove()
    return torch.cat(caught)


class Familiar:
    """The cells of the painted frames, to which others are compared."""

    def __init__(self, cells: Tensor) -> None:
        """Takes the features of all of them, [cells, D]."""
        self._scale = (cells.std(0) + 1e-6) * cells.shape[1] ** 0.5
        self._cells = cells / self._scale

    def distance(self, cells: Tensor) -> float:
        """The 95th percentile, over the cells of a frame, of the root mean square distance to the nearest one."""
        parts = (cells / self._scale).split(_ROWS)
        nearest = torch.cat([torch.cdist(part, self._cells).amin(dim=1) for part in parts])
        return float(nearest.quantile(_QUANTILE))


def trained_frames(model: Model, plate: ImageSequence) -> tuple[set[int], list[Path]]:
    """What the model was trained on, as the run's ``.json`` beside it says.

    Returns:
        The frames of the plate among it: those whose files the plate holds, or whose files are gone or were handed over
        by a host. And the files of all of it, the plate's own where they are its frames. Both empty where nothing is
        known.
    """
    match = _CHECKPOINT.fullmatch(model.path.name)
    there = set(plate.frames())
    painted, paths = set(), []
    try:
        run = Run(model.path.parent, match["run"] if match else model.header.run)
        for one in read_json(run.provenance)["frames"]:
            number, path = int(one["frame"]), Path(one["input"])
            handed_over = path.name.startswith(f"{run.name}_input.")
            if number in there and (handed_over or not path.exists() or path == plate.path(number).absolute()):
                painted.add(number)
                paths.append(plate.path(number))
            elif path.exists():
                paths.append(path)
    except (RunError, KeyError, TypeError, ValueError):
        return set(), []
    return painted, paths
