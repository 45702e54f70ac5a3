"""Which frames of a shot to paint next: those that show most of what the painted frames do not.

What is alike is asked of the network itself: a frame is described by the mean of the features in the middle of the
network, and the frame to paint is the one that brings all frames of the shot nearest to a painted one (facility
location, chosen greedily: Nemhauser, Wolsey, Fisher 1978). A frame that is merely odd helps itself alone and comes
late. ``docs/benchmarks.md`` compares this with other measures, with uniform spacing and with a random choice.
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

from copycat.data.devices import choose_device
from copycat.errors import CopycatError
from copycat.inference.model import Model
from copycat.inference.render import FrameReport, frame_numbers
from copycat.runs import Run, RunError, read_json
from copycat.sequence import ImageSequence, read_frames_parallel, read_info, resolve_channels
from copycat.settings.tables import InferenceSettings

_CHECKPOINT = re.compile(r"(?P<run>.+)_(?:[0-9]+|best)\.cat")
_LOOK_AHEAD = 2
_GREEDY = 50  # frames after which the order is no longer worth its cost


class SuggestionError(CopycatError):
    """It is not known what a model was trained on."""


@dataclass(frozen=True)
class Suggestion:
    """A frame of the plate.

    Attributes:
        frame: its number.
        score: how much nearer, on average, the frames looked at come to a painted one when it is painted after those
            suggested before it; in standard deviations of the painted frames' features.
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
    """Ranks the frames of a plate by how much of what a model does not know they show.

    Paint the first one, or the first few: each is chosen as if those before it were painted.

    Args:
        model: a .cat, a run, or a Model.
        plate: the sequence.
        frames: range or numbers to look at; all frames of the plate by default.
        ground_truth_frames: range or numbers of the plate's frames that are painted; None reads from the file that the
            training left beside the model what it was trained on.
        settings: device, precision, tiles; fields given by keyword take precedence.
        progress: told after each frame.
        warn: told what the user should know.

    Returns:
        Every frame looked at, the one to paint next first.

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

    known_cells = list(cells(known_paths))
    # Of the cells of all painted frames, so that what varies a lot within them counts less.
    scale = (torch.cat(known_cells).std(0) + 1e-6) * known_cells[0].shape[1] ** 0.5
    described = []
    paths = [source.path(number) for number in numbers]
    for number, path, looked_at in zip(numbers, paths, cells(paths), strict=True):
        described.append(looked_at.mean(0) / scale)
        if progress:
            progress(FrameReport(number, len(described), len(numbers), path))
    known = torch.stack([one.mean(0) / scale for one in known_cells])
    order = coverage_order(torch.stack(described), known)
    return [Suggestion(numbers[index], score, numbers[index] in painted) for index, score in order]


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


def coverage_order(frames: Tensor, known: Tensor) -> list[tuple[int, float]]:
    """The order in which frames bring all of them nearest to a known one.

    Args:
        frames: [N, D] what describes each frame.
        known: [K, D] the same of the painted frames.

    Returns:
        For each of the N frames its index and how much the mean distance to the nearest known frame falls when it
        becomes known too, after those before it; the largest first.
    """

    def distances(others: Tensor) -> Tensor:
        # Exactly 0 between equal frames.
        return torch.cdist(frames, others, compute_mode="donot_use_mm_for_euclid_dist")

    left, between = distances(known).amin(dim=1), distances(frames)
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
