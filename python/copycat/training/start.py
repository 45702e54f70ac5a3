"""The two ways into a training: a new run, and a run that goes on. Settings, files and lock are put in order here."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
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
    new_run,
    read_json,
    trainer_lives,
    write_json,
)
from copycat.sequence.colour import check_view
from copycat.sequence.pairs import FramePair, Pair, find_frames
from copycat.settings.callbacks import CALLBACK_NAMES, Callback, Callbacks
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings
from copycat.training import checkpoint
from copycat.training.group import Group, find_rendezvous
from copycat.training.loop import Trainer
from copycat.training.member import Member
from copycat.training.perceptual import Backbone, load_backbone
from copycat.training.report import Progress, Report, Result
from copycat.training.signals import StopSignals
from copycat.training.step import TrainingError

__all__ = ["Progress", "Report", "Result", "Trainer", "TrainingError", "resume", "train"]

# What the weights were made for; to change it is to begin anew.
_FIXED = ("model_size", "input_channels", "ground_truth_channels", "matte", "clean_plate")
# What the schedule follows from; where none of it changes, a resume keeps the one that it finds in the resume state.
_PLAN = ("epochs", "minutes", "use_multi_resolution_training", "batch_size_type", "batch_size")


def train(
    input: str | Path = "",
    ground_truth: str | Path = "",
    settings: Settings | None = None,
    *,
    pairs: Iterable[Pair] = (),
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
        settings: every knob; those given by keyword (``epochs=2000``) take precedence.
        pairs: further shots, all at the same channels.
        mask: sequence that weights the loss of the first pair.
        run_name: name of the run, by default after the time.
        callbacks: functions to call, besides those that the settings name.
        progress: told how the training goes.
        knobs: fields of Settings; the five callbacks are also taken as callables.

    Returns:
        How it ended; the run's files are in the Data Directory.

    Raises:
        CopycatError: something the user can put right; nothing that was written is lost.
    """
    functions = {name: knobs.pop(name) for name in CALLBACK_NAMES if callable(knobs.get(name))}
    settings = _with_absolute_paths((settings or Settings()).replace(**_known(knobs)))
    first = [Pair(str(input), str(ground_truth), str(mask))] if input or ground_truth or mask else []
    shots = first + list(pairs)
    for shot in shots:
        if not shot.input or not shot.ground_truth:
            given = shot.input or shot.ground_truth or shot.mask
            raise SettingsError(
                f"a training needs both an Input and a Ground Truth; there is only {given or 'neither'}"
            )
    if not settings.data_directory:
        raise SettingsError("Data Directory is not set: say where checkpoints and contact sheets go")
    resolved = _callbacks(settings, callbacks, functions)
    check_view(settings.ocio_view)
    backbone = load_backbone(settings.perceptual_backbone) if settings.perceptual_weight else None
    start = starting_point(settings)
    frames = find_frames(shots, settings.training_frames)
    settings.pairs_per_step(len(frames))  # refuses a batch that is too large before anything is read
    inspection = Inspection(shots, settings) if settings.verify_inputs else None
    if inspection:
        inspection.refuse_errors()
    with _together(settings, frames, backbone, progress) as (group, elsewhere):
        if elsewhere:
            return elsewhere
        run, lock = _claim(Path(settings.data_directory).absolute(), run_name)
        try:
            write_json(run.provenance, _provenance(settings, shots, frames))
            with StopSignals() as signals, closing(SummaryWriter(run)) as summary:
                trainer = Trainer(
                    run, settings, frames, summary, resolved, signals, progress, backbone, inspection, group
                )
                try:
                    return trainer.begin(start)
                finally:
                    run = trainer.run
        finally:
            lock.release(run)


def resume(
    data_directory: str | Path,
    run_name: str | None = None,
    *,
    finish: bool = False,
    callbacks: Callbacks | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> Result:
    """Continues a run, by default the newest, from its resume state; from the beginning when there is none yet.

    Args:
        data_directory: where the run's files are.
        run_name: which run.
        finish: end soon, with a short decay at full resolution, instead of following the schedule to its end.
        callbacks, progress: as for :func:`train`.
        knobs: settings that may change on the way (``epochs``, ``minutes``, intervals, GPU); the rest is as it was.

    Raises:
        CopycatError: there is no such run or resume state, it is being trained, or its frames cannot be read.
    """
    run = find_run(Path(data_directory).absolute(), run_name)
    provenance = read_json(run.provenance)
    try:
        frames = [
            FramePair(Path(p["input"]), Path(p["groundTruth"]), Path(p["mask"]) if p["mask"] else None, p["frame"])
            for p in provenance["frames"]
        ]
        stored = provenance["settings"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.provenance}: the run's settings are missing or damaged: no {error}") from error
    functions = {name: knobs.pop(name) for name in CALLBACK_NAMES if callable(knobs.get(name))}
    before = Settings.from_dict(stored)
    settings = before.replace(**_known(knobs), data_directory=str(run.directory))
    _check_resumable(before, settings)
    resolved = _callbacks(settings, callbacks, functions)
    check_view(settings.ocio_view)
    backbone = load_backbone(settings.perceptual_backbone) if settings.perceptual_weight else None
    with _together(settings, frames, backbone, progress) as (group, elsewhere):
        if elsewhere:
            return elsewhere
        lock = TrainerLock(run)
        try:
            # A run that was stopped before its first resume state begins anew.
            state = checkpoint.load(run.resume_state) if run.resume_state.exists() else None
            start = None if state else starting_point(settings)
            replanned = any(getattr(before, name) != getattr(settings, name) for name in _PLAN)
            with (
                StopSignals() as signals,
                closing(SummaryWriter(run, resume_step=state[0].step if state else 0)) as summary,
            ):
                trainer = Trainer(run, settings, frames, summary, resolved, signals, progress, backbone, group=group)
                try:
                    if state is None:
                        return trainer.begin(start)
                    return trainer.resume(state, replanned=replanned, finish=finish)
                finally:
                    run = trainer.run
        finally:
            lock.release(run)


@contextmanager
def _together(
    settings: Settings, frames: Sequence[FramePair], backbone: Backbone | None, progress: Progress | None
) -> Iterator[tuple[Group | None, Result | None]]:
    """The group that this process is to lead, if any, or the result of its part in a training led elsewhere.

    Raises:
        CopycatError: the processes did not meet; of a training that is led elsewhere, also as :func:`train`.
    """
    rendezvous, crops = find_rendezvous(), settings.crops_per_step(len(frames))
    directory = Path(settings.data_directory).absolute()
    if rendezvous and rendezvous.rank >= crops:
        yield None, Result(Run(directory, "idle"), "idle", 0, None, None, rendezvous.rank)
        return
    rendezvous = rendezvous and rendezvous.among(crops)
    if not rendezvous or rendezvous.size == 1:
        yield None, None
        return

    def tell(sentence: str) -> None:
        if progress:
            progress(Report(f"rank {rendezvous.rank}", 0, None, None, 1, 0.0, None, 0.0, sentence))

    tell(f"rank {rendezvous.rank} of {rendezvous.size} meets the others at {rendezvous.address}:{rendezvous.port}")
    with closing(Group(rendezvous)) as group:
        if group.leads:
            yield group, None
            return
        with StopSignals() as signals:
            member = Member(settings, frames, group, tell, backbone)
            name, ended, step = member.follow(lambda: signals.received)
        yield None, Result(Run(directory, name), ended, step, None, None, rendezvous.rank)


def _known(knobs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments as fields of Settings, or SettingsError."""
    fields = {knob.field for knob in Settings.knobs()}
    for name in knobs:
        if name not in fields:
            raise SettingsError(f"unknown knob {name!r}; the knobs are {', '.join(sorted(filter(None, fields)))}")
    return knobs


def _callbacks(settings: Settings, given: Callbacks | None, functions: dict[str, Callback]) -> Callbacks:
    given = given or Callbacks()
    named = {name: functions.get(name) or getattr(given, name) or getattr(settings, name) for name in CALLBACK_NAMES}
    return Callbacks.resolve(**named)


def _with_absolute_paths(settings: Settings) -> Settings:
    """The settings so that a resume from another working directory finds the same files."""
    changed = {}
    for knob in settings.knobs():
        if knob.field and knob.kind in ("file", "sequence") and getattr(settings, knob.field):
            changed[knob.field] = str(Path(getattr(settings, knob.field)).expanduser().absolute())
    return settings.replace(**changed)


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
        "settings": settings.to_dict(),
        "pairs": [{"input": s.input, "groundTruth": s.ground_truth, "mask": s.mask} for s in shots],
        "frames": [
            {
                "input": str(pair.input.absolute()),
                "groundTruth": str(pair.ground_truth.absolute()),
                "mask": str(pair.mask.absolute()) if pair.mask else "",
                "frame": pair.frame,
            }
            for pair in frames
        ],
    }


def _check_resumable(before: Settings, after: Settings) -> None:
    for name in _FIXED:
        if getattr(before, name) != getattr(after, name):
            raise SettingsError(
                f"{name} cannot change in a resume (it was {getattr(before, name)!r}); start a new run instead"
            )
