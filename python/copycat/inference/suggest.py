"""Ranks the frames of a shot to paint next, by how much of their content the painted frames lack.

The network itself measures similarity. The mean of the features in its middle describes a frame, and the frame to paint
is the one that brings all frames of the shot nearest to a painted one (facility location, chosen greedily: Nemhauser,
Wolsey, Fisher 1978). An odd frame that resembles no other comes late. ``docs/explanation/benchmarks.md`` compares
other measures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from copycat.errors import CopycatError
from copycat.inference.model import Model, model_for
from copycat.inference.render import FrameReport, frame_numbers
from copycat.runs import Run, RunError, read_provenance
from copycat.sequence import ImageSequence, read_frames_parallel, read_info, resolve_channels
from copycat.settings.knob import SettingsError
from copycat.settings.tables import InferenceSettings

_CHECKPOINT = re.compile(r"(?P<run>.+)_(?:[0-9]+|best)\.cat")
_KNOBS = ("gpu_index", "half_precision", "tile_size", "use_gpu_if_available")
_LOOK_AHEAD = 2
_GREEDY = 50  # ranks chosen one by one; further ranks are not worth the cost


class SuggestionError(CopycatError):
    """No file says what a model was trained on."""


@dataclass(frozen=True)
class Suggestion:
    """A frame of the plate.

    Attributes:
        frame: its number.
        score: how much nearer, on average, all ranked frames come to a painted one if this one is painted after the
            frames ranked before it; in standard deviations of the painted frames' features.
        painted: whether the model was trained on it.
    """

    frame: int
    score: float
    painted: bool


def suggest(
    model: Model | str | Path,
    plate: str | Path,
    *,
    frames: str | int | Iterable[int] = "all",
    ground_truth_frames: str | int | Iterable[int] | None = None,
    settings: InferenceSettings | None = None,
    progress: Callable[[FrameReport], None] | None = None,
    warn: Callable[[str], None] | None = None,
    **knobs: Any,
) -> list[Suggestion]:
    """Ranks the frames of a plate by how much they show that the model has not been trained on.

    Paint the first one, or the first few: each rank assumes that the frames before it are painted.

    Args:
        model: a .cat, a run, or a Model.
        plate: the sequence.
        frames: a range, a number or numbers to rank; by default all frames of the plate.
        ground_truth_frames: a range, a number or numbers of the plate's painted frames; None reads them from the file
            that the training left beside the model.
        settings: device, precision, tiles; fields given by keyword take precedence.
        progress: called after each frame.
        warn: called with a sentence that the user should know.

    Returns:
        Every ranked frame, the one to paint next first.

    Raises:
        SuggestionError: no file says what the model was trained on.
        CopycatError: a file cannot be read or does not fit the model.
    """
    for name in knobs:
        if name not in _KNOBS:
            raise SettingsError(f"unknown knob {name!r}; the knobs of suggest are {', '.join(_KNOBS)}")
    settings = (settings or InferenceSettings()).replace(**knobs)
    model = model_for(model, settings, warn)
    source = ImageSequence.parse(plate)
    numbers = frame_numbers(source, frames)
    if ground_truth_frames is None:
        painted, painted_paths = trained_frames(model, source)
    else:
        painted = set(frame_numbers(source, ground_truth_frames))
        painted_paths = [source.path(number) for number in sorted(painted)]
    if not painted_paths:
        raise SuggestionError(f"{model.path}: no file says what it was trained on; give the Ground Truth frames")
    painted_cells = list(_cells(model, painted_paths, settings.tile_size, warn))
    # Features that vary much within the painted frames count less.
    scale = (torch.cat(painted_cells).std(0) + 1e-6) * painted_cells[0].shape[1] ** 0.5
    means = []
    paths = [source.path(number) for number in numbers]
    for number, path, cells in zip(numbers, paths, _cells(model, paths, settings.tile_size, warn), strict=True):
        means.append(cells.mean(0) / scale)
        if progress:
            progress(FrameReport(number, len(means), len(numbers), path))
    painted_means = torch.stack([cells.mean(0) / scale for cells in painted_cells])
    order = coverage_order(torch.stack(means), painted_means)
    return [Suggestion(numbers[index], score, numbers[index] in painted) for index, score in order]


def _cells(model: Model, paths: list[Path], tile_size: int, warn: Callable[[str], None] | None) -> Iterator[Tensor]:
    """The features of each file."""
    channels = resolve_channels(",".join(model.channels_in), read_info(paths[0]))
    for path, frame in zip(paths, read_frames_parallel(paths, channels, look_ahead=_LOOK_AHEAD), strict=True):
        named = None if warn is None else partial(_warn_of, warn, path)
        yield features(model, frame.pixels, tile_size=tile_size, warn=named)


def _warn_of(warn: Callable[[str], None], path: Path, sentence: str) -> None:
    warn(f"{path}: {sentence}")


def features(
    model: Model, pixels: np.ndarray, *, tile_size: int = 0, warn: Callable[[str], None] | None = None
) -> Tensor:
    """Features of a frame: the output of the network's middle, averaged over cells of 32 pixels.

    Args:
        model: the model.
        pixels: [H, W, C] values as in the file.
        tile_size: as for ``Model``.
        warn: as for ``Model``.

    Returns:
        [cells, D] float32 on the model's device; cells in which tiles overlap count twice.
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


def coverage_order(frames: Tensor, painted: Tensor) -> list[tuple[int, float]]:
    """The order in which painting frames brings all of them nearest to a painted one.

    Args:
        frames: [N, D] mean features of each frame.
        painted: [K, D] mean features of the painted frames.

    Returns:
        For each of the N frames its index and by how much painting it, after the frames before it, lowers the mean
        distance to the nearest painted frame; the largest first.
    """

    def distances(others: Tensor) -> Tensor:
        # Exactly 0 between equal frames.
        return torch.cdist(frames, others, compute_mode="donot_use_mm_for_euclid_dist")

    left, between = distances(painted).amin(dim=1), distances(frames)
    order: list[tuple[int, float]] = []
    waiting = list(range(len(frames)))
    while waiting:
        gains = (left[:, None] - between).clamp(min=0).mean(0)
        ranked = sorted(waiting, key=gains.__getitem__, reverse=True)
        for index in ranked if len(order) >= _GREEDY else ranked[:1]:
            order.append((index, float(gains[index])))
            waiting.remove(index)
            left = torch.minimum(left, between[:, index])
    return order


def trained_frames(model: Model, plate: ImageSequence) -> tuple[set[int], list[Path]]:
    """The frames that the model was trained on, from the run's ``.json`` beside it.

    Returns:
        The numbers of the plate's frames among them: frames whose file is the plate's, is gone, or was handed over by a
        host. And the files of all training frames, the plate's own for its frames. Both are empty without a ``.json``.
    """
    match = _CHECKPOINT.fullmatch(model.path.name)
    there = set(plate.frames())
    painted, paths = set(), []
    try:
        run = Run(model.path.parent, match["run"] if match else model.header.run)
        for entry in read_provenance(run)["frames"]:
            number, path = int(entry["frame"]), Path(entry["input"])
            handed_over = path.name.startswith(f"{run.name}_input.")
            if number in there and (handed_over or not os.path.exists(path) or path == plate.path(number).absolute()):
                painted.add(number)
                paths.append(plate.path(number))
            elif os.path.exists(path):
                paths.append(path)
    except (RunError, KeyError, TypeError, ValueError):
        return set(), []
    return painted, paths
