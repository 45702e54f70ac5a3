"""Renders a sequence through a model. Reading, computing and writing overlap; a bad frame does not stop the others."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from copycat.errors import CopycatError
from copycat.inference.model import InferenceError, Model, model_for
from copycat.inference.outputs import check_outputs, check_overwriting, is_newer, is_whole
from copycat.inference.requested import missing_frame, requested_frames
from copycat.inference.steady import Look, look_at, mattes_of, neighbourhood, steadied, to_render
from copycat.sequence import (
    Frame,
    ImageSequence,
    SequenceError,
    Writer,
    format_frames,
    missing_frames,
    read_frames_parallel,
    read_info,
    resolve_channels,
)
from copycat.sequence.movie import EXTENSIONS
from copycat.sequence.movie_writing import MovieWriter
from copycat.settings.callbacks import Callbacks, with_callbacks
from copycat.settings.knob import SettingsError
from copycat.settings.tables import InferenceSettings

_LOOK_AHEAD = 2
_Rendered = tuple[Frame, NDArray[Any], list[str]]
_LISTED = 10  # bad frames that an error names one by one


class RenderError(InferenceError):
    """Some frames could not be rendered.

    Attributes:
        written: the files that were written, in order.
        failed: for each bad frame, what is wrong with it.
    """

    def __init__(self, count: int, written: list[Path], failed: Mapping[int, str]) -> None:
        listed = "; ".join(f"frame {frame}: {reason}" for frame, reason in list(failed.items())[:_LISTED])
        more = f"; and {len(failed) - _LISTED} more" if len(failed) > _LISTED else ""
        super().__init__(f"{len(failed)} of {count} frames could not be rendered: {listed}{more}")
        self.written, self.failed = written, dict(failed)


@dataclass(frozen=True)
class FrameReport:
    """Argument of a progress callback, after each frame.

    Attributes:
        frame: its number.
        done, count: frames done so far, and of how many.
        path: the file of the result, or of the frame itself where nothing is written.
        message: "" for a frame that was rendered, else what happened to it.
    """

    frame: int
    done: int
    count: int
    path: Path
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is rendered, from where to where, and how.

    Attributes:
        source: the plate.
        outputs: for each frame its file, in order of rendering.
        channels_in: channels of the plate that the model takes.
        channels_out: names of the result's channels.
        keep_going: whether a bad frame leaves the others to be rendered.
    """

    model: Model
    source: ImageSequence
    outputs: Mapping[int, Path]
    channels_in: tuple[str, ...]
    channels_out: tuple[str, ...]
    settings: InferenceSettings
    passthrough: bool
    compression: str
    steady: bool
    keep_going: bool
    calls: Callbacks
    progress: Callable[[FrameReport], None]
    warn: Callable[[str], None]


def infer(
    model: Model | str | Path = "",
    plate: str | Path = "",
    output: str | Path = "",
    *,
    frames: str | int | Iterable[int] = "all",
    settings: InferenceSettings | None = None,
    input_channels: str = "",
    output_channels: str = "",
    passthrough: bool = False,
    compression: str = "",
    skip_existing: bool = False,
    skip_current: bool = False,
    steady: bool = False,
    keep_going: bool = True,
    callbacks: Callbacks | None = None,
    progress: Callable[[FrameReport], None] | None = None,
    warn: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
    **knobs: Any,
) -> list[Path]:
    """Renders a sequence through a model.

    Args:
        model: a .cat, a run, or a Model.
        plate: sequence to read.
        output: pattern to write, whose files keep the plate's windows and metadata; or a .mov, which becomes ProRes
            with the plate's rate and frame numbers.
        frames: a range, a number or numbers; by default all frames of the plate.
        settings: device, precision, tiles, callbacks; fields given by keyword take precedence.
        input_channels: channels of the plate to use, as in ``right.R,right.G,right.B``; by default those of the model.
        output_channels: names of the result's channels, as in ``matte.A``; by default those of the model.
        passthrough: also write the plate's other channels.
        compression: of the output, as OpenImageIO names it, by default the plate's; of a .mov its profile
            (proxy, lt, standard, hq, 4444 or 4444xq).
        skip_existing: leave out frames whose output exists and can be read to its last pixel.
        skip_current: leave out frames whose output, besides that, is newer than the model and the plate's frame.
        steady: average mattes over two frames to each side, where the plate stands still; the first frame is written
            when the two behind it are rendered.
        keep_going: render the other frames if one is missing or cannot be read, and raise at the end.
        callbacks: functions to call, besides those that the settings name.
        progress: called after each frame.
        warn: called with a sentence that the user should know.
        note: called with a sentence that needs no action.

    Returns:
        The files that were written, in order.

    Raises:
        RenderError: some frames could not be rendered; all others are written.
        CopycatError: nothing can be rendered, or a file cannot be written; files already written stay.
    """
    settings, calls = with_callbacks(settings or InferenceSettings(), callbacks, knobs)
    if model and knobs.get("model_file"):
        raise SettingsError("the model and Model File name a model each: give one of them")
    if knobs.get("checkpoint"):
        raise SettingsError("Checkpoint chooses a checkpoint in a host; here the model names the .cat")
    model = model or settings.model_file
    if not model:
        raise InferenceError("there is no model: name a .cat, a run or a Data Directory")
    model = model_for(model, settings, warn, note)
    if steady and not mattes_of(model.header):
        raise InferenceError(f"{model.path}: steady is for mattes, but {','.join(model.channels_out)} is none")
    source = ImageSequence.parse(plate)
    to_movie = Path(output).suffix.lower() in EXTENSIONS
    there = source.frames()
    numbers = requested_frames(source, frames)
    missing = {frame: f"{source.path(frame)} is missing" for frame in numbers if frame not in there}
    if missing and (len(missing) == len(numbers) or not keep_going or to_movie):
        raise missing_frame(source, next(iter(missing)))
    if to_movie and (skip_existing or skip_current or passthrough):
        raise SequenceError(f"{output}: skipping frames and passing channels through are for image sequences only")
    target = None if to_movie else ImageSequence.parse(output)
    if target and target.single and len(numbers) > 1:
        raise SequenceError(f"{output}: is a single file, but {len(numbers)} frames are to be rendered; add %04d")
    present = [frame for frame in numbers if frame not in missing]
    channels_in = _channels_in(model, source, present, input_channels)
    channels_out = _channels_out(model, output_channels)
    outputs = {frame: target.path(frame) if target else Path(output) for frame in present}
    inputs = (model.path, *map(source.path, there))
    movie = None
    if to_movie:
        check_overwriting([Path(output)], inputs)
        movie = MovieWriter(Path(output), present, channels_out, compression)
        if read_info(source.path(present[0])).linear and len(channels_out) > 1:
            (warn or _ignore)(f"{output}: scene-linear values go through the sRGB curve")
    else:
        check_outputs(outputs.values(), inputs, channels_out, compression)
    skipped = {
        frame
        for frame, path in outputs.items()
        if (skip_existing or (skip_current and is_newer(path, (model.path, source.path(frame)))))
        and is_whole(path, channels_out)
    }
    job = _Job(
        model=model,
        source=source,
        outputs={frame: path for frame, path in outputs.items() if frame not in skipped},
        channels_in=channels_in,
        channels_out=channels_out,
        settings=settings,
        passthrough=passthrough,
        compression=compression,
        steady=steady,
        keep_going=keep_going and len(numbers) > 1 and not movie,
        calls=calls,
        progress=progress or _ignore,
        warn=warn or _ignore,
    )
    calls.call("before_render", model=str(model.path), first=numbers[0], last=numbers[-1], frame=numbers[0])
    try:
        failed = missing | _render_frames(job, movie or Writer())
    except Exception as error:
        with contextlib.suppress(CopycatError):
            calls.call("render_progress", model=str(model.path), error=str(error), progress=None)
        raise
    written = list(dict.fromkeys(path for frame, path in job.outputs.items() if frame not in failed))
    if skipped:
        reason = "exists" if skip_existing else "is newer than the model"
        job.warn(f"{len(skipped)} of {len(numbers)} frames were skipped: their output {reason}")
    if numbers == there and (gaps := missing_frames(there)):
        job.warn(f"{source}: the plate has no frame {format_frames(gaps)}")
    if source.left_out:
        job.warn(source.left_out)
    bad = RenderError(len(numbers), written, dict(sorted(failed.items()))) if failed else None
    calls.call("after_render", model=str(model.path), first=numbers[0], last=numbers[-1], error=bad and str(bad))
    if bad:
        raise bad
    return written


def _render_frames(job: _Job, into: Writer | MovieWriter) -> dict[int, str]:
    """Renders all frames of a job; returns the bad ones with what is wrong with each."""
    failed: dict[int, str] = {}
    model, count = str(job.model.path), len(job.outputs)
    with into as writer:
        for done, (number, rendered) in enumerate(
            _steadied(job) if job.steady else _rendered(job, list(job.outputs)), 1
        ):
            try:
                frame, result, warnings = rendered()
                for sentence in warnings:
                    job.warn(sentence)
            except (SequenceError, InferenceError) as error:
                if not job.keep_going:
                    raise
                failed[number] = str(error)
                job.calls.call("render_progress", model=model, frame=number, progress=done / count, error=str(error))
                job.progress(FrameReport(number, done, count, job.outputs[number], f"failed: {error}"))
                continue
            writer.submit(
                job.outputs[number],
                result,
                job.channels_out,
                like=frame.info,
                passthrough=job.passthrough,
                compression=job.compression or None,
                origin=frame.origin,
            )
            job.calls.call("after_frame_render", model=model, frame=number)
            job.calls.call("render_progress", model=model, frame=number, progress=done / count, error=None)
            job.progress(FrameReport(number, done, count, job.outputs[number]))
    return failed


def _rendered(job: _Job, numbers: list[int]) -> Iterator[tuple[int, Callable[[], _Rendered]]]:
    """Frames of a job's plate in order, each with what returns its result or raises what is wrong with it.

    On a GPU the next frame is on its way meanwhile; on a CPU the result is computed when it is asked for.
    """
    model = str(job.model.path)
    if job.model.frames_in_flight == 1:
        for number, frame in _read(job, numbers):
            if number in job.outputs:
                job.calls.call("before_frame_render", model=model, frame=number)
            yield number, partial(_apply, job, number, frame)
        return
    pending: deque[tuple[int, Future[_Rendered]]] = deque()
    with ThreadPoolExecutor(job.model.frames_in_flight, "copycat-render") as pool:
        try:
            for number, frame in _read(job, numbers):
                if number in job.outputs:
                    job.calls.call("before_frame_render", model=model, frame=number)
                pending.append((number, pool.submit(_apply, job, number, frame)))
                if len(pending) >= job.model.frames_in_flight:
                    done, future = pending.popleft()
                    yield done, future.result
            while pending:
                done, future = pending.popleft()
                yield done, future.result
        finally:
            for _, future in pending:
                future.cancel()


# Of a frame that was rendered, or what is wrong with it.
_Kept = tuple[_Rendered, Look] | SequenceError | InferenceError


def _steadied(job: _Job) -> Iterator[tuple[int, Callable[[], _Rendered]]]:
    """As :func:`_rendered` for a job's frames, with their mattes averaged over the frames around each."""
    there = set(job.source.frames())
    rendered = _rendered(job, to_render(list(job.outputs), there))
    held: dict[int, _Kept] = {}
    for number in job.outputs:
        held = {
            one: held[one] if one in held else _kept(job, next(rendered)[1]) for one in neighbourhood(number, there)
        }
        yield number, partial(_averaged, job, held[number], [kept for one, kept in held.items() if one != number])


def _kept(job: _Job, rendered: Callable[[], _Rendered]) -> _Kept:
    try:
        frame, result, warnings = rendered()
    except (SequenceError, InferenceError) as error:
        return error
    look = look_at(frame.pixels, result, frame.origin, job.model.header)
    return (replace(frame, pixels=result), result, warnings), look  # the plate's pixels are needed no more


def _averaged(job: _Job, kept: _Kept, others: list[_Kept]) -> _Rendered:
    if not isinstance(kept, tuple):
        raise kept
    (frame, _, warnings), look = kept
    looks = [other[1] for other in others if isinstance(other, tuple)]
    return frame, steadied(look, looks, mattes_of(job.model.header)), warnings


def _read(job: _Job, numbers: list[int]) -> Iterator[tuple[int, Frame | SequenceError]]:
    """Frames of a job's plate in order, or why one cannot be read."""
    while numbers:
        try:
            paths = [job.source.path(number) for number in numbers]
            for frame in read_frames_parallel(paths, job.channels_in, look_ahead=_LOOK_AHEAD, overscan=True):
                yield numbers.pop(0), frame
        except SequenceError as error:  # ends the reader; another begins behind the bad frame
            yield numbers.pop(0), error


def _apply(job: _Job, number: int, frame: Frame | SequenceError) -> _Rendered:
    """The model's result for a frame, [H, W, C], and what to warn of."""
    if isinstance(frame, SequenceError):
        raise frame
    warnings: list[str] = []
    result = job.model(
        frame.pixels,
        tile_size=job.settings.tile_size,
        tile_overlap=job.settings.tile_overlap,
        origin=frame.origin,
        format=(frame.info.width, frame.info.height),
        warn=lambda sentence: warnings.append(f"frame {number}: {sentence}"),
    )
    return frame, result, warnings


def _channels_in(model: Model, source: ImageSequence, numbers: list[int], names: str) -> tuple[str, ...]:
    """Full names of the plate's channels to use, from the first frame whose header can be read."""
    unreadable: SequenceError | None = None
    for number in numbers:
        try:
            info = read_info(source.path(number))
        except SequenceError as error:
            unreadable = unreadable or error
            continue
        channels = resolve_channels(names or ",".join(model.channels_in), info)
        if len(channels) != len(model.channels_in):
            raise InferenceError(
                f"{model.path}: the model takes {len(model.channels_in)} channels ({','.join(model.channels_in)}), "
                f"but Input Channels names {len(channels)} ({','.join(channels)})"
            )
        return channels
    assert unreadable is not None
    raise unreadable


def _channels_out(model: Model, names: str) -> tuple[str, ...]:
    if not names:
        return model.channels_out
    channels = tuple(name.strip() for name in names.split(","))
    if len(channels) != len(model.channels_out) or not all(channels) or len(set(channels)) != len(channels):
        raise InferenceError(
            f"{model.path}: the model makes {len(model.channels_out)} channels ({','.join(model.channels_out)}), so "
            f"Output Channels needs as many different names, not {names!r}"
        )
    return channels


def _ignore(_report: object) -> None:
    """Ignores its argument."""
