"""The panel of the active run: its read-outs, and what can be asked of its training."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from copycat.dashboard.dialogs import ask_for_plan, ask_for_preview, show_inference
from copycat.dashboard.status import Status
from copycat.errors import CopycatError
from copycat.plots.live import Watch
from copycat.runs import Run, RunInfo, ask, read_provenance
from copycat.runs.launch import Trainings, stop_training
from copycat.settings.tables import COPYCAT_KNOBS

_KNOBS = {knob.name: knob for knob in COPYCAT_KNOBS}

Attempt = Callable[[Callable[[], Any]], Awaitable[bool]]


class TrainingPanel:
    """The panel of one browser."""

    def __init__(self, watch: Watch, trainings: Trainings, attempt: Attempt) -> None:
        """``attempt`` carries out an action, shows its error, and returns whether it succeeded."""
        self._watch, self._trainings, self._attempt = watch, trainings, attempt
        self._row: RunInfo | None = None
        with ui.element("section").classes("panel training-panel"):
            self._status = Status()
            with ui.element("div").classes("actions"):
                self._buttons = {
                    name: self._button(_KNOBS[name].label, _KNOBS[name].hint, act)
                    for name, act in (
                        ("stopTraining", self._stop),
                        ("finishTraining", self._finish),
                        ("resumeTraining", self._resume),
                        ("createInference", self._create_inference),
                    )
                }
            with ui.element("div").classes("actions") as self._live:
                for label, hint, act in (
                    ("Checkpoint Now", "Saves the model as it is now.", self._ask_checkpoint),
                    ("Pictures Now", "Writes a contact sheet, and the preview if there is one.", self._ask_pictures),
                    ("Change Plan", "More or fewer minutes or epochs.", self._change_plan),
                    ("Preview Frame", "Another frame for the previews from now on.", self._change_preview),
                ):
                    self._button(label, hint, act)

    async def show(self, row: RunInfo | None) -> None:
        """Shows the active run; None where there is none."""
        self._row = row
        self._status.show(row, self._watch)
        trains = row is not None and row.state in ("starting", "training")
        resumable = row is not None and not trains and await asyncio.to_thread(row.run.resume_state.exists)
        self._buttons["stopTraining"].set_enabled(trains)
        self._buttons["finishTraining"].set_enabled(trains or resumable)
        self._buttons["resumeTraining"].set_enabled(resumable)
        self._buttons["createInference"].set_enabled(row is not None)
        self._live.set_visibility(row is not None and row.state == "training")

    def _button(self, label: str, hint: str, act: Callable[[], Any]) -> ui.button:
        return ui.button(label, on_click=act).props("outline dense no-caps size=sm").tooltip(hint)

    async def _stop(self) -> None:
        await self._send(stop_training, "Asked the trainer of {} to save and stop.")

    async def _finish(self) -> None:
        await self._send(self._trainings.finish, "{} ends after a quarter more, with a decay at full resolution.")

    async def _resume(self) -> None:
        await self._send(self._trainings.resume, "{} is starting; it goes on as soon as the data set is read.")

    async def _ask_checkpoint(self) -> None:
        await self._send(lambda run: ask(run.directory, "checkpoint", run.name), "{} writes a checkpoint.")

    async def _ask_pictures(self) -> None:
        await self._send(lambda run: ask(run.directory, "pictures", run.name), "{} writes its pictures.")

    async def _change_plan(self) -> None:
        if row := self._row:
            epochs = await asyncio.to_thread(_epochs, row.run)
            if plan := await ask_for_plan(row, epochs):
                await self._send(
                    lambda run: ask(run.directory, "plan", run.name, **plan),  # type: ignore[arg-type]
                    "{} follows the new plan.",
                )

    async def _change_preview(self) -> None:
        if row := self._row:
            now = (await asyncio.to_thread(read_provenance, row.run)).get("settings", {}).get("preview", "")
            if path := await ask_for_preview(str(now)):
                await self._send(
                    lambda run: ask(run.directory, "pictures", run.name, preview=path), "{} previews that frame."
                )

    async def _send(self, act: Callable[[Run], Any], confirmation: str) -> None:
        """Sends a request to the active run; shows ``confirmation`` if it succeeds."""
        if row := self._row:
            run = row.run
            if await self._attempt(lambda: asyncio.to_thread(act, run)):
                ui.notify(confirmation.format(run.name), close_button="Close")

    async def _create_inference(self) -> None:
        if row := self._row:
            try:
                show_inference(row.run)
            except CopycatError as error:
                ui.notify(str(error), type="negative")


def _epochs(run: Run) -> int:
    """The Epochs that a run was started with."""
    settings = read_provenance(run).get("settings")
    epochs = settings.get("epochs") if isinstance(settings, dict) else None
    return epochs if isinstance(epochs, int) else 1
