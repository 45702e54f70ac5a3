"""The panel that renders the shot: range, output, progress, cancel, play."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from copycat.dashboard.renders import Renders, Wish, default_output
from copycat.dashboard.shot_panel import ShotPanel
from copycat.errors import CopycatError
from copycat.shot_view.shot import Shot

_NEWEST = "Newest"


class RenderPanel:
    """The controls of one browser."""

    def __init__(self, renders: Renders, view: ShotPanel) -> None:
        self._renders, self._view = renders, view
        self._shot: Shot | None = None
        self._suggested = ""
        with ui.element("div").classes("tools"):
            ui.label("Render").classes("panel-title")
            ui.element("div").classes("spacer")
            self._state = ui.label().classes("tool-label render-state")
        with ui.element("div").classes("form"):
            self._output = ui.input("Output", placeholder="/shot/result.####.exr").props("dense outlined")
            self._output.classes("wide")
            self._frames = ui.input("Frames", value="all", placeholder="1001-1100x5,1200").props("dense outlined")
            self._model = ui.select([_NEWEST], value=_NEWEST, label="Model").props("dense outlined")
        with ui.element("div").classes("tools"):
            self._every = ui.switch("All Frames").props("dense size=xs").classes("tool-switch")
            self._every.tooltip("Also frames whose result is newer than the model and the plate's frame")
            self._fast = ui.switch("Optimize for Speed").props("dense size=xs").classes("tool-switch")
            self._fast.tooltip("Computes in half precision")
            self._steady = ui.switch("Steady").props("dense size=xs").classes("tool-switch")
            self._steady.tooltip(
                "Averages the matte over two frames to each side, where the plate stands still. Frames that are there "
                "already stay as they are, unless All Frames is on."
            )
        self._bar = ui.linear_progress(0, show_value=False, size="4px").props("instant-feedback")
        self._reason = ui.label().classes("reason render-reason")
        with ui.element("div").classes("actions"):
            self._start_button = ui.button("Render", icon="movie", on_click=self._start)
            self._start_button.props("unelevated dense no-caps size=sm").mark("render")
            self._cancel_button = ui.button("Cancel", on_click=self._cancel).props("outline dense no-caps size=sm")
            self._play_button = ui.button("Play Result", on_click=self._view.play_result)
            self._play_button.props("outline dense no-caps size=sm")

    def show(self) -> None:
        """Shows the state of the shot that Shot view shows."""
        shot = self._view.shot
        if shot is not None and (self._shot is None or shot.run != self._shot.run or shot.index != self._shot.index):
            self._suggested = default_output(shot)
            self._output.value = self._suggested
            self._reason.text = ""
        self._shot = shot
        steps = [_NEWEST, *([str(step) for step, _ in reversed(shot.run.checkpoints())] if shot else [])]
        if self._model.options != steps:
            self._model.set_options(steps, value=self._model.value if self._model.value in steps else _NEWEST)
        render = self._renders.last(shot.run) if shot else None
        runs = render is not None and render.status is None
        done, count = render.look() if render else (0, 0)
        self._bar.value = done / count if count else 0.0
        self._state.text = render.state() if render and (runs or not render.status or render.cancelled) else ""
        failed = render is not None and bool(render.status) and not render.cancelled
        if failed and render is not None:
            self._reason.text = render.state()
        self._reason.set_visibility(bool(self._reason.text))
        self._steady.set_visibility(shot is not None and shot.mattes)
        self._start_button.set_enabled(shot is not None and not runs)
        self._cancel_button.set_enabled(runs)
        self._play_button.set_enabled(bool(done))

    async def _start(self) -> None:
        if self._shot is None:
            return
        self._reason.text = ""
        wish = Wish(
            shot=self._shot,
            frames=str(self._frames.value or ""),
            output=str(self._output.value or ""),
            step=None if self._model.value == _NEWEST else int(str(self._model.value)),
            every=bool(self._every.value),
            fast=bool(self._fast.value),
            steady=bool(self._steady.value) and self._shot.mattes,
        )
        self._start_button.disable()
        await self._try(wish)
        self.show()

    async def _try(self, wish: Wish) -> None:
        try:
            await asyncio.to_thread(self._renders.start, wish)
        except CopycatError as error:
            self._reason.text = str(error)

    def _cancel(self, _event: Any = None) -> None:
        render = self._renders.last(self._shot.run) if self._shot else None
        if render:
            render.cancel()
        self.show()
