"""Training: pairs of sequences in, checkpoints out. The loop reads top to bottom in :meth:`Trainer.run`."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copycat import __version__, cat, checkpoint, ops, tiles
from copycat.callbacks import CALLBACK_NAMES, Callback, Callbacks
from copycat.config import Settings, SettingsError
from copycat.contact_sheet import contact_sheet, display, write_png
from copycat.dataset import Dataset, FramePair, Pair, find_frames, load_dataset
from copycat.devices import choose_device, device_name, is_out_of_memory, training_dtype
from copycat.encoding import loss_scale
from copycat.errors import CopycatError
from copycat.losses import Loss
from copycat.parameters import FlatParameters
from copycat.runs import (
    Run,
    RunError,
    SummaryWriter,
    TrainerLock,
    answer_request,
    find_run,
    move_files,
    new_run,
    read_json,
    take_request,
    write_json,
)
from copycat.schedule import Schedule
from copycat.sequence import ImageSequence, read_frame, read_info
from copycat.signals import StopSignals
from copycat.validation import psnr
from copycat.weights import check_channels, starting_point

_GRADIENT_LIMIT = 1.0
_READ_BACK_SECONDS = 1.0
_RESUME_STATE_SECONDS = 300.0
_MOST_SKIPPED = 100


class TrainingError(CopycatError):
    """A training cannot begin or go on."""


@dataclass(frozen=True)
class Report:
    """What a progress callback is told, at most a few times a second.

    Attributes:
        run: the run's name.
        step, total_steps: done and planned; total_steps is None under a time limit.
        loss: of the last step that was read back.
        level: 4, 2 or 1.
        steps_per_second: over the last second or more; seconds_left: estimated, None where unknown.
        fraction: share done, 0 to 1.
        message: a sentence for the user, where there is one.
    """

    run: str
    step: int
    total_steps: int | None
    loss: float | None
    level: int
    steps_per_second: float
    seconds_left: float | None
    fraction: float
    message: str = ""


@dataclass(frozen=True)
class Result:
    """How a training ended: ``finished``, ``stopped`` (on request), ``interrupted`` (Ctrl-C) or ``terminated``."""

    run: Run
    ended: str
    step: int
    loss: float | None
    checkpoint: Path | None


Progress = Callable[[Report], None]


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
    started = time.monotonic()
    functions = {name: knobs.pop(name) for name in CALLBACK_NAMES if callable(knobs.get(name))}
    settings = (settings or Settings()).replace(**_known(knobs))
    shots = ([Pair(str(input), str(ground_truth), str(mask))] if input or ground_truth else []) + list(pairs)
    for shot in shots:
        if not shot.input or not shot.ground_truth:
            raise SettingsError("a training needs both an Input and a Ground Truth")
    if not settings.data_directory:
        raise SettingsError("Data Directory is not set: say where checkpoints and contact sheets go")
    resolved = _callbacks(settings, callbacks, functions)
    start = starting_point(settings)
    frames = find_frames(shots, settings.training_frames)
    settings.pairs_per_step(len(frames))  # refuses a batch that is too large before anything is read
    directory = Path(settings.data_directory).absolute()
    run = _claim(directory, run_name)
    lock = TrainerLock(run)
    trainer = None
    try:
        write_json(run.provenance, _provenance(settings, shots, frames))
        summary = SummaryWriter(run)
        try:
            with StopSignals() as signals:
                trainer = Trainer(run, settings, frames, summary, resolved, signals, progress, started)
                trainer.load(start)
                return trainer.run_to_end()
        finally:
            summary.close()
    finally:
        lock.release(trainer.run if trainer else run)


def resume(
    data_directory: str | Path,
    run_name: str | None = None,
    *,
    callbacks: Callbacks | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> Result:
    """Continues a run, by default the newest, from its resume state.

    Args:
        data_directory: where the run's files are.
        run_name: which run.
        callbacks, progress: as for :func:`train`.
        knobs: settings that may change on the way (``epochs``, ``minutes``, intervals, GPU); the rest is as it was.

    Raises:
        CopycatError: there is no such run or resume state, it is being trained, or its frames cannot be read.
    """
    started = time.monotonic()
    run = find_run(Path(data_directory).absolute(), run_name)
    provenance = read_json(run.provenance)
    try:
        pairs = [
            FramePair(Path(p["input"]), Path(p["groundTruth"]), Path(p["mask"]) if p["mask"] else None, p["frame"])
            for p in provenance["frames"]
        ]
        stored = provenance["settings"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.provenance}: the run's settings are missing or damaged: no {error}") from error
    functions = {name: knobs.pop(name) for name in CALLBACK_NAMES if callable(knobs.get(name))}
    settings = Settings.from_dict(stored).replace(**_known(knobs), data_directory=str(run.directory))
    _check_resumable(Settings.from_dict(stored), settings)
    resolved = _callbacks(settings, callbacks, functions)
    lock = TrainerLock(run)
    trainer = None
    try:
        position, header, vectors = checkpoint.load(run.resume_state)
        summary = SummaryWriter(run, resume_step=position.step)
        try:
            with StopSignals() as signals:
                trainer = Trainer(run, settings, pairs, summary, resolved, signals, progress, started)
                trainer.restore(position, header, vectors, replanned=bool(knobs))
                return trainer.run_to_end()
        finally:
            summary.close()
    finally:
        lock.release(trainer.run if trainer else run)


class Trainer:
    """One training: a network, its data set, and the files of its run."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        frames: Iterable[FramePair],
        summary: SummaryWriter,
        callbacks: Callbacks,
        signals: StopSignals,
        progress: Progress | None,
        started: float,
    ) -> None:
        self.run = run
        self.settings = settings
        self.frames = tuple(frames)
        self.device, warning = choose_device(settings.use_gpu_if_available, settings.gpu_index)
        self._summary = summary
        self._callbacks = callbacks
        self._signals = signals
        self._progress = progress
        self._started = started
        self._elapsed_before = 0.0
        self._warnings = [warning] if warning else []
        self.dataset: Dataset | None = None
        self._batch = settings.pairs_per_step(len(self.frames)) * settings.crops_per_pair
        self._loss = Loss(settings.l1_weight, settings.l2_weight)
        self._position = checkpoint.Position(micro_batch=self._batch)
        self.schedule = Schedule(
            settings.total_steps(len(self.frames)), settings.minutes * 60, settings.use_multi_resolution_training
        )

    # -- getting ready ------------------------------------------------------------------------------------------------

    def load(self, start: tuple[cat.ModelHeader, Any] | None) -> None:
        """Reads the data set and makes the network, from ``start`` where given."""
        encodings = (start[0].input_encoding, start[0].target_encoding) if start else None
        self._read(encodings)
        if start:
            check_channels(self.settings, start[0], self.full.input_channels, self.full.target_channels)
            self._build(start[0].residual)
            self.network.load_state_dict(start[1])
        else:
            self._build(self.full.residual)
        self._flatten()

    def restore(
        self,
        position: checkpoint.Position,
        header: cat.ModelHeader,
        vectors: dict[str, Tensor],
        *,
        replanned: bool,
    ) -> None:
        """Reads the data set and goes back to a resume state; ``replanned`` follows the settings' schedule anew."""
        self._read((header.input_encoding, header.target_encoding))
        if self.full.data_hash != header.data_hash:
            self._warnings.append("the training frames have changed since the run was started")
        self._build(header.residual)
        self._flatten()
        self.parameters.load(vectors)
        self._restore_optimiser(vectors, position.updates)
        self._position = position
        self._elapsed_before = position.elapsed
        self._started = time.monotonic()
        if position.schedule and not replanned:
            self.schedule = Schedule(**position.schedule)

    def _read(self, encodings: tuple[ops.Encoding, ops.Encoding] | None) -> None:
        def told(done: int, count: int) -> None:
            self._tell(f"reading frame pairs: {done} of {count}")

        self.full = load_dataset(
            self.frames, self.settings, directory=self.run.directory, encodings=encodings, progress=told
        )
        self._warnings += self.full.warnings
        crop = self.full.crop(self.settings.crop_size)
        if min(crop) < self.settings.crop_size:
            self._warnings.append(f"the frames are smaller than the crop: training on crops of {crop[1]}x{crop[0]}")
        if len(self.frames) > 100 and self.settings.use_multi_resolution_training:
            self._warnings.append("above 100 pairs, Use Multi-Resolution Training is better switched off")

    def _build(self, residual: tuple[int, ...]) -> None:
        torch.manual_seed(self.settings.seed)
        self.header = cat.ModelHeader(
            model_size=self.settings.model_size,
            channels_in=self.full.input_channels,
            channels_out=self.full.target_channels,
            residual=residual,
            input_encoding=self.full.input_encoding,
            target_encoding=self.full.target_encoding,
            settings=self.settings.to_dict(),
            data_hash=self.full.data_hash,
            run=self.run.name,
        )
        self.network = self.header.network()

    def _flatten(self) -> None:
        self.parameters = FlatParameters(self.network, self.device, training_dtype(self.device))
        self._scale = loss_scale(self.full.target_encoding).to(self.device)
        self.optimiser = torch.optim.AdamW(
            [self.parameters.weights], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def _restore_optimiser(self, vectors: dict[str, Tensor], updates: int) -> None:
        weights = self.parameters.weights
        self.optimiser.state[weights] = {
            "step": torch.tensor(float(updates), device=weights.device),
            "exp_avg": vectors["exp_avg"].to(weights.device),
            "exp_avg_sq": vectors["exp_avg_sq"].to(weights.device),
        }

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run_to_end(self) -> Result:
        """:meth:`run`, with an honest last line in the ``.summary`` however it ends."""
        try:
            ended = self.run_loop()
            self._callbacks.call("after_render", run=self.run.name, frame=self.step, loss=self.loss, error=None)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            try:
                self._summary.append({"end": "failed", "reason": reason, "step": self.step, "time": self.elapsed})
            finally:
                if isinstance(error, Exception):
                    self._callbacks.call("render_progress", run=self.run.name, frame=self.step, error=reason)
            raise
        reasons = {"stopped": "on request", "interrupted": "by Ctrl-C", "terminated": "by SIGTERM"}
        self._summary.append(
            {"end": ended, "reason": reasons.get(ended, ""), "step": self.step, "time": round(self.elapsed, 3)}
        )
        saved = self.run.checkpoints()
        return Result(self.run, ended, self.step, self.loss, saved[-1][1] if saved else None)

    def run_loop(self) -> str:
        """Trains until the schedule is done or somebody stops it; returns how it ended."""
        settings, schedule = self.settings, self.schedule
        self._summary.append({"run": self._facts()})
        self._callbacks.call("before_render", run=self.run.name, frame=self.step, last=schedule.total_steps, loss=None)
        pending = _PendingLosses(self.device)
        saved = self.step
        last_read = last_saved = time.monotonic()
        ended = "finished"
        while not self.schedule.finished(self.step, self.elapsed):
            done = self.schedule.progress(self.step, self.elapsed)
            level, rate = self.schedule.level(done), self.schedule.learning_rate(self.step, done)
            if self.dataset is None or self.dataset.level != level:
                self.dataset = self._place(self.full.at_level(level))
            self._callbacks.call("before_frame_render", run=self.run.name, frame=self.step + 1, loss=self.loss)
            pending.add(self.step + 1, level, rate, self.elapsed, self._learn(rate))
            self._position = replace(self._position, step=self.step + 1)
            last = self.schedule.finished(self.step, self.elapsed)
            now = time.monotonic()
            if last or now - last_read >= _READ_BACK_SECONDS or self.step % settings.checkpoint_interval == 0:
                self._read_back(pending, now - last_read)
                last_read = now
                ended = self._answer_requests() or self._signals.received or ended
            self._callbacks.call("after_frame_render", run=self.run.name, frame=self.step, loss=self.loss)
            if last or self.step % settings.image_interval == 0:
                self._write_pictures()
            stopping = ended != "finished" or bool(self._signals.received)
            if last or self.step % settings.checkpoint_interval == 0:
                self._write_checkpoint()
                saved, last_saved = self.step, now
            elif not stopping and now - last_saved >= _RESUME_STATE_SECONDS:
                self._write_resume_state()
                last_saved = now
            if stopping:
                ended = ended if ended != "finished" else self._signals.received
                break
        if pending:
            self._read_back(pending, 1.0)
        if saved != self.step:
            self._write_checkpoint()
        return ended

    def _learn(self, rate: float) -> Tensor:
        """One step; returns ``[loss, l1, l2]`` on the device."""
        while True:
            try:
                return self._step(rate)
            except RuntimeError as error:
                micro = self._position.micro_batch
                if not is_out_of_memory(error) or micro == 1:
                    raise TrainingError(_out_of_memory(self.settings)) if is_out_of_memory(error) else error from error
            # Outside of the except block, so that the failed step's tensors are free.
            self._position = replace(self._position, micro_batch=-(-micro // 2))
            self.parameters.discard_gradient()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._tell(f"memory is short: {self._position.micro_batch} crops go through the network at a time")

    def _step(self, rate: float) -> Tensor:
        data, settings, parameters = self.dataset, self.settings, self.parameters
        assert data is not None
        micro = min(self._position.micro_batch, self._batch)
        total = torch.zeros(3, device=self.device)
        for first in range(0, self._batch, micro):
            count = min(micro, self._batch - first)
            source, target, mask = ops.sample_crops(
                data.input_bank,
                data.target_bank,
                mask_bank=data.mask_bank,
                crop=data.crop(settings.crop_size),
                batch=count,
                first_sample=first,
                total_samples=self._batch,
                crops_per_pair=settings.crops_per_pair,
                step=self.step,
                seed=settings.seed,
                input_encoding=data.input_encoding,
                target_encoding=data.target_encoding,
                valid=data.valid,
                centres=data.centres,
                centre_offsets=data.centre_offsets,
                centre_share=settings.difference_share,
                flip=settings.flip_probability,
                flop=settings.flop_probability,
                turn=settings.rotation_probability,
            )
            loss, parts = self._loss(self.network(source), target, self._scale, mask)
            share = count / self._batch
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total += torch.cat([loss.detach().view(1), parts]) * share
            parameters.gather_gradient()
        norm = parameters.gradient.norm()
        parameters.gradient.mul_((_GRADIENT_LIMIT / (norm + 1e-6)).clamp(max=1.0))
        # A step with a non-finite loss or gradient is skipped on the device, without waiting for it.
        self.optimiser.found_inf = (~torch.isfinite(norm + total[0])).float()  # type: ignore[attr-defined]
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.step()
        parameters.stepped(self.step)
        return total

    def _place(self, data: Dataset) -> Dataset:
        """Puts a level's banks where the kernels read them best."""
        if self.device.type != "cuda":
            return data
        banks = (data.input_bank, data.target_bank, data.mask_bank)
        size = sum(bank.nbytes for bank in banks if bank is not None)
        free = torch.cuda.mem_get_info(self.device)[0]
        on_device = self.settings.bank == "device" or (self.settings.bank == "auto" and size < 0.5 * free)
        return data.to(self.device, pinned=not on_device)

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
                self.header = replace(self.header, run=renamed.name)
            except RunError as error:
                refusal = str(error)
        elif request.action == "finish":
            self.schedule = self.schedule.finishing(self.step, self.elapsed)
        elif request.action != "stop":
            refusal = f"{request.action!r} cannot be asked of a trainer; it knows stop, finish and rename"
        answer_request(self.run, request, refusal)
        return "stopped" if request.action == "stop" else ""

    # -- what is written ----------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Steps done."""
        return self._position.step

    @property
    def loss(self) -> float | None:
        """The last finite loss that was read back."""
        return self._position.loss

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, over all sessions; the first includes reading the data set."""
        return self._elapsed_before + time.monotonic() - self._started

    def _facts(self) -> dict[str, Any]:
        timed = bool(self.schedule.seconds)
        return {
            "totalSteps": None if timed else self.schedule.total_steps,
            "seconds": self.schedule.seconds,
            "stages": self.schedule.stages(),
            "pairs": len(self.frames),
            "batch": self._batch,
            "channels": f"{_short(self.full.input_channels)} -> {_short(self.full.target_channels)}",
            "modelSize": self.settings.model_size,
            "device": device_name(self.device),
            "start": datetime.now().isoformat(timespec="seconds"),
            "step": self.step,
            "warnings": self._warnings,
        }

    def _read_back(self, pending: _PendingLosses, seconds: float) -> None:
        records = pending.take()
        finite = [record["loss"] for record in records if record["loss"] is not None]
        if finite:
            self._position = replace(self._position, loss=finite[-1])
            pending.skipped = 0
        else:
            pending.skipped += len(records)
        self._summary.append(*records)
        if pending.skipped >= _MOST_SKIPPED:
            raise TrainingError(f"the loss has not been finite for {pending.skipped} steps; the training was stopped")
        rate = len(records) / max(seconds, 1e-6)
        done = self.schedule.progress(self.step, self.elapsed)
        if self.schedule.seconds:
            left: float | None = max(0.0, self.schedule.seconds - self.elapsed)
        else:
            left = (self.schedule.total_steps - self.step) / rate if rate else None
        self._tell(rate=rate, left=left, done=done)
        known = {"run": self.run.name, "frame": self.step, "loss": self.loss, "progress": done, "error": None}
        self._callbacks.call("render_progress", **known)

    def _tell(self, message: str = "", rate: float = 0.0, left: float | None = None, done: float = 0.0) -> None:
        if self._progress is None:
            return
        while self._warnings and not message:
            message = f"warning: {self._warnings.pop(0)}"
        level = self.dataset.level if self.dataset else self.schedule.level(done)
        total = None if self.schedule.seconds else self.schedule.total_steps
        fraction = min(1.0, done)
        self._progress(Report(self.run.name, self.step, total, self.loss, level, rate, left, fraction, message))

    def _write_pictures(self) -> None:
        with self.parameters.averaged():
            data = self.dataset
            assert data is not None
            sheet = contact_sheet(self.network, data, self.settings.crop_size, self.step, self.settings.seed)
            write_png(self.run.contact_sheet(self.step), sheet)
            if self.settings.preview:
                plate = ImageSequence.parse(self.settings.preview)
                path = plate.path(plate.frames()[0])
                frame = read_frame(path, self.header.channels_in)
                image = torch.from_numpy(frame.pixels).movedim(-1, 0)
                output = tiles.render(self.network, image, self._encodings, tile_size=1024)
                linear = read_info(path).linear
                write_png(self.run.preview(self.step), display(output, linear, self.header.channels_out))

    @property
    def _encodings(self) -> tuple[ops.Encoding, ops.Encoding]:
        return self.header.input_encoding, self.header.target_encoding

    def _write_checkpoint(self) -> None:
        level = self.dataset.level if self.dataset else 1
        header = replace(self.header, level=level, step=self.step, loss=self.loss)
        weights = self.parameters.average_by_name()
        cat.save(self.run.checkpoint(self.step), header, weights)
        if self.settings.validation_input:
            pairs = find_frames([Pair(self.settings.validation_input, self.settings.validation_ground_truth)])
            with self.parameters.averaged():
                value = psnr(self.network, pairs, header)
            self._summary.append({"step": self.step, "psnr": round(value, 4)})
            if value > (self._position.best_psnr or -math.inf):
                self._position = replace(self._position, best_psnr=value)
                cat.save(self.run.best, header, weights)
        self._write_resume_state()

    def _write_resume_state(self) -> None:
        state = self.optimiser.state[self.parameters.weights]
        vectors = {
            "weights": self.parameters.weights,
            "average": self.parameters.average,
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["exp_avg_sq"],
        }
        position = replace(
            self._position, updates=int(state["step"]), elapsed=self.elapsed, schedule=self.schedule.to_dict()
        )
        checkpoint.save(self.run.resume_state, position, self.header, vectors)


class _PendingLosses:
    """Losses of the last steps, still on the device; truthy when there are any."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: list[tuple[int, int, float, float]] = []
        self._losses: list[Tensor] = []
        self.skipped = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, step: int, level: int, rate: float, elapsed: float, losses: Tensor) -> None:
        """Keeps ``[loss, l1, l2]`` of a step."""
        self._rows.append((step, level, rate, elapsed))
        self._losses.append(losses)

    def take(self) -> list[dict[str, Any]]:
        """The summary's lines; waits for the device."""
        values = torch.stack(self._losses).tolist() if self._losses else []
        records = []
        for (step, level, rate, elapsed), (loss, l1, l2) in zip(self._rows, values, strict=True):
            finite = math.isfinite(loss)
            records.append(
                {
                    "step": step,
                    "loss": round(loss, 8) if finite else None,
                    "parts": {"l1": round(l1, 8), "l2": round(l2, 10)} if finite else {},
                    "level": level,
                    "lr": round(rate, 8),
                    "time": round(elapsed, 3),
                }
            )
        self._rows, self._losses = [], []
        return records


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


def _claim(directory: Path, name: str | None) -> Run:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: the Data Directory cannot be made: {error.strerror}") from error
    if name is None:
        return new_run(directory)
    run = Run(directory, name)
    if run.summary.exists():
        raise RunError(f"there is already a run {name!r} in {directory}; resume it, or choose another name")
    return run


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


_FIXED = ("model_size", "input_channels", "ground_truth_channels")


def _check_resumable(before: Settings, after: Settings) -> None:
    for name in _FIXED:
        if getattr(before, name) != getattr(after, name):
            raise SettingsError(
                f"{name} cannot change in a resume (it was {getattr(before, name)!r}); start a new run instead"
            )


def _out_of_memory(settings: Settings) -> str:
    return (
        f"there is not enough memory for one crop of {settings.crop_size}x{settings.crop_size} through a "
        f"{settings.model_size} model; use a smaller Crop Size or Model Size"
    )


def _short(channels: tuple[str, ...]) -> str:
    return {"R,G,B": "rgb", "R,G,B,A": "rgba", "A": "alpha"}.get(",".join(channels), ",".join(channels))
