"""The panel of Shot view: tells the browser what the run's shot has, and lays frames out to be painted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from nicegui import events, ui
from nicegui.element import Element

from copycat.errors import CopycatError
from copycat.runs import RunInfo
from copycat.shot_view.shot import Lanes, Shot


class ShotView(Element, component="static/shot.js"):
    """Frames of a shot; its behaviour is in shot.js."""


class ShotPanel:
    """Shot view of one browser.

    Attributes:
        shot: the shot that shows; None where there is none.
        open: whether it shows at all; a closed one reads nothing.
    """

    def __init__(self) -> None:
        self.shot: Shot | None = None
        self.open = False
        self._index = 0
        self._view = ShotView()
        self._view.on("paint", self._paint)
        self._view.on("shot", self._choose)
        self._row: RunInfo | None = None
        self._rows: Sequence[RunInfo] = ()

    async def show(self, row: RunInfo | None, rows: Sequence[RunInfo]) -> None:
        """Shows a run's shot as its files are now."""
        if self._row is None or row is None or row.run != self._row.run:
            self._index = 0
        self._row, self._rows = row, rows
        await self.look()

    async def look(self) -> None:
        """Looks again for painted and rendered frames."""
        if not self.open:
            self._set({"open": False})
            return
        row, index = self._row, self._index
        facts = await asyncio.to_thread(_facts, row, self._rows, index)
        if (row, index) == (self._row, self._index):
            self.shot = facts.pop("_shot")
            self._set({**facts, "open": True})

    def go_to(self, frame: int) -> None:
        """Shows a frame."""
        self._view.run_method("jumpTo", frame)

    def play_result(self) -> None:
        """Plays the frames that were rendered."""
        self._view.run_method("playRendered")

    def _set(self, facts: dict[str, Any]) -> None:
        for key, value in facts.items():
            if self._view.props.get(key) != value:
                self._view.props[key] = value

    async def _choose(self, event: events.GenericEventArguments) -> None:
        if isinstance(event.args, int):
            self._index = event.args
            await self.look()

    async def _paint(self, event: events.GenericEventArguments) -> None:
        frame, shot = event.args, self.shot
        if not isinstance(frame, int) or shot is None:
            return
        try:
            path = await asyncio.to_thread(shot.paint, frame)
        except CopycatError as error:
            ui.notify(str(error), type="warning", close_button="Close", multi_line=True, timeout=15000)
        else:
            ui.notify(
                f"Paint {path} and save it: a training that runs takes it in by itself.",
                close_button="Close",
                multi_line=True,
                timeout=15000,
            )
        await self.look()


def _facts(row: RunInfo | None, rows: Sequence[RunInfo], index: int) -> dict[str, Any]:
    """The properties of the element (reads the disk: belongs in a thread)."""
    lanes, shot, problem = Lanes(), None, ""
    if row is not None:
        try:
            shot = Shot.of(row.run, index)
            lanes = shot.lanes()
        except CopycatError as error:
            problem = str(error)
    return {
        "_shot": shot,
        "run": row.run.name if row else "",
        "colour": row.colour if row else "#888888",
        "trains": bool(row and row.state == "training"),
        "steps": _steps(row) if row else [],
        "others": [
            {"name": other.run.name, "steps": _steps(other)} for other in rows if row is None or other.run != row.run
        ],
        "index": index,
        "shots": shot.count if shot else 1,
        "problem": problem,
        "frames": list(lanes.frames),
        "painted": list(lanes.painted),
        "unpainted": list(lanes.unpainted),
        "rendered": list(lanes.rendered),
        "outdated": list(lanes.outdated),
        "doubtful": None if lanes.doubtful is None else list(lanes.doubtful),
    }


def _steps(row: RunInfo) -> list[int]:
    """The steps of a run's checkpoints, the newest first."""
    return [step for step, _ in reversed(row.run.checkpoints())]
