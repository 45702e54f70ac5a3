"""The page of one browser: puts the parts together and carries out the user's actions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from copycat import runs
from copycat.dashboard.dialogs import TrainingDialog, confirm
from copycat.dashboard.faults import Faults
from copycat.dashboard.graph import Graph
from copycat.dashboard.new_training import start_training
from copycat.dashboard.notices import Notices, title
from copycat.dashboard.render_panel import RenderPanel
from copycat.dashboard.renders import Renders
from copycat.dashboard.shot_panel import ShotPanel
from copycat.dashboard.table import RunTable
from copycat.dashboard.training_panel import TrainingPanel
from copycat.dashboard.viewer import Viewer
from copycat.errors import CopycatError
from copycat.plots.live import Watch
from copycat.runs import Display, Run
from copycat.runs.launch import Trainings
from copycat.settings.knob import SettingsError
from copycat.settings.tables import COPYCAT_KNOBS, ProgressSettings, Settings

REFRESH_SECONDS = 0.5
SHOT_SECONDS = 1.0
RUNS, SHOT = "Runs", "Shot"
_KNOBS = {knob.name: knob for knob in COPYCAT_KNOBS}
_HEAD = '<link rel="stylesheet" href="/copycat/progress.css"><script src="/copycat/progress.js"></script>'


class Page:
    """One open page."""

    _graph: Graph
    _table: RunTable

    def __init__(
        self,
        watch: Watch,
        trainings: Trainings,
        renders: Renders,
        faults: Faults,
        *,
        local: bool,
        options: Mapping[str, str],
    ) -> None:
        """Builds the page.

        Args:
            watch: the runs, live.
            trainings: starts trainings.
            renders: starts renders.
            faults: unexpected exceptions to show.
            local: whether only this machine's user can open the page; else nothing is opened on its desktop.
            options: of the address; those named after a knob are its initial value, ``view=shot`` opens Shot view.
        """
        self._display = _display(options)
        if "liveUpdates" in options:
            watch.live_updates = self._display.live_updates
        self._watch = watch
        self._trainings = trainings
        self._faults = faults
        self._local = local
        self._version = -1
        self._notices, self._tab = Notices(), ""
        self._notified = {id(sentences): len(sentences) for sentences in (trainings.failures, faults.sentences)}
        self._new_run = TrainingDialog(self._start)
        ui.add_head_html(_HEAD)
        ui.colors(primary="#4d86c6", negative="#c4534a", positive="#3f9b6c", info="#3a6ea5")
        self._header()
        with ui.element("main").classes("layout") as self._layout:
            with ui.element("div").classes("left"):
                self._graph_panel()
                self._table_panel()
            with ui.element("section").classes("panel shot-panel"):
                self._shot = ShotPanel()
            with ui.element("div").classes("right"):
                self._training = TrainingPanel(watch, trainings, self._try)
                with ui.element("section").classes("panel render-panel"):
                    self._render = RenderPanel(renders, self._shot)
                with ui.element("section").classes("panel pictures"):
                    self._viewer = Viewer()
        self._set_view(SHOT if options.get("view") == "shot" else RUNS)
        ui.timer(0, self._reread, once=True)
        ui.timer(REFRESH_SECONDS, self._refresh)
        ui.timer(SHOT_SECONDS, self._look_at_shot)

    # -- parts

    def _header(self) -> None:
        with ui.element("header").classes("top"):
            ui.label("copycat").classes("brand")
            self._view = ui.toggle([RUNS, SHOT], value=RUNS, on_change=lambda event: self._choose_view(event.value))
            self._view.props("dense no-caps unelevated size=sm").classes("views")
            ui.label(str(self._watch.directory)).classes("directory").tooltip(str(self._watch.directory))
            self._problem = ui.label().classes("reason")
            ui.element("div").classes("spacer")
            self._switch("liveUpdates", self._watch.live_updates, self._set_live)
            ui.button("Start Training", icon="play_arrow", on_click=self._new_run.open).props(
                "unelevated dense no-caps size=sm"
            ).mark("start")
            bell = ui.button(icon="notifications_none").props('flat dense size=sm aria-label="Desktop notifications"')
            bell.tooltip("Notify me on the desktop when a run ends").classes("bell")
            bell.on("click", js_handler="() => copycat.allowNotices()")
            theme = ui.button(icon="contrast").props('flat dense size=sm aria-label="Light or dark"')
            theme.on("click", js_handler="() => copycat.toggleTheme()")

    def _graph_panel(self) -> None:
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("tools"):
                knob, show = _KNOBS["smoothness"], self._display
                self._switch("logScale", show.log_scale, lambda on: self._set_graph("log_scale", on))
                ui.label(knob.label).classes("tool-label")
                ui.slider(
                    min=knob.minimum or 0, max=knob.maximum or 1, step=0.01, value=self._display.smoothness
                ).props(f'label dense aria-label="{knob.label}"').classes("smoothness").on_value_change(
                    lambda event: self._set_graph("smoothness", event.value)
                ).tooltip(knob.hint)
                self._switch("showOriginal", show.show_original, lambda on: self._set_graph("show_original", on))
                self._switch("showValidation", show.show_validation, lambda on: self._set_graph("show_validation", on))
                ui.element("div").classes("spacer")
                with ui.element("div").classes("zoom"):
                    for label, hint, act in (
                        ("X+", "Zoom in on the steps", lambda: self._graph.zoom_x(True)),
                        ("X\N{MINUS SIGN}", "Zoom out of the steps", lambda: self._graph.zoom_x(False)),
                        ("Y+", "Zoom in on the loss", lambda: self._graph.zoom_y(True)),
                        ("Y\N{MINUS SIGN}", "Zoom out of the loss", lambda: self._graph.zoom_y(False)),
                        ("Fit", "Show all (double-click)", lambda: self._graph.fit()),
                        ("Refresh", "Read the Data Directory again", self._reread),
                    ):
                        ui.button(label, on_click=act).props("flat dense no-caps size=sm").classes("tool").tooltip(hint)
            self._graph = Graph(self._watch, self._display)

    def _table_panel(self) -> None:
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("tools"):
                ui.label(_KNOBS["runTable"].label).classes("panel-title")
                self._count = ui.label().classes("tool-label")
                ui.element("div").classes("spacer")
                ui.input(placeholder="Filter").props("dense borderless clearable").classes("filter").on_value_change(
                    lambda event: self._table.filter(event.value or "")
                )
            self._table = RunTable(self._act)

    def _switch(self, name: str, value: bool, act: Callable[[bool], Any]) -> None:
        knob = _KNOBS[name]
        ui.switch(knob.label, value=value, on_change=lambda event: act(event.value)).props("dense size=xs").classes(
            "tool-switch"
        ).tooltip(knob.hint)

    # -- updates

    async def _refresh(self) -> None:
        for sentences in (self._trainings.failures, self._faults.sentences):
            for sentence in sentences[self._notified[id(sentences)] :]:
                self._notified[id(sentences)] += 1
                ui.notify(sentence, type="negative", timeout=0, close_button="Close", multi_line=True)
        if self._version != self._watch.version:
            self._version = self._watch.version
            await self._show()

    async def _show(self, again: bool = False) -> None:
        rows = self._watch.rows()
        active = self._active()
        self._problem.text = self._watch.problem
        self._count.text = f"{len(rows)}" if rows else ""
        self._table.show(rows, again)
        await self._training.show(active)
        self._say_what_happened(rows, active)
        pictures = await asyncio.to_thread(self._watch.pictures, active.run.name if active else "")
        self._viewer.show(active.run.name if active else "", active.colour if active else "", pictures)
        await self._shot.show(active, rows)
        self._render.show()
        await self._graph.draw()

    def _say_what_happened(self, rows: Sequence[runs.RunInfo], active: runs.RunInfo | None) -> None:
        tab = json.dumps(title(active, self._watch.directory.name))
        if tab != self._tab:
            self._tab = tab
            ui.run_javascript(f"document.title = {tab}")
        for notice in self._notices.look(rows):
            ui.notify(
                f"{notice.title}: {notice.text}",
                type=notice.kind,
                timeout=0 if notice.kind == "negative" else 20000,
                close_button="Close",
                multi_line=True,
            )
            if notice.ended:
                ui.run_javascript(f"copycat.notice({json.dumps(notice.title)}, {json.dumps(notice.text)})")

    async def _look_at_shot(self) -> None:
        if self._shot.open:
            await self._shot.look()
            self._render.show()

    def _set_view(self, view: str) -> None:
        self._shot.open = view == SHOT
        self._view.value = view
        self._layout.classes(replace="layout shot-mode" if self._shot.open else "layout")

    async def _choose_view(self, view: str) -> None:
        self._set_view(view)
        await self._shot.look()
        self._render.show()

    def _active(self) -> runs.RunInfo | None:
        return next((row for row in self._watch.rows() if row.active), None)

    async def _reread(self) -> None:
        await asyncio.to_thread(self._watch.scan, True)
        await self._show()

    # -- actions of the user

    async def _set_graph(self, attribute: str, value: Any) -> None:
        setattr(self._graph, attribute, value)
        await self._graph.draw()

    async def _set_live(self, on: bool) -> None:
        self._watch.live_updates = on
        if on:
            await self._reread()

    async def _act(self, action: str, name: str, value: Any) -> None:
        """Carries out an action of the table on a run that it shows."""
        row = self._watch.row(name)
        if row is None:
            return
        await self._try(lambda: self._carry_out(action, row.run, value))

    async def _carry_out(self, action: str, run: Run, value: Any) -> None:
        if action == "show":
            await asyncio.to_thread(_choose, run, shown=bool(value))
        elif action == "colour":
            await asyncio.to_thread(_choose, run, colour=str(value)[:7])
        elif action == "activate":
            await asyncio.to_thread(_activate, run)
        elif action == "rename":
            await asyncio.to_thread(runs.rename, run, str(value).strip())
        elif action == "reveal":
            await asyncio.to_thread(_reveal, run, self._local)
        elif action == "delete":
            count = len(await asyncio.to_thread(run.files))
            if await confirm(f"Delete the run {run.name} and its {count} files? This cannot be undone.", "Delete"):
                await asyncio.to_thread(runs.delete, run)

    async def _try(self, act: Callable[[], Any]) -> bool:
        """Carries out an action and shows its error; returns whether it succeeded."""
        problem = ""
        try:
            await act()
        except (CopycatError, OSError) as error:
            problem = str(error)
            ui.notify(problem, type="negative", close_button="Close", multi_line=True)
        await asyncio.to_thread(self._watch.scan)
        await self._show(again=True)
        return not problem

    async def _start(self, pairs: Sequence[tuple[str, str]], settings: Settings) -> None:
        run = await asyncio.to_thread(start_training, self._trainings, self._watch.directory, pairs, settings)
        ui.notify(f"{run.name} is starting; its steps show here as soon as the data set is read.", close_button="Close")
        await asyncio.to_thread(self._watch.scan)
        await self._show()


def _display(options: Mapping[str, str]) -> ProgressSettings:
    """The knobs as the address sets them; the defaults where a value is not allowed."""
    named = {knob.name: options[knob.name] for knob in ProgressSettings.knobs() if knob.name in options}
    try:
        return ProgressSettings.from_dict(named)
    except SettingsError as error:
        ui.notify(str(error), type="negative", close_button="Close", multi_line=True)
        return ProgressSettings()


def _choose(run: Run, **entry: Any) -> None:
    Display.read(run.directory).set(run.name, **entry)


def _activate(run: Run) -> None:
    with Display.edit(run.directory) as display:
        display.active = run.name


def _reveal(run: Run, local: bool) -> None:
    """Opens the file manager where the run's files are.

    Raises:
        CopycatError: there is no desktop to open it on; the message says where the files are.
    """
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    desktop = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not local or not desktop or shutil.which(opener) is None:
        raise CopycatError(f"there is no desktop here to show them on; the files are {run.directory}/{run.name}*")
    arguments = ["-R", str(run.summary)] if opener == "open" else [str(run.directory)]
    process = subprocess.Popen([opener, *arguments], stdin=subprocess.DEVNULL, start_new_session=True)
    # Some openers live as long as the file manager; unless it is waited for, an ended process stays in the table.
    threading.Thread(target=process.wait, name="copycat-opener", daemon=True).start()
