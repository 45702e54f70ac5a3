"""The page's dialogs: a training's knobs, a question before deleting, and the text of an Inference node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui

from copycat.errors import CopycatError
from copycat.runs import Run, RunInfo
from copycat.settings.knob import Knob
from copycat.settings.presets import NONE, PRESETS, preset_values
from copycat.settings.tables import Settings

_NOT_AMONG_THE_TABS = ("dataDirectory", "preset")


Start = Callable[[Sequence[tuple[str, str]], Settings], Awaitable[None]]


class TrainingDialog:
    """Asks for pairs and knobs and starts a training. The entries stay for the next time.

    The controls are built when the dialog first opens; most pages never open it.
    """

    def __init__(self, start: Start) -> None:
        """``start`` starts a training; a CopycatError that it raises is shown."""
        self._starts = start
        self._values: dict[str, Any] = {}
        self._controls: dict[str, Any] = {}
        self._pairs: list[list[str]] = [["", ""]]
        self._dialog = ui.dialog()
        self._problem: ui.label | None = None

    def open(self) -> None:
        """Shows the dialog."""
        if self._problem is None:
            with self._dialog:
                self._problem = self._build()
        self._problem.text = ""
        self._dialog.open()

    def _build(self) -> ui.label:
        """Builds the controls; returns the label that shows problems."""
        knobs = [knob for knob in Settings.knobs() if "page" in knob.shown_on and knob.name not in _NOT_AMONG_THE_TABS]
        pages = list(dict.fromkeys(knob.page for knob in knobs))
        with ui.card().classes("training"):
            ui.label("Start Training").classes("title")
            self._pair_rows()
            self._presets()
            with ui.tabs().props("dense no-caps align=left inline-label") as tabs:
                for page in pages:
                    ui.tab(page)
            with ui.tab_panels(tabs, value=pages[0]).classes("knobs"):
                for page in pages:
                    with ui.tab_panel(page), ui.element("div").classes("knob-grid"):
                        for knob in knobs:
                            if knob.page == page:
                                self._knob(knob)
            problem = ui.label().classes("reason")
            with ui.element("div").classes("dialog-buttons"):
                ui.button("Cancel", on_click=self._dialog.close).props("flat no-caps")
                self._button = ui.button("Start Training", on_click=self._start).props("unelevated no-caps")
        return problem

    @ui.refreshable_method
    def _pair_rows(self) -> None:
        for pair in self._pairs:
            with ui.element("div").classes("pair"):
                for side, label in enumerate(("Input", "Ground Truth")):
                    field = ui.input(label, value=pair[side], placeholder="/shots/ab/plate.####.exr")
                    field.props("dense outlined").on_value_change(_put(pair, side))
        ui.button("Add pair", icon="add", on_click=self._add_pair).props("flat dense no-caps size=sm")

    def _add_pair(self) -> None:
        self._pairs.append(["", ""])
        self._pair_rows.refresh()

    def _presets(self) -> None:
        """The choice of a preset; it shows in the knobs that it sets."""
        knob = next(knob for knob in Settings.knobs() if knob.name == "preset")
        with ui.element("div").classes("presets"):
            ui.label(knob.label).classes("tool-label")
            choice = ui.toggle([NONE, *PRESETS], value=NONE).props("dense no-caps unelevated size=sm")
            choice.on_value_change(lambda event: self._take_preset(str(event.value))).tooltip(knob.hint)

    def _take_preset(self, name: str) -> None:
        defaults = {knob.field: knob.default for knob in Settings.knobs()}
        chosen = preset_values(name)
        self._values["preset"] = name
        for field in {field for values in PRESETS.values() for field in values}:
            self._controls[field].value = chosen.get(field, defaults[field])

    def _knob(self, knob: Knob) -> None:
        """The control of a knob, with the table's label, range and hint."""
        control: Any
        if knob.kind == "bool":
            control = ui.switch(knob.label, value=knob.default).props("dense")
        elif knob.kind == "choice":
            control = ui.select(list(knob.choices), label=knob.label, value=knob.default).props("dense outlined")
        elif knob.kind in ("int", "float"):
            control = ui.number(knob.label, value=knob.default, min=knob.minimum, max=knob.maximum)
            control.props(f"dense outlined step={1 if knob.kind == 'int' else 'any'}")
        else:
            control = ui.input(knob.label, value=str(knob.default)).props("dense outlined")
        assert knob.field is not None
        self._controls[knob.field] = control
        control.classes("knob").on_value_change(_put(self._values, knob.name))
        with control:
            ui.tooltip(knob.hint).props("delay=500 max-width=320px")

    async def _start(self) -> None:
        assert self._problem is not None
        values = {name: value for name, value in self._values.items() if value is not None}
        self._button.disable()
        try:
            await self._starts([(first, second) for first, second in self._pairs], Settings.from_dict(values))
        except (CopycatError, OSError) as error:
            self._problem.text = str(error)
        else:
            self._dialog.close()
        finally:
            self._button.enable()


def _put(values: Any, key: Any) -> Callable[[Any], None]:
    def put(event: Any) -> None:
        values[key] = event.value

    return put


async def confirm(question: str, button: str) -> bool:
    """Asks; True when the button was pressed."""
    with ui.dialog() as dialog, ui.card().classes("question"):
        ui.label(question)
        with ui.element("div").classes("dialog-buttons"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False)).props("flat no-caps")
            ui.button(button, on_click=lambda: dialog.submit(True)).props("unelevated no-caps color=negative")
    answer = bool(await dialog)
    dialog.delete()
    return answer


async def ask_for_plan(row: RunInfo, epochs: int) -> dict[str, float]:
    """Asks how long a run is to train; the answer is ``{"minutes": ...}``, ``{"epochs": ...}`` or nothing."""
    limit = row.header.get("seconds")
    minutes = round(limit / 60, 1) if isinstance(limit, (int, float)) and row.total_steps is None else None
    with ui.dialog(value=True) as dialog, ui.card().classes("question"):
        ui.label(f"Plan of {row.run.name}").classes("title")
        ui.label(f"It has trained {row.steps} steps in {row.seconds / 60:.1f} minutes.").classes("muted")
        unit = ui.toggle(["Minutes", "Epochs"], value="Epochs" if minutes is None else "Minutes")
        unit.props("dense no-caps unelevated size=sm")
        number = ui.number("From the run's start", value=epochs if minutes is None else minutes, min=0)
        number.props("dense outlined autofocus").classes("wide")
        unit.on_value_change(lambda: number.set_value(None))

        def submit() -> None:
            value = number.value
            if value:
                dialog.submit({"minutes": float(value)} if unit.value == "Minutes" else {"epochs": round(value)})

        number.on("keydown.enter", submit)
        with ui.element("div").classes("dialog-buttons"):
            ui.button("Cancel", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button("Change Plan", on_click=submit).props("unelevated no-caps")
    answer = await dialog
    dialog.delete()
    return answer or {}


async def ask_for_preview(now: str) -> str:
    """Asks which frame previews show from now on; empty where nothing was chosen."""
    with ui.dialog(value=True) as dialog, ui.card().classes("question"):
        ui.label("Preview Frame").classes("title")
        path = ui.input("File", value=now, placeholder="/shots/ab/plate.1050.exr").props("dense outlined autofocus")
        path.classes("wide").on("keydown.enter", lambda: dialog.submit(path.value))
        with ui.element("div").classes("dialog-buttons"):
            ui.button("Cancel", on_click=lambda: dialog.submit("")).props("flat no-caps")
            ui.button("Preview", on_click=lambda: dialog.submit(path.value)).props("unelevated no-caps")
    answer = await dialog
    dialog.delete()
    return str(answer or "").strip()


def show_inference(run: Run) -> None:
    """Shows the command and the node text that apply a run's newest checkpoint, each with a Copy button.

    Raises:
        CopycatError: the run has no checkpoint yet.
    """
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise CopycatError(f"run {run.name} has not saved a model yet: wait for its first checkpoint, or stop it")
    with ui.dialog(value=True) as dialog, ui.card().classes("inference"):
        ui.label(f"Create Inference: {checkpoints[-1][1].name}").classes("title")
        for title, text in inference_texts(checkpoints[-1][1]).items():
            with ui.element("div").classes("copy-head"):
                ui.label(title).classes("reading-title")
                button = ui.button("Copy", icon="content_copy").props("flat dense no-caps size=sm")
                button.on("click", js_handler=f"() => copycat.copy({json.dumps(text)})")
            ui.label(text).classes("copy-text")
        with ui.element("div").classes("dialog-buttons"):
            ui.button("Close", on_click=dialog.close).props("flat no-caps")
    dialog.on("hide", dialog.delete)


def inference_texts(model: Path) -> dict[str, str]:
    """The same model in a shell, in Nuke and in Natron."""
    tcl = "".join(f"\\{character}" if character in '\\"[]{}$' else character for character in str(model))
    return {
        "Command line": f"copycat infer {shlex.quote(str(model))} INPUT.####.exr OUTPUT.####.exr",
        "Nuke: paste into the node graph": (
            f'OFXorg.copycat.Inference_v1 {{\n inputs 1\n modelFile "{tcl}"\n name Inference1\n}}'
        ),
        "Natron: run in the Script Editor": (
            'node = app.createNode("org.copycat.Inference")\n'
            f'node.getParam("modelFile").setValue({json.dumps(str(model))})'
        ),
    }
