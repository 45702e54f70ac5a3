"""Starts a training: of a new run, or of a run to resume. Checks settings and files, locks the run."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from copycat import __version__
from copycat.checks.dataset import Inspection
from copycat.model.starting_point import starting_point
from copycat.runs import (
    Run,
    RunError,
    SummaryWriter,
    TrainerLock,
    find_run,
    frames_today,
    new_run,
    read_provenance,
    remapped,
    trainer_lives,
    write_provenance,
)
from copycat.runs.unpainted import unpainted_files
from copycat.sequence.colour import check_view
from copycat.sequence.movie import exists
from copycat.sequence.pairs import DatasetError, FramePair, Pair, find_frames, left_out
from copycat.settings.callbacks import CALLBACK_NAMES, Callbacks, with_callbacks
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings
from copycat.training import checkpoint
from copycat.training.companions import check_companions, end_companions
from copycat.training.control import Control, StoppedError
from copycat.training.frame_records import absolute, from_records, to_records
from copycat.training.group import Group, find_rendezvous
from copycat.training.loop import lead
from copycat.training.member import Process, follow
from copycat.training.perceptual import load_backbone
from copycat.training.report import Progress, Report, Result
from copycat.training.signals import StopSignals
from copycat.training.step import TrainingError
from copycat.training.task import Task

__all__ = ["Progress", "Report", "Result", "TrainingError", "resume", "train"]

# The weights depend on these: another value needs a new run.
_FIXED = ("model_size", "input_channels", "ground_truth_channels", "matte", "clean_plate")
# The schedule follows from these; a resume that is given none of them keeps the schedule of the resume state.
_PLAN = ("epochs", "minutes", "use_multi_resolution_training", "batch_size_type", "batch_size")


def train(
    input: str | Path = "",
    ground_truth: str | Path = "",
    settings: Settings | None = None,
    *,
    pairs: Iterable[Pair | Sequence[str | Path]] = (),
    mask: str | Path = "",
    run_name: str | None = None,
    callbacks: Callbacks | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> Result:
    """Trains a model on the pairs of one or more shots, in a new run.

    Processes whose environment says so (:mod:`copycat.training.group`) train together when each makes this same call.

    Args:
        input, ground_truth: sequences of one shot (patterns, directories or files).
        settings: every knob; keywords (``epochs=2000``) take precedence.
        pairs: further shots, all with the same channels.
        mask: sequence that weights the loss of the first pair.
        run_name: name of the run, by default the time.
        callbacks: callables, which take precedence over names in the settings.
        progress: called with reports.
        knobs: fields of Settings; the five callbacks can be callables.

    Returns:
        How it ended; the run's files are in the Data Directory.

    Raises:
        CopycatError: something the user can put right; nothing that was written is lost.
    """
    settings, functions = with_callbacks(settings or Settings(), callbacks, knobs)
    settings = _with_absolute_paths(settings)
    one = _as_pair((input, ground_truth, mask))
    shots = [*([one] if one.input or one.ground_truth or one.mask else []), *map(_as_pair, pairs)]
    for shot in shots:
        if not shot.input or not shot.ground_truth:
            given = shot.input or shot.ground_truth or shot.mask
            raise SettingsError(
                f"a training needs both an Input and a Ground Truth; there is only {given or 'neither'}"
            )
    if not settings.data_directory:
        raise SettingsError("Data Directory is not set: say where checkpoints and contact sheets go")
    check_view(settings.ocio_view)
    backbone = load_backbone(settings.perceptual_backbone) if settings.perceptual_weight else None
    start = starting_point(settings)
    frames = _painted(
        find_frames(shots, settings.training_frames, growing=settings.watch_training_frames),
        Path(settings.data_directory),
    )
    settings.pairs_per_step(len(frames))  # refuses a batch that is too large before anything is read
    inspection = Inspection(shots, settings) if settings.verify_inputs else None
    if inspection:
        inspection.refuse_errors()
    task = Task(
        settings=settings,
        frames=frames,
        shots=tuple(shots),
        callbacks=functions,
        progress=progress,
        backbone=backbone,
        inspection=inspection,
        warnings=left_out(shots, settings.training_frames, growing=settings.watch_training_frames),
    )

    with StopSignals() as signals, _joined(task, signals) as (group, follow_rank_0):
        if follow_rank_0:
            result = follow_rank_0()
        else:
            run, lock = _claim(Path(settings.data_directory).absolute(), run_name)
            control = Control(run, signals)
            with _released(lock, control):
                write_provenance(run, _provenance(settings, shots, frames))
                with closing(SummaryWriter(run)) as summary:
                    result = lead(task, control, summary, group, start)
    return result


def resume(
    data_directory: str | Path,
    run_name: str | None = None,
    *,
    finish: bool = False,
    remap: tuple[str | Path, str | Path] | None = None,
    callbacks: Callbacks | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> Result:
    """Continues a run, by default the newest, from its resume state; from the beginning when there is none yet.

    What is changed here (knobs, ``remap``) is written to ``<run>.json``, where the next resume finds it.

    Args:
        data_directory: where the run's files are.
        run_name: which run.
        finish: end soon, with a short decay at full resolution, instead of following the schedule to its end.
        remap: the folder that the shot was moved from, and the folder that it was moved to.
        callbacks: the only callbacks that are called, besides those among ``knobs``: names that a stored run holds are
            not, as somebody else may have written them.
        progress: as for :func:`train`.
        knobs: settings that may change on the way (``epochs``, ``minutes``, intervals, GPU); all others stay. One that
            the schedule follows from makes a new schedule, also with the value that it had.

    Raises:
        CopycatError: there is no such run or resume state, it is being trained, or its frames cannot be read.
    """
    run = find_run(Path(data_directory).expanduser().absolute(), run_name)
    provenance = read_provenance(run)
    in_state = checkpoint.read_frames(run.resume_state)
    if in_state:  # a trainer that was killed may not have written them to the <run>.json
        provenance["frames"] = frames_today(run, in_state)
    if remap:
        provenance = remapped(provenance, *remap)
    frames, shots, stored = _stored(run, provenance)
    gone = _gone(frames) if in_state and stored.watch_training_frames else ()
    before = stored.replace(data_directory=str(run.directory), **dict.fromkeys(CALLBACK_NAMES, ""))
    settings, functions = with_callbacks(before, callbacks, knobs)
    settings = _with_absolute_paths(settings).replace(data_directory=str(run.directory))
    _check_resumable(before, settings)
    if finish and not run.resume_state.exists():
        raise RunError(
            f"{run.resume_state}: run {run.name} was stopped before its first resume state, so there is nothing to "
            "finish; resume it without --finish to train it from the beginning"
        )
    check_view(settings.ocio_view)
    backbone = load_backbone(settings.perceptual_backbone) if settings.perceptual_weight else None
    task = Task(
        settings=settings,
        frames=tuple(pair for index, pair in enumerate(frames) if index not in gone),
        shots=shots,
        removed=tuple(frames[index] for index in gone),
        callbacks=functions,
        progress=progress,
        backbone=backbone,
        warnings=tuple(_callbacks_left_out(stored, functions)),
    )
    replanned = any(name in knobs for name in _PLAN)

    with StopSignals() as signals, _joined(task, signals) as (group, follow_rank_0):
        if follow_rank_0:
            result = follow_rank_0()
        else:
            control = Control(run, signals, finish=finish)

            def remember_settings() -> None:
                current = {"settings": settings.to_dict(), "frames": to_records(task.frames)}
                write_provenance(control.run, {**provenance, **current})

            with _released(TrainerLock(run), control):
                # A run that was stopped before its first resume state begins anew.
                state = checkpoint.load(run.resume_state).without(gone) if run.resume_state.exists() else None
                origin = state or starting_point(settings)
                position = state.position if state else checkpoint.Position()
                with closing(SummaryWriter(run, resume_step=position.step, holds=position.change)) as summary:
                    result = lead(
                        task,
                        control,
                        summary,
                        group,
                        origin,
                        replanned=replanned,
                        when_prepared=remember_settings,
                    )
    return result


def _stored(run: Run, provenance: Mapping[str, Any]) -> tuple[tuple[FramePair, ...], tuple[Pair, ...], Settings]:
    """Frames, shots and settings of a stored run.

    Raises:
        RunError: they are missing or damaged.
        SettingsError: a knob is unknown or has a value that it cannot have.
    """
    try:
        frames = from_records(provenance["frames"])
        if not frames:
            raise ValueError("there are no frames")
        shots = tuple(Pair(p["input"], p["groundTruth"], p["mask"]) for p in provenance.get("pairs") or ())
        return frames, shots, Settings.from_dict(provenance["settings"])
    except KeyError as error:
        raise RunError(f"{run.provenance}: the run's settings are missing or damaged: no {error}") from error
    except (TypeError, ValueError, OverflowError, DatasetError) as error:
        raise RunError(f"{run.provenance}: the run's settings are damaged: {error}") from error


def _painted(frames: tuple[FramePair, ...], directory: Path) -> tuple[FramePair, ...]:
    """The pairs without those whose Ground Truth is a copy of the plate that waits to be painted.

    Raises:
        DatasetError: no other is left.
    """
    copies = unpainted_files(directory)
    painted = tuple(pair for pair in frames if pair.ground_truth.absolute() not in copies)
    if not painted:
        raise DatasetError(f"{frames[0].ground_truth}: is a copy of the plate, and so are the others: paint one first")
    return painted


def _gone(frames: Sequence[FramePair]) -> tuple[int, ...]:
    """The pairs of which a file is missing, by their index; none where all are: then the shot was moved."""
    files = [[path for path in (pair.input, pair.ground_truth, pair.mask) if path] for pair in frames]
    gone = tuple(index for index, paths in enumerate(files) if not all(map(exists, paths)))
    return gone if len(gone) < len(frames) else ()


def _callbacks_left_out(stored: Settings, functions: Callbacks) -> Iterator[str]:
    """A sentence for each callback that the stored run names and this resume was not given."""
    for name in CALLBACK_NAMES:
        value = getattr(stored, name)
        if value and getattr(functions, name) is None:
            yield f"the run's {name} callback {value} is not called: name it again, as a file may come from anybody"


@contextmanager
def _joined(task: Task, signals: StopSignals) -> Iterator[tuple[Group | None, Callable[[], Result] | None]]:
    """The group that the environment names, None for a training by this process alone.

    Yields:
        The group, and for any but its rank 0 the function that follows rank 0 to the end of the training.

    Raises:
        DistributedError: the processes did not meet.
    """
    directory = Path(task.settings.data_directory).absolute()
    rendezvous = find_rendezvous()
    if rendezvous is None:
        yield None, None
        return
    rank = rendezvous.rank
    if rank >= task.batch:
        yield None, lambda: Result(Run(directory, "idle"), "idle", 0, None, None, rank)
        return
    rendezvous = rendezvous.among(task.batch)
    if rendezvous.size == 1:
        yield None, None
        return

    def say(sentence: str) -> None:
        if task.progress:
            task.progress(Report(run=f"rank {rank}", step=0, message=sentence))

    say(f"rank {rank} of {rendezvous.size} meets the others at {rendezvous.address}:{rendezvous.port}")

    def watch() -> str:
        check_companions()
        return signals.received

    try:
        group = Group(rendezvous, watch)
    except StoppedError as stopped:
        ended = str(stopped)
        end_companions()
        yield None, lambda: Result(Run(directory, "none"), ended, 0, None, None, rank)
        return
    with closing(group):

        def follow_rank_0() -> Result:
            name, ended, step = follow(Process(task, group, say, say), lambda: signals.received)
            return Result(Run(directory, name), ended, step, None, None, rank)

        try:
            yield group, None if group.leads else follow_rank_0
        finally:
            if group.lost:
                end_companions()


@contextmanager
def _released(lock: TrainerLock, control: Control) -> Iterator[None]:
    """Releases the lock in the end, under the name that the run has then."""
    try:
        yield
    finally:
        lock.release(control.run)


def _as_pair(pair: Pair | Sequence[Any]) -> Pair:
    if isinstance(pair, Pair):
        return pair
    if isinstance(pair, (tuple, list)) and len(pair) in (2, 3):
        return Pair(*pair)
    raise SettingsError(f"{pair!r} is no pair: give copycat.Pair(input, ground_truth), or the two in a tuple")


def _with_absolute_paths(settings: Settings) -> Settings:
    """The settings with absolute paths, so that a resume in another working directory finds the same files."""
    changed = {}
    for knob in settings.knobs():
        if knob.field and knob.kind in ("file", "sequence") and getattr(settings, knob.field):
            changed[knob.field] = absolute(getattr(settings, knob.field))
    return settings.respelt(**changed)


def _claim(directory: Path, name: str | None) -> tuple[Run, TrainerLock]:
    """A new run and its lock."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be made: {error.strerror}") from error
    if name is not None:
        run = Run(directory, name)
        if run.summary.exists():
            raise RunError(f"there is already a run {name!r} in {directory}; resume it, or choose another name")
        return run, TrainerLock(run)
    while True:
        run = new_run(directory)
        try:
            return run, TrainerLock(run)
        except RunError:
            if not trainer_lives(run):  # else another training that started in this very second took the name
                raise


def _provenance(settings: Settings, shots: list[Pair], frames: Iterable[FramePair]) -> dict[str, Any]:
    return {
        "format": 1,
        "copycat": __version__,
        "torch": torch.__version__,
        "host": platform.node(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "settings": settings.replace(data_directory=absolute(settings.data_directory)).to_dict(),
        "pairs": [
            {"input": absolute(s.input), "groundTruth": absolute(s.ground_truth), "mask": absolute(s.mask)}
            for s in shots
        ],
        "frames": to_records(frames),
    }


def _check_resumable(before: Settings, after: Settings) -> None:
    for name in _FIXED:
        if getattr(before, name) != getattr(after, name):
            raise SettingsError(
                f"{name} cannot change in a resume (it was {getattr(before, name)!r}); start a new run instead"
            )
