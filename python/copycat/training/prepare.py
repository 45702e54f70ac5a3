"""Gets a training ready: reads the frames, describes the model, makes the network, checks the files read later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from copycat.data import clean_plate
from copycat.data.dataset import Dataset, Preparing
from copycat.model.cat import ModelHeader
from copycat.model.network import ROWS
from copycat.model.starting_point import StartingPoint
from copycat.sequence import ImageSequence, read_info, resolve_channels
from copycat.sequence.pairs import FramePair, Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training.checkpoint import Position, ResumeState
from copycat.training.member import Member, Process
from copycat.training.perceptual import check_colour
from copycat.training.step import TrainingError
from copycat.training.validation import compared_window

_MANY_PAIRS = 100
_CROP_ON_CPU = 128


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that is ready for its next step.

    Attributes:
        header: describes the model.
        member: data set and network.
        preview: the frame that previews show, None without one.
        validation: the frame pairs to validate with.
        changed: pairs, by their index, whose pixels are no longer those that the run was trained on last.
        position: where the run stood, for a resume.
        resumed: whether the run was begun before.
    """

    header: ModelHeader
    member: Member
    preview: Path | None
    validation: tuple[FramePair, ...]
    changed: tuple[int, ...] = ()
    position: Position = field(default_factory=Position)
    resumed: bool = False


def prepare_new(process: Process, start: StartingPoint | None, directory: Path, progress: Preparing) -> Prepared:
    """Prepares a new network, or one that starts from the weights of ``start``.

    Args:
        process: this process; in a group the others do the same.
        start: what Initial Weights says.
        directory: where a bank on disk is kept.
        progress: says how far the data set is; may raise StoppedError.

    Raises:
        CopycatError: a file cannot be read or does not fit.
    """
    settings, first = process.task.settings, process.task.frames[0]
    _check_perceptual(settings, first)
    preview, validation = _other_files(settings)
    row, weights = ROWS[settings.model_size], None
    if start is None:
        data = process.read(None, None, directory=directory, progress=progress)
        header = ModelHeader.for_dataset(data, row)
    else:
        channels = (
            resolve_channels(settings.input_channels, read_info(first.input)),
            resolve_channels(settings.ground_truth_channels, read_info(first.ground_truth)),
        )
        start.weights_for(*channels)  # refuses other channels before the frames are read
        data = process.read(start.encodings, None, directory=directory, progress=progress)
        header = ModelHeader.for_dataset(data, row)
        if start.residual is not None:
            header = replace(header, residual=start.residual)
        weights = start.weights_for(*channels, header.plate_size, header.target_encoding)
    header = replace(header, settings=settings.to_dict())
    _check_other_files(header, preview, validation)
    _warn_about(data, process)
    member = process.make(data, header, weights)
    return Prepared(header=header, member=member, preview=preview, validation=validation)


def prepare_resumed(process: Process, state: ResumeState, directory: Path, progress: Preparing) -> Prepared:
    """Prepares the network of a resume state; arguments and exceptions as for :func:`prepare_new`."""
    settings, saved = process.task.settings, state.header
    _check_perceptual(settings, process.task.frames[0])
    preview, validation = _other_files(settings)
    encodings = (saved.input_encoding, saved.target_encoding)
    data = process.read(encodings, saved.plate, directory=directory, progress=progress)
    header = replace(ModelHeader.for_dataset(data, saved.row), residual=saved.residual, settings=settings.to_dict())
    _check_other_files(header, preview, validation)
    _warn_about(data, process)
    assert data.banks
    before, after = state.fingerprints, data.banks.fingerprints
    changed = tuple(i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    if not before and header.data_hash != saved.data_hash:
        process.warn("the training frames have changed since the run was started")
    member = process.make(data, header)
    learner = member.learner
    learner.restore(state.position.updates, state.vectors)
    learner.micro_batch = min(state.position.micro_batch or learner.micro_batch, learner.micro_batch)
    return Prepared(
        header=header,
        member=member,
        preview=preview,
        validation=validation,
        changed=changed,
        position=state.position,
        resumed=True,
    )


def _check_perceptual(settings: Settings, first: FramePair) -> None:
    if settings.perceptual_weight:
        check_colour(resolve_channels(settings.ground_truth_channels, read_info(first.ground_truth)))


def preview_frame(settings: Settings, header: ModelHeader) -> Path | None:
    """The frame that previews show, None without one; raises CopycatError if the model cannot be applied to it."""
    preview, _ = _other_files(settings)
    _check_other_files(header, preview, ())
    return preview


def _other_files(settings: Settings) -> tuple[Path | None, tuple[FramePair, ...]]:
    """The preview's frame and the validation pairs; a missing one is an error before anything is trained."""
    preview: Path | None = None
    validation: tuple[FramePair, ...] = ()
    if settings.preview:
        sequence = ImageSequence.parse(settings.preview)
        preview = sequence.path(sequence.frames()[0])
    if settings.validation_input:
        validation = find_frames([Pair(settings.validation_input, settings.validation_ground_truth)])
    return preview, validation


def _check_other_files(header: ModelHeader, preview: Path | None, validation: tuple[FramePair, ...]) -> None:
    """Raises CopycatError when a preview or validation file lacks a channel, or is of a size that does not fit."""

    def files() -> Iterator[tuple[Path, tuple[str, ...]]]:
        if preview:
            yield preview, header.channels_in
        for pair in validation:
            yield pair.input, header.channels_in
            yield pair.ground_truth, header.channels_out

    for path, channels in files():
        info = read_info(path)
        missing = [name for name in channels if info.find_channel(name) is None]
        if missing:
            raise TrainingError(f"{path}: there is no channel {missing[0]!r}, which the training frames have")
        size = header.plate_size
        if size and not header.plate_moves and not clean_plate.fits(size, (info.height, info.width)):
            raise TrainingError(
                f"{path}: is {info.width}x{info.height}, the training frames are {size[1]}x{size[0]}: set Clean Plate "
                "to Off, which takes frames of any size"
            )
    for pair in validation:
        compared_window(pair, header)


def _warn_about(data: Dataset, process: Process) -> None:
    """Says what the user should know of the device, the data set and the settings."""
    settings, inspection = process.task.settings, process.task.inspection
    height, width = data.crop(settings.crop_size)
    sentences = [*process.task.warnings, process.warning, *data.warnings]
    sentences += [finding.sentence for finding in inspection.finish().warnings] if inspection else []
    if min(height, width) < settings.crop_size:
        sentences.append(
            f"the frames are smaller than the Crop Size {settings.crop_size}: training on crops of {width}x{height}"
        )
    if process.device.type == "cpu" and min(height, width) > _CROP_ON_CPU:
        sentences.append(f"on a CPU, a Crop Size of {_CROP_ON_CPU} learns faster")
    if len(data) > _MANY_PAIRS and settings.use_multi_resolution_training:
        sentences.append(f"above {_MANY_PAIRS} pairs, Use Multi-Resolution Training is better switched off")
    for sentence in filter(None, sentences):
        process.warn(sentence)
