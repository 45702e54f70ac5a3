"""The read-outs of the active run: step, speed, time left, stage, memory, and why it ended."""

from __future__ import annotations

import itertools

from nicegui import ui

from copycat.plots.live import Watch
from copycat.runs import RunInfo

_READINGS = ("Step", "Loss", "Best PSNR", "Steps/s", "Time left", "Stage", "GPU memory", "Trained for")


class Status:
    """The read-outs of one browser."""

    def __init__(self) -> None:
        with ui.element("div").classes("status-head"):
            self._dot = ui.element("span").classes("dot")
            self._name = ui.label().classes("run-name")
            self._state = ui.label().classes("state")
        self._bar = ui.linear_progress(0, show_value=False, size="4px").props("instant-feedback")
        self._values: dict[str, ui.label] = {}
        with ui.element("div").classes("readings"):
            for title in _READINGS:
                with ui.element("div"):
                    ui.label(title).classes("reading-title")
                    self._values[title] = ui.label("–").classes("reading")
        self._reason = ui.label().classes("reason")
        self._warnings = ui.label().classes("warnings")
        self._notes = ui.label().classes("notes")

    def show(self, row: RunInfo | None, watch: Watch) -> None:
        """Shows a run's state; None where there is no run."""
        self._name.text = row.run.name if row else "No runs yet"
        self._state.text = row.state if row else ""
        self._state.classes(replace=f"state state-{row.state}" if row else "state")
        self._dot.style(f"background: {row.colour if row else 'transparent'}")
        self._reason.text = row.reason if row else ""
        self._reason.set_visibility(bool(row and row.reason and row.state in ("failed", "killed")))
        self._bar.value = done(row) if row else 0.0
        self._warnings.text = " · ".join(remarks(row, "warnings") if row else [])
        self._notes.text = " · ".join(remarks(row, "notes") if row else [])
        for title, text in readings(row, watch).items():
            self._values[title].text = text


def remarks(row: RunInfo, key: str) -> list[str]:
    """The sentences under a key of the header, ``warnings`` or ``notes``."""
    sentences = row.header.get(key)
    return [str(sentence) for sentence in sentences] if isinstance(sentences, list) else []


def readings(row: RunInfo | None, watch: Watch) -> dict[str, str]:
    """The text of each read-out; a dash where there is no value."""
    texts = dict.fromkeys(_READINGS, "–")
    if row is None:
        return texts
    total = "" if row.total_steps is None else f" / {row.total_steps}"
    texts["Step"] = f"{row.steps}{total}"
    texts["Trained for"] = duration(row.seconds)
    if row.loss is not None:
        texts["Loss"] = f"{row.loss:.4g}"
    if row.best_psnr is not None:
        texts["Best PSNR"] = f"{row.best_psnr:.2f} dB"
    curve, history = watch.curve(row.run.name), watch.history(row.run.name)
    if curve is not None and (rate := curve.steps_per_second()):
        texts["Steps/s"] = f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"
        if row.state == "training" and row.total_steps is not None:
            texts["Time left"] = duration(max(row.total_steps - row.steps, 0) / rate)
    if row.state == "training" and (limit := time_limit(row)):
        texts["Time left"] = duration(max(limit - row.seconds, 0))
    latest = history.latest if history is not None else {}
    if isinstance(level := latest.get("level"), (int, float)):
        texts["Stage"] = "Full resolution" if level == 1 else f"1/{level:g} resolution"
    if isinstance(memory := latest.get("memory"), (int, float)):
        texts["GPU memory"] = f"{memory / 2**30:.2f} GiB"
    return texts


def time_limit(row: RunInfo) -> float:
    """The Time Limit in seconds, 0 where a number of steps decides."""
    limit = row.header.get("seconds")
    return float(limit) if isinstance(limit, (int, float)) and limit > 0 and row.total_steps is None else 0.0


def done(row: RunInfo) -> float:
    """The finished share of a training, 0 to 1."""
    if row.total_steps:
        return min(row.steps / row.total_steps, 1.0)
    return min(row.seconds / limit, 1.0) if (limit := time_limit(row)) else 0.0


def duration(seconds: float) -> str:
    """``3 s``, ``12 min 5 s``, ``4 h 20 min`` or ``3 d 4 h``."""
    seconds = int(seconds)
    units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    for (size, unit), (next_size, next_unit) in itertools.pairwise(units):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // next_size} {next_unit}"
    return f"{seconds} s"
