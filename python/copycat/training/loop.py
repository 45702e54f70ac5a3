"""A training from the reading of its frames to the last line of its ``.summary``; the loop is :meth:`Trainer._loop`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copycat.checks.dataset import Inspection
from copycat.data import clean_plate
from copycat.data.dataset import Dataset
from copycat.data.devices import device_name, is_out_of_memory
from copycat.errors import CopycatError
from copycat.model import cat, tiles
from copycat.model.network import ROWS, Row
from copycat.model.starting_point import StartingPoint
from copycat.runs import Run, RunError, SummaryWriter, answer_request, move_files, take_request
from copycat.sequence import ImageSequence, read_frame, read_info, resolve_channels
from copycat.sequence.pairs import FramePair, Pair, find_frames
from copycat.settings.callbacks import Callbacks
from copycat.settings.tables import Settings
from copycat.training import checkpoint
from copycat.training.group import DistributedError, Group
from copycat.training.member import Encodings, Member, StoppedError
from copycat.training.pending_losses import PendingLosses
from copycat.training.perceptual import Backbone, check_colour
from copycat.training.pictures import contact_sheet, displayed, write_png
from copycat.training.report import Progress, Report, Result
from copycat.training.schedule import Schedule
from copycat.training.signals import StopSignals
from copycat.training.step import Learner, TrainingError
from copycat.training.validation import psnr

_READ_BACK_SECONDS = 1.0
_RESUME_STATE_SECONDS = 300.0
_MOST_SKIPPED = 100
_REASONS = {"stopped": "on request", "interrupted": "by Ctrl-C", "terminated": "by SIGTERM"}

ResumeState = tuple[checkpoint.Position, cat.ModelHeader, dict[str, Tensor]]


class Trainer:
    """One training: what decides, tells and writes. In a group of processes this is rank 0.

    Attributes:
        run: whose files are written; another one after a rename.
        step: steps done.
        loss: the last finite loss that was read back.
    """

    def __init__(
        self,
        run: Run,
        settings: Settings,
        frames: Iterable[FramePair],
        summary: SummaryWriter,
        callbacks: Callbacks,
        signals: StopSignals,
        progress: Progress | None,
        backbone: Backbone | None = None,
        inspection: Inspection | None = None,
        group: Group | None = None,
    ) -> None:
        """Reads nothing yet; the caller holds the run's lock."""
        self.run = run
        self.settings = settings
        self.step = 0
        self.loss: float | None = None
        self._best_psnr = -math.inf
        self._summary = summary
        self._callbacks = callbacks
        self._signals = signals
        self._progress = progress
        self._inspection = inspection
        self._started = time.monotonic()
        self._elapsed_before = 0.0
        self._warnings: list[str] = []
        self._pending = PendingLosses()
        self._group = group
        self.member = Member(settings, frames, group, self._warn, backbone)
        self.schedule = Schedule(
            settings.total_steps(len(self.member.frames)), settings.minutes * 60, settings.use_multi_resolution_training
        )

    def begin(self, start: StartingPoint | None) -> Result:
        """Trains a new network, or goes on from the weights of ``start``, until the schedule is done or it is stopped.

        Raises:
            CopycatError: something the user can put right; the last line of the ``.summary`` says it too.
        """
        return self._recorded(lambda: self._make(start))

    def resume(self, state: ResumeState, *, replanned: bool, finish: bool) -> Result:
        """Goes on from a resume state.

        Args:
            state: as it was saved.
            replanned: follow the settings' schedule instead of the state's.
            finish: end soon, with a short decay at full resolution.

        Raises:
            CopycatError: as :meth:`begin`.
        """
        return self._recorded(lambda: self._restore(state, replanned, finish))

    def _recorded(self, prepare: Callable[[], None]) -> Result:
        """Prepares and trains, with an honest last line in the ``.summary`` however it ends."""
        try:
            try:
                prepare()
                self.member.share()
                ended = self._loop()
            except StoppedError as stopped:
                ended = str(stopped)
            known = {"run": self.run.name, "frame": self.step, "loss": self.loss}
            self._callbacks.call("after_render", **known, error=None)
        except BaseException as error:
            failure = _as_failure(error)
            reason = str(failure) or type(failure).__name__
            with contextlib.suppress(CopycatError):
                if isinstance(failure, DistributedError):
                    self._save_alone()
                else:
                    self.member.end(self.run.name, "failed", self.step, reason)
            with contextlib.suppress(CopycatError):
                self._append_end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", reason)
            with contextlib.suppress(CopycatError):
                self._callbacks.call("render_progress", run=self.run.name, frame=self.step, error=reason)
            if failure is error:
                raise
            raise failure from error
        with contextlib.suppress(DistributedError):  # everything is written; whoever is gone now has failed alone
            self.member.end(self.run.name, ended, self.step, _REASONS.get(ended, ""))
        self._append_end(ended, _REASONS.get(ended, ""))
        saved = self.run.checkpoints()
        return Result(self.run, ended, self.step, self.loss, saved[-1][1] if saved else None)

    def _save_alone(self) -> None:
        """Saves what was trained before the others were lost.

        On a GPU their part of the last step may never come, and whoever reads from it would wait for that; the last
        resume state is what is left there.
        """
        if self.member.level is None or self.member.device.type == "cuda":
            return
        self._summary.append(*self._pending.take())
        self._write_checkpoint(self.member.level, validate=False)

    def _append_end(self, ended: str, reason: str) -> None:
        self._summary.append({"end": ended, "reason": reason, "step": self.step, "time": round(self.elapsed, 3)})

    # -- getting ready ------------------------------------------------------------------------------------------------

    def _make(self, start: StartingPoint | None) -> None:
        if start is None:
            self._read(None, None)
            self.member.make(self.header)
            return
        first = self.member.frames[0]
        channels = (
            resolve_channels(self.settings.input_channels, read_info(first.input)),
            resolve_channels(self.settings.ground_truth_channels, read_info(first.ground_truth)),
        )
        start.weights_for(*channels)  # refuses other channels before the frames are read
        self._read(start.encodings, start.residual)
        self.member.make(self.header, start.weights_for(*channels, self.header.plate_size))

    def _restore(self, state: ResumeState, replanned: bool, finish: bool) -> None:
        position, header, vectors = state
        # Known before the frames are read, so that a failure or a stop meanwhile says where the run stands.
        self.step, self.loss = position.step, position.loss
        told_plate = header.plate_size is not None
        self._read((header.input_encoding, header.target_encoding), header.residual, told_plate, header.row)
        if self.header.data_hash != header.data_hash:
            self._warn("the training frames have changed since the run was started")
        self.member.make(self.header)
        self.learner.restore(position.updates, vectors)
        self.learner.micro_batch = min(position.micro_batch or self.learner.batch, self.learner.micro_batch)
        if position.best_psnr is not None:
            self._best_psnr = position.best_psnr
        if position.schedule and not replanned:
            self.schedule = Schedule(**position.schedule)
        self._elapsed_before = position.elapsed
        self._started = time.monotonic()
        if finish:
            self.schedule = self.schedule.finishing(self.step, self.elapsed)

    @property
    def learner(self) -> Learner:
        """The network, and what changes its weights."""
        return self.member.learner

    def _read(
        self,
        encodings: Encodings | None,
        residual: tuple[int, ...] | None,
        told_plate: bool | None = None,
        row: Row | None = None,
    ) -> None:
        """Reads the data set, and finds out what else will be needed."""
        settings, frames = self.settings, self.member.frames
        if settings.perceptual_weight:
            info = read_info(frames[0].ground_truth)
            check_colour(resolve_channels(settings.ground_truth_channels, info))
        self._preview: Path | None = None
        self._validation: tuple[FramePair, ...] = ()
        if settings.preview:
            sequence = ImageSequence.parse(settings.preview)
            self._preview = sequence.path(sequence.frames()[0])
        if settings.validation_input:
            self._validation = find_frames([Pair(settings.validation_input, settings.validation_ground_truth)])

        def told(done: int, count: int) -> None:
            self._tell(f"reading frame pairs: {done} of {count}")
            if stopped := self._signals.received or self._answer_requests():
                raise StoppedError(stopped)

        self.member.read(
            encodings, told_plate, directory=self.run.directory, progress=told, inspection=self._inspection
        )
        data = self.member.full
        inspected = self._inspection.finish().warnings if self._inspection else []
        self.header = replace(
            cat.ModelHeader.for_dataset(data, row or ROWS[settings.model_size]), settings=settings.to_dict()
        )
        if residual is not None:
            self.header = replace(self.header, residual=residual)
        for path, channels in self._other_files():
            info = read_info(path)
            missing = [name for name in channels if name not in info.channels]
            if missing:
                raise TrainingError(f"{path}: there is no channel {missing[0]!r}, which the training frames have")
            known = self.header.plate_size
            if known and not clean_plate.fits(known, (info.height, info.width)):
                raise TrainingError(
                    f"{path}: is {info.width}x{info.height}, the training frames are {known[1]}x{known[0]}: set Clean "
                    "Plate to Off, which does not care"
                )
        crop = data.crop(settings.crop_size)
        for sentence in (
            self.member.warning,
            *data.warnings,
            *(finding.sentence for finding in inspected),
            min(crop) < settings.crop_size
            and f"the frames are smaller than the Crop Size {settings.crop_size}: training on crops of "
            f"{crop[1]}x{crop[0]}",
            self.member.device.type == "cpu" and min(crop) > 128 and "on a CPU, a Crop Size of 128 learns faster",
            len(frames) > 100
            and settings.use_multi_resolution_training
            and "above 100 pairs, Use Multi-Resolution Training is better switched off",
        ):
            if sentence:
                self._warn(sentence)

    def _other_files(self) -> Iterable[tuple[Path, tuple[str, ...]]]:
        """The files besides the data set that will be read, with the channels that they must have."""
        if self._preview:
            yield self._preview, self.header.channels_in
        for pair in self._validation:
            yield pair.input, self.header.channels_in
            yield pair.ground_truth, self.header.channels_out

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _loop(self) -> str:
        """Trains until the schedule is done or somebody stops it; returns how it ended."""
        settings = self.settings
        self._summary.append({"run": self._facts()})
        total = None if self.schedule.seconds else self.schedule.total_steps
        self._callbacks.call("before_render", run=self.run.name, frame=self.step, last=total, loss=None)
        last_read = last_saved = time.monotonic()
        finished, stopped = self.schedule.finished(self.step, self.elapsed), ""
        if finished and self.step == 0:
            raise TrainingError(
                f"the Time Limit of {settings.minutes:g} minutes was over before the first step: reading the frames "
                f"took {self.elapsed:.0f} seconds; allow more time"
            )
        while not (finished or stopped):
            done = self.schedule.progress(self.step, self.elapsed)
            level, rate = self.schedule.level(done), self.schedule.learning_rate(self.step, done)
            self._callbacks.call("before_frame_render", run=self.run.name, frame=self.step + 1, loss=self.loss)
            losses = self.member.learn(level, self.step, rate)
            self.step += 1
            self._pending.add(self.step, level, rate, self.elapsed, losses)

            finished = self.schedule.finished(self.step, self.elapsed)
            at_checkpoint = finished or self.step % settings.checkpoint_interval == 0
            since = time.monotonic() - last_read
            if at_checkpoint or self._signals.received or since >= _READ_BACK_SECONDS:
                self._read_back(since)
                last_read += since
                stopped = self._answer_requests() or self.member.wishes(self._signals.received)
            self._callbacks.call("after_frame_render", run=self.run.name, frame=self.step, loss=self.loss)

            if not stopped and (finished or self.step % settings.image_interval == 0):
                self._with_memory(partial(self._write_pictures, self.member.at_level(level)))
            if at_checkpoint or stopped:
                self.member.agree()
                self._with_memory(partial(self._write_checkpoint, level, validate=not stopped))
                last_saved = time.monotonic()
            elif time.monotonic() - last_saved >= _RESUME_STATE_SECONDS:
                self.member.agree()
                self._write_resume_state()
                last_saved = time.monotonic()
        return "finished" if finished else stopped

    def _with_memory(self, write: Callable[[], None]) -> None:
        """Writes; where a recorded step has left too little memory on the GPU, the recording is made anew after it."""
        try:
            return write()
        except RuntimeError as error:
            if not is_out_of_memory(error) or not self.learner.leave_stage():
                raise
        write()

    def _answer_requests(self) -> str:
        """Carries out what others asked for; returns ``stopped`` when that was to stop."""
        request = take_request(self.run)
        if request is None:
            return ""
        refusal = ""
        if request.action == "rename":
            try:
                renamed = Run(self.run.directory, request.name)
                move_files(self.run, renamed)
                self.run = renamed
            except RunError as error:
                refusal = str(error)
        elif request.action == "finish":
            self.schedule = self.schedule.finishing(self.step, self.elapsed)
            self._summary.append({"run": self._facts()})
        elif request.action != "stop":
            refusal = f"{request.action!r} cannot be asked of a trainer; it knows stop, finish and rename"
        answer_request(self.run, request, refusal)
        return "stopped" if request.action == "stop" else ""

    def _read_back(self, seconds: float) -> None:
        """Waits for the losses of the last steps, which took ``seconds``, writes them down and reports."""
        records = self._pending.take()
        self.loss = next((record["loss"] for record in reversed(records) if record["loss"] is not None), self.loss)
        device = self.member.device
        if records and device.type == "cuda":
            records[-1]["memory"] = torch.cuda.max_memory_allocated(device)
        self._summary.append(*records)
        if self._pending.skipped >= _MOST_SKIPPED:
            raise TrainingError(
                f"the loss has not been finite for {self._pending.skipped} steps in a row; "
                "look for extreme values in the training frames, or lower the loss weights"
            )
        rate = len(records) / max(seconds, 1e-6)
        done = self.schedule.progress(self.step, self.elapsed)
        if self.schedule.seconds:
            left: float | None = max(0.0, self.schedule.seconds - self.elapsed)
        else:
            left = (self.schedule.total_steps - self.step) / rate if rate else None
        self._tell(rate=rate, left=left)
        known = {"run": self.run.name, "frame": self.step, "loss": self.loss, "progress": min(1.0, done)}
        self._callbacks.call("render_progress", **known, error=None)

    # -- what is told and written -------------------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, over all sessions; the first includes reading the data set."""
        return self._elapsed_before + time.monotonic() - self._started

    def _facts(self) -> dict[str, Any]:
        channels = f"{_short(self.header.channels_in)} -> {_short(self.header.channels_out)}"
        return {
            "totalSteps": None if self.schedule.seconds else self.schedule.total_steps,
            "seconds": self.schedule.seconds,
            "stages": self.schedule.stages(),
            "pairs": len(self.member.frames),
            "batch": self.member.batch,
            "processes": self._group.rendezvous.size if self._group else 1,
            "channels": channels,
            "modelSize": self.settings.model_size,
            "device": device_name(self.member.device),
            "start": datetime.now().isoformat(timespec="seconds"),
            "step": self.step,
            "warnings": self._warnings,
        }

    def _warn(self, sentence: str) -> None:
        self._warnings.append(sentence)
        self._tell(f"warning: {sentence}")

    def _tell(self, message: str = "", rate: float = 0.0, left: float | None = None) -> None:
        if self._progress is None:
            return
        done = self.schedule.progress(self.step, self.elapsed)
        level = self.member.level or self.schedule.level(done)
        total = None if self.schedule.seconds else self.schedule.total_steps
        self._progress(Report(self.run.name, self.step, total, self.loss, level, rate, left, min(1.0, done), message))

    def _stopping(self) -> bool:
        return bool(self._signals.received)

    def _write_pictures(self, data: Dataset) -> None:
        view = self.settings.ocio_view
        with self.learner.parameters.averaged():
            network = self.learner.network
            sheet = contact_sheet(network, data, self.settings.crop_size, self.step, self.settings.seed, view)
            write_png(self.run.contact_sheet(self.step), sheet)
            if self._preview:
                frame = read_frame(self._preview, self.header.channels_in)
                image = torch.from_numpy(frame.pixels).movedim(-1, 0)
                with contextlib.suppress(tiles.CancelledError):
                    output = tiles.render(network, image, self._encodings, tile_size=1024, cancel=self._stopping)
                    picture = displayed(output, frame.info.linear, self.header.channels_out, view)
                    write_png(self.run.preview(self.step), picture)

    @property
    def _encodings(self) -> Encodings:
        return self.header.input_encoding, self.header.target_encoding

    def _write_checkpoint(self, level: int, validate: bool) -> None:
        """Writes the .cat, the best one where this is it, and the resume state."""
        header = replace(self.header, run=self.run.name, level=level, step=self.step, loss=self.loss)
        weights = self.learner.parameters.average_by_name()
        cat.save(self.run.checkpoint(self.step), header, weights)
        if self._validation and validate:
            with contextlib.suppress(tiles.CancelledError), self.learner.parameters.averaged():
                value = psnr(self.learner.network, self._validation, header, cancel=self._stopping)
                self._summary.append({"step": self.step, "psnr": round(value, 4)})
                if value > self._best_psnr:
                    self._best_psnr = value
                    cat.save(self.run.best, header, weights)
        self._write_resume_state()

    def _write_resume_state(self) -> None:
        updates, vectors = self.learner.state()
        position = checkpoint.Position(
            step=self.step,
            updates=updates,
            elapsed=self.elapsed,
            loss=self.loss,
            best_psnr=self._best_psnr if math.isfinite(self._best_psnr) else None,
            micro_batch=self.learner.micro_batch,
            schedule=self.schedule.to_dict(),
        )
        checkpoint.save(self.run.resume_state, position, replace(self.header, run=self.run.name), vectors)


def _as_failure(error: BaseException) -> BaseException:
    """The error to show: out of memory becomes a sentence, the rest stays as it is."""
    if not isinstance(error, CopycatError) and is_out_of_memory(error):
        return TrainingError(
            "there is not enough memory for this training; use a smaller Crop Size or Model Size, fewer frames, or "
            "set Bank to disk"
        )
    return error


def _short(channels: tuple[str, ...]) -> str:
    return {"R,G,B": "rgb", "R,G,B,A": "rgba", "A": "alpha"}.get(",".join(channels), ",".join(channels))
