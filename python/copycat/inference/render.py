"""A trained model applied to a whole sequence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copycat.data.devices import choose_device
from copycat.errors import CopycatError
from copycat.inference.model import Model
from copycat.sequence import (
    ImageSequence,
    SequenceError,
    Writer,
    parse_frames,
    read_frames_parallel,
    read_info,
    resolve_channels,
)
from copycat.settings.callbacks import CALLBACK_NAMES, Callback, Callbacks
from copycat.settings.tables import InferenceSettings

_LOOK_AHEAD = 2


@dataclass(frozen=True)
class FrameReport:
    """What a progress callback is told after each frame: its number, how many are done, and of how many."""

    frame: int
    done: int
    count: int
    path: Path
    message: str = ""


def infer(
    model: Model | str | Path = "",
    plate: str | Path = "",
    output: str | Path = "",
    *,
    frames: str | Iterable[int] = "all",
    settings: InferenceSettings | None = None,
    passthrough: bool = False,
    compression: str = "",
    callbacks: Callbacks | None = None,
    progress: Callable[[FrameReport], None] | None = None,
    warn: Callable[[str], None] | None = None,
    **knobs: Any,
) -> list[Path]:
    """Renders a sequence through a model; reading, computing and writing overlap.

    Args:
        model: a .cat, a run, or a Model.
        plate: sequence to read.
        output: pattern to write. The files keep the plate's display and data window and its metadata.
        frames: range or numbers; all frames of the plate by default.
        settings: device, precision, tiles, callbacks; fields given by keyword take precedence.
        passthrough: also write the plate's channels that the model does not make.
        compression: of the output, as OpenImageIO names it; by default the plate's.
        callbacks: functions to call, besides those that the settings name.
        progress: told after each frame.
        warn: told what the user should know.

    Returns:
        The files that were written, in order.

    Raises:
        CopycatError: a file cannot be read or written, or does not fit the model; files already written stay.
    """
    functions = {name: knobs.pop(name) for name in CALLBACK_NAMES if callable(knobs.get(name))}
    settings = (settings or InferenceSettings()).replace(**knobs)
    model = model or settings.model_file
    given = callbacks or Callbacks()
    named: dict[str, Callback | str] = {
        name: functions.get(name) or getattr(given, name) or getattr(settings, name) for name in CALLBACK_NAMES
    }
    calls = Callbacks.resolve(**named)
    if not isinstance(model, Model):
        device, warning = choose_device(settings.use_gpu_if_available, settings.gpu_index)
        if warning and warn:
            warn(warning)
        model = Model(model, device, settings.half_precision)
    source, target = ImageSequence.parse(str(plate)), ImageSequence.parse(str(output))
    numbers = frame_numbers(source, frames)
    if target.single and len(numbers) > 1:
        raise SequenceError(f"{output}: is a single file, but {len(numbers)} frames are to be rendered; add %04d")
    outputs = {frame: target.path(frame) for frame in numbers}
    for frame, path in outputs.items():
        if path.absolute() == source.path(frame).absolute():
            raise SequenceError(f"{path}: the output would overwrite the plate")
    calls.call("before_render", model=str(model.path), first=numbers[0], last=numbers[-1], frame=numbers[0])
    try:
        _render_frames(model, source, numbers, outputs, settings, passthrough, compression, calls, progress, warn)
    except Exception as error:
        with contextlib.suppress(CopycatError):
            calls.call("render_progress", model=str(model.path), error=str(error), progress=None)
        raise
    calls.call("after_render", model=str(model.path), first=numbers[0], last=numbers[-1], error=None)
    return [outputs[frame] for frame in numbers]


def _render_frames(
    model: Model,
    source: ImageSequence,
    numbers: list[int],
    outputs: dict[int, Path],
    settings: InferenceSettings,
    passthrough: bool,
    compression: str,
    calls: Callbacks,
    progress: Callable[[FrameReport], None] | None,
    warn: Callable[[str], None] | None,
) -> None:
    paths = [source.path(frame) for frame in numbers]
    channels = resolve_channels(",".join(model.channels_in), read_info(paths[0]))
    reader = read_frames_parallel(paths, channels, look_ahead=_LOOK_AHEAD)
    with Writer() as writer:
        for done, (number, frame) in enumerate(zip(numbers, reader, strict=True), 1):
            calls.call("before_frame_render", model=str(model.path), frame=number)
            made = model(frame.pixels, tile_size=settings.tile_size, tile_overlap=settings.tile_overlap, warn=warn)
            writer.submit(
                outputs[number],
                made,
                model.channels_out,
                like=frame.info,
                passthrough=passthrough,
                compression=compression or None,
            )
            calls.call("after_frame_render", model=str(model.path), frame=number)
            share = done / len(numbers)
            calls.call("render_progress", model=str(model.path), frame=number, progress=share, error=None)
            if progress:
                progress(FrameReport(number, done, len(numbers), outputs[number]))


def frame_numbers(source: ImageSequence, frames: str | Iterable[int]) -> list[int]:
    """The frames of a plate that are asked for: a range, numbers, or "all".

    Raises:
        SequenceError: none is, or one is missing.
    """
    there = source.frames()
    if isinstance(frames, str):
        wanted = there if frames.strip().lower() in ("", "all") else parse_frames(frames)
    else:
        wanted = list(frames)
    if not wanted:
        raise SequenceError(f"{source}: no frame of the plate was asked for")
    for frame in wanted:
        if frame not in there:
            raise SequenceError(f"{source.path(frame)}: frame {frame} of the plate is missing")
    return wanted
