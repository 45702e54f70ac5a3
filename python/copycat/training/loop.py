"""A training from preparing to the last line of its ``.summary``; the loop itself is :meth:`Trainer.loop`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import torch

from copycat.data.devices import device_name, is_out_of_memory
from copycat.errors import CopycatError
from copycat.model.starting_point import StartingPoint
from copycat.runs import Request, SummaryWriter, read_provenance, write_provenance
from copycat.settings.callbacks import CallbackError
from copycat.settings.knob import SettingsError
from copycat.training.auto import decisions
from copycat.training.checkpoint import ResumeState
from copycat.training.control import REASONS, Control, StoppedError
from copycat.training.frame_watch import FrameWatch
from copycat.training.group import DistributedError, Group
from copycat.training.journal import Journal
from copycat.training.living_data import Difference, LivingData
from copycat.training.member import Process
from copycat.training.outputs import Outputs
from copycat.training.pending_losses import PendingLosses
from copycat.training.prepare import Prepared, prepare_new, prepare_resumed
from copycat.training.report import Result
from copycat.training.schedule import Schedule, planned
from copycat.training.standing import Clock, Standing
from copycat.training.step import TrainingError
from copycat.training.task import Task

_READ_BACK_SECONDS = 1.0
_RESUME_STATE_SECONDS = 300.0
_MOST_SKIPPED = 100

Origin = StartingPoint | ResumeState | None


def lead(
    task: Task,
    control: Control,
    summary: SummaryWriter,
    group: Group | None,
    origin: Origin,
    *,
    replanned: bool = False,
    when_prepared: Callable[[], None] = lambda: None,
) -> Result:
    """Runs a training as rank 0, or alone; the last line of the ``.summary`` always says how it ended.

    Args:
        task: what to train.
        control: takes requests and signals; the caller holds the lock of its run.
        summary: where lines go.
        group: the processes that train together, None for this one alone.
        origin: a resume state, a model to start from, or None for a new network.
        replanned: follow the settings' schedule instead of the resume state's.
        when_prepared: called once all files are read, before the first step.

    Raises:
        CopycatError: something the user can put right; the last line of the ``.summary`` says it too.
    """
    standing = _standing(task, origin, replanned)
    journal = Journal(summary, task.progress, standing, control)
    watch = FrameWatch(task.shots if task.settings.watch_training_frames else (), task.settings, control.run.directory)
    watch.note(task.frames)
    living = LivingData(task, control, journal, watch)
    process = Process(task, group, journal.warn, journal.note)
    trainer: Trainer | None = None
    try:
        try:
            trainer = Trainer(task, control, standing, journal, _prepare(process, origin, control, journal), living)
            if isinstance(origin, ResumeState):
                standing.clock = Clock(origin.position.elapsed)  # the reading counts in the first session only
            when_prepared()
            ended = trainer.loop()
        except StoppedError as stopped:
            ended = str(stopped)
            if trainer:
                trainer.save_after(stopped)
        task.callbacks.call("after_render", run=control.run.name, frame=standing.step, loss=standing.loss, error=None)
    except BaseException as error:
        failure = _as_failure(error)
        reason = str(failure) or type(failure).__name__
        if trainer:
            trainer.save_after(failure)
        if not isinstance(failure, DistributedError):
            with contextlib.suppress(CopycatError):
                process.end(control.run.name, "failed", standing.step, reason)
        with contextlib.suppress(CopycatError):
            journal.write_end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", reason)
        with contextlib.suppress(CopycatError):
            task.callbacks.call("render_progress", run=control.run.name, frame=standing.step, error=reason)
        if failure is error:
            raise
        raise failure from error
    finally:
        watch.stop()
    with contextlib.suppress(DistributedError):  # everything is written; a process lost now has failed alone
        process.end(control.run.name, ended, standing.step, REASONS.get(ended, ""))
    journal.write_end(ended, REASONS.get(ended, ""))
    saved = control.run.checkpoints()
    return Result(control.run, ended, standing.step, standing.loss, saved[-1][1] if saved else None)


def _standing(task: Task, origin: Origin, replanned: bool) -> Standing:
    """Where the training stands before its frames are read, so that a failure or a stop meanwhile says it."""
    plan = planned(task.settings, len(task.frames))
    if not isinstance(origin, ResumeState):
        return Standing(plan)
    position = origin.position
    followed = plan if replanned or not position.schedule else Schedule(**position.schedule)
    return Standing(followed, position.step, position.loss, position.best_psnr, clock=Clock(position.elapsed))


def _prepare(process: Process, origin: Origin, control: Control, journal: Journal) -> Prepared:
    def progress(what: str, done: int, count: int) -> None:
        journal.report(f"{what}: {done} of {count}", counts=True)
        if stopped := control.look():
            raise StoppedError(stopped)

    if isinstance(origin, ResumeState):
        return prepare_resumed(process, origin, control.run.directory, progress)
    return prepare_new(process, origin, control.run.directory, progress)


class _Timer:
    """Seconds since it was last restarted; due after ``interval`` of them."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._started = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._started >= self._interval

    def restart(self) -> float:
        """Returns the seconds since the last restart."""
        now = time.monotonic()
        seconds, self._started = now - self._started, now
        return seconds


class Trainer:
    """Decides step by step: level, rate, when to look, when to write, when to end. For one thread alone."""

    def __init__(
        self,
        task: Task,
        control: Control,
        standing: Standing,
        journal: Journal,
        prepared: Prepared,
        living: LivingData,
    ) -> None:
        """Takes over a prepared training; no step is made yet."""
        self._task = task
        self._control = control
        self._standing = standing
        self._journal = journal
        self._prepared = prepared
        self._member = prepared.member
        self._living = living
        self._outputs = Outputs(task.settings, prepared, standing, control, journal)
        self._pending = PendingLosses()
        self._saved_step = standing.step
        self._read_back_timer = _Timer(_READ_BACK_SECONDS)
        self._resume_state_timer = _Timer(_RESUME_STATE_SECONDS)
        self._settings = task.settings
        self._requested: set[str] = set()
        self._change = ""
        control.attend(self._carry_out)

    def loop(self) -> str:
        """Trains until the schedule is done or somebody stops it; returns how it ended."""
        settings, now, control = self._settings, self._standing, self._control
        self._member.share()
        if control.take_finish():
            now.schedule = now.schedule.finishing(now.step, now.clock.elapsed)
        self._decide(decided_before=self._prepared.resumed)
        self._journal.write_header(self._facts())
        if difference := self._living.begin(self._prepared, now.step):
            self._record(difference)
        self._call("before_render", last=now.total_steps, loss=None)
        finished = now.finished
        if finished and now.step == 0:
            raise TrainingError(
                f"the Time Limit of {settings.minutes:g} minutes was over before the first step: reading the frames "
                f"took {now.clock.elapsed:.0f} seconds; allow more time"
            )
        while not (finished or control.stop):
            self._make_step()
            finished = now.finished
            checkpoint_due = finished or now.step % settings.checkpoint_interval == 0 or self._take("checkpoint")
            pictures_due = finished or now.step % settings.image_interval == 0 or self._take("pictures")
            if checkpoint_due or control.signalled or self._read_back_timer.due:
                self._read_back()
                self._look()
            self._call("after_frame_render")
            if pictures_due and not control.stop:
                self._outputs.write_pictures(self._level)
            if self._take("weights"):
                self._outputs.write_live_weights(self._level)
            if checkpoint_due or control.stop:
                self._save(validate=not control.stop)
            elif self._resume_state_timer.due:
                self._save_resume_state()
        return "finished" if finished else control.stop

    def save_after(self, failure: BaseException) -> None:
        """Saves what was trained before a failure that left the weights whole: a callback's, or another process's.

        After a lost process nothing is saved on a GPU: its part of the last step may never come, and reading the
        weights would wait for it. The last resume state is what is left there.
        """
        if self._standing.step == self._saved_step:
            return
        with contextlib.suppress(Exception):  # the first failure is the one to report
            if isinstance(failure, CallbackError):
                self._save(validate=False)
            elif isinstance(failure, (DistributedError, StoppedError)) and self._member.process.device.type != "cuda":
                self._write_losses()
                self._outputs.write_checkpoint(self._level, validate=False)

    # -- a step, and what comes after some of them ------------------------------------------------------------------

    @property
    def _level(self) -> int:
        return self._standing.level or 1

    def _make_step(self) -> None:
        now = self._standing
        progress = now.progress
        level, rate = now.schedule.level(progress), now.schedule.learning_rate(now.step, progress)
        self._call("before_frame_render", frame=now.step + 1)
        losses = self._member.learn(level, now.step, rate)
        now.level = level
        now.step += 1
        self._pending.add(now.step, level, rate, now.clock.elapsed, losses)

    def _look(self) -> None:
        """Carries out requests, and asks the other processes for signals."""
        now, control = self._standing, self._control
        if not control.look():
            control.stop = self._member.process.gather_signals("")
        if control.take_finish():
            now.schedule = now.schedule.finishing(now.step, now.clock.elapsed)
            self._journal.write_header(self._facts())
        if not control.stop and (difference := self._living.look(now.step)):
            self._record(difference)

    def _record(self, difference: Difference) -> None:
        """Writes down that the data set has changed: first the resume state, so that no step is made without it."""
        line = {"step": self._standing.step, "frames": difference.to_json()}
        self._change = f"step {self._standing.step}: {difference.sentence}"
        self._outputs.change_data(self._member.data, line)
        self._save_resume_state()
        self._living.store()
        self._journal.write(line)
        self._decide(decided_before=True)
        self._journal.write_header(self._facts())
        self._journal.report(difference.sentence)

    def _decide(self, *, decided_before: bool) -> None:
        data, device = self._member.data, self._member.process.device
        self._journal.decide(decisions(self._task.settings, data, device, decided_before=decided_before))

    def _take(self, action: str) -> bool:
        """Whether an output was requested since the last call."""
        requested = action in self._requested
        self._requested.discard(action)
        return requested

    def _carry_out(self, request: Request) -> None:
        """Carries out a request for an output, or for another plan.

        Raises:
            CopycatError: it is refused: a knob does not fit, or the training is past the end of the new plan.
        """
        now = self._standing
        allowed = {"plan": ("epochs", "minutes"), "pictures": ("preview",)}.get(request.action, ())
        knobs = {name: value for name, value in request.knobs.items() if name in allowed}
        if "epochs" in knobs:
            knobs.setdefault("minutes", 0)  # a time limit would decide
        settings = self._settings.replace(**knobs)
        if request.action == "plan":
            plan = planned(settings, len(self._member.data))
            if plan.progress(now.step, now.clock.elapsed) >= 1:
                where = f"step {now.step}, {now.clock.elapsed:.0f} seconds"
                raise SettingsError(f"the training is past the end of that plan ({where}); ask it to finish instead")
            now.schedule = plan
        else:
            self._requested.add(request.action)
        if knobs:
            self._outputs.change_settings(settings)
            self._settings = settings
            write_provenance(self._control.run, {**read_provenance(self._control.run), "settings": settings.to_dict()})
            self._journal.write_header(self._facts())

    def _read_back(self) -> None:
        """Waits for the losses of the last steps, writes them down and reports."""
        now, seconds = self._standing, self._read_back_timer.restart()
        steps = self._write_losses()
        if self._pending.skipped >= _MOST_SKIPPED:
            raise TrainingError(
                f"the loss has not been finite for {self._pending.skipped} steps in a row; "
                "look for extreme values in the training frames, or lower the loss weights"
            )
        rate = steps / max(seconds, 1e-6)
        if now.schedule.seconds:
            left: float | None = max(0.0, now.schedule.seconds - now.clock.elapsed)
        else:
            left = (now.schedule.total_steps - now.step) / rate if rate else None
        self._journal.report(rate=rate, left=left)
        self._call("render_progress", progress=min(1.0, now.progress), error=None)

    def _write_losses(self) -> int:
        """Waits for the losses of the last steps and writes them down; returns how many there were."""
        now, device = self._standing, self._member.process.device
        lines = self._pending.take()
        now.loss = next((line["loss"] for line in reversed(lines) if line["loss"] is not None), now.loss)
        if lines and device.type == "cuda":
            lines[-1]["memory"] = torch.cuda.max_memory_allocated(device)
        self._journal.write(*lines)
        return len(lines)

    def _save(self, *, validate: bool) -> None:
        """Writes a checkpoint with everybody's weights."""
        self._member.agree()
        self._write_losses()
        self._outputs.write_checkpoint(self._level, validate=validate)
        self._saved_step = self._standing.step
        self._resume_state_timer.restart()

    def _save_resume_state(self) -> None:
        self._member.agree()
        self._write_losses()
        self._outputs.write_resume_state()
        self._resume_state_timer.restart()

    def _call(self, callback: str, **facts: Any) -> None:
        now = self._standing
        self._task.callbacks.call(
            callback, **{"run": self._control.run.name, "frame": now.step, "loss": now.loss} | facts
        )

    def _facts(self) -> dict[str, Any]:
        """What the header of the ``.summary`` says besides the plan."""
        process, header = self._member.process, self._prepared.header
        return {
            "pairs": len(self._member.data),
            "batch": self._member.learner.batch,
            "processes": process.group.rendezvous.size if process.group else 1,
            **({"change": self._change} if self._change else {}),
            "channels": f"{_short(header.channels_in)} -> {_short(header.channels_out)}",
            "modelSize": self._task.settings.model_size,
            "device": device_name(process.device),
            "start": datetime.now().isoformat(timespec="seconds"),
        }


def _as_failure(error: BaseException) -> BaseException:
    """The error to show: out of memory becomes a sentence, all else stays as it is."""
    if not isinstance(error, CopycatError) and is_out_of_memory(error):
        return TrainingError(
            "there is not enough memory for this training; use a smaller Crop Size or Model Size, fewer frames, or "
            "set Bank to disk"
        )
    return error


def _short(channels: tuple[str, ...]) -> str:
    return {"R,G,B": "rgb", "R,G,B,A": "rgba", "A": "alpha"}.get(",".join(channels), ",".join(channels))
