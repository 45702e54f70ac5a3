"""Stops, finishes, resumes and changes the active run for a host, and names its newest model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from copycat.runs import Display, Run, RunError, ask, read_provenance
from copycat.runs.asking import Action
from copycat.runs.launch import Trainings, stop_training
from copycat.settings.tables import Settings
from copycat.worker import active_run, host_callbacks
from copycat.worker.buffers import picture, write_picture
from copycat.worker.host_request import Handler, HostRequest

_PATIENCE_SECONDS = 20.0  # a step can take long
_CHANGEABLE = ("epochs", "minutes", "checkpointInterval", "imageInterval")


class TrainingRequests:
    """Requests about the active run. Any thread."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "stop": self.stop,
            "finish": self.finish,
            "resume": self.resume,
            "newest_model": newest_model,
            "checkpoint": checkpoint,
            "pictures": pictures,
            "plan": plan,
        }

    def failure(self, directory: Path) -> dict[str, Any] | None:
        """The status of the chosen run where its training was started here and failed; its files may not say why."""
        chosen, failure = Display.read(directory).active, ""
        with contextlib.suppress(RunError):  # the display file names something that is no run
            failure = self._trainings.failure(Run(directory, chosen or ""))
        return {"status": f"{chosen} failed: {failure}", "failed": True} if failure else None

    def stop(self, request: HostRequest) -> dict[str, Any]:
        """Asks the active run's trainer to save and stop."""
        run = active_run.expect(request.settings)
        stop_training(run)
        return {"status": f"{run.name}: saves and stops", "failed": False}

    def finish(self, request: HostRequest) -> dict[str, Any]:
        """Has the active run end soon with a finished model, whether it is being trained or was stopped."""
        run = active_run.expect(request.settings)
        self._trainings.finish(run, _options(request, run), host_callbacks.environment())
        return {"status": f"{run.name}: training ends after a decay", "can_resume": False, "failed": False}

    def resume(self, request: HostRequest) -> dict[str, Any]:
        """Continues the active run."""
        run = active_run.expect(request.settings)
        self._trainings.resume(run, _options(request, run), host_callbacks.environment())
        return {"status": f"{run.name}: starting", "can_resume": False, "failed": False}


def checkpoint(request: HostRequest) -> dict[str, Any]:
    """Has the active run's trainer write a checkpoint now."""
    return _asked(request, "checkpoint", "writes a checkpoint")


def pictures(request: HostRequest) -> dict[str, Any]:
    """Has the active run's trainer write a contact sheet and a preview now: of the picture that came along, if any."""
    preview = _preview(request) if "picture" in request.message else ""
    return _asked(request, "pictures", "writes its pictures", preview=preview)


def _preview(request: HostRequest) -> str:
    """Writes the picture to a file of the active run."""
    run = active_run.expect(request.settings)
    pixels, names = picture(request.buffers.keep(request.message), request.message["picture"])
    path = run.file(f"_preview.{request.integer('frame'):04d}.exr")
    write_picture(path, pixels, names)
    return str(path)


def plan(request: HostRequest) -> dict[str, Any]:
    """Has the active run's trainer follow the Time Limit of the settings, or without one the Epochs."""
    settings = Settings.from_dict(request.settings)
    if settings.minutes:
        return _asked(request, "plan", f"ends after {settings.minutes:g} minutes", minutes=settings.minutes)
    return _asked(request, "plan", f"ends after {settings.epochs} epochs", epochs=settings.epochs)


def _asked(request: HostRequest, action: Action, done: str, **knobs: Any) -> dict[str, Any]:
    run = active_run.expect(request.settings)
    ask(run.directory, action, run.name, timeout=_PATIENCE_SECONDS, **knobs)
    return {"status": f"{run.name}: {done}", "failed": False}


def newest_model(request: HostRequest) -> dict[str, Any]:
    """The newest checkpoint of the active run."""
    run = active_run.expect(request.settings)
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise RunError(f"run {run.name} has not saved a model yet: wait for its first checkpoint, or stop it")
    return {"model": str(checkpoints[-1][1])}


def _options(request: HostRequest, run: Run) -> list[str]:
    """The options of a resume on the command line: the knobs that have changed, and the node's callbacks.

    A knob with its stored value is left out: the schedule of the resume state stays unless the artist changes it.

    Raises:
        CallbackError: a callback's module lies in none of the host's folders.
    """
    settings = Settings.from_dict(request.settings)
    stored = read_provenance(run).get("settings") or {}
    changed = {
        knob.field: getattr(settings, knob.field)
        for knob in Settings.knobs()
        if knob.field and knob.name in _CHANGEABLE and getattr(settings, knob.field) != stored.get(knob.name)
    }
    options = {**changed, **host_callbacks.check(settings)}
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
