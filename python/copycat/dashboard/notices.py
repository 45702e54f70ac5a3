"""What the page says of runs: that one ended, why, and what to do next; and which painted frames one took in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from copycat.dashboard.status import done
from copycat.runs import RunInfo

Kind = Literal["positive", "info", "negative"]

_LIVE = ("starting", "training")
_KINDS: Mapping[str, Kind] = {"finished": "positive", "stopped": "info", "failed": "negative", "killed": "negative"}
# (words of a reason, what to do), the first that fits counts.
_REMEDIES = (
    (("memory",), "Choose a smaller Crop Size or Model Size, or set Bank to disk; then start a new training."),
    (("no space", "disk is full", "quota"), "Free some disk space, then press Resume Training."),
    (
        ("cannot be read", "is missing", "no frame", "not exist", "no file"),
        "Mend the files, then press Resume Training.",
    ),
    (
        ("not been finite",),
        "Look for extreme values in the frames (copycat check), then start a new training.",
    ),
    (("callback",), "Mend the callback, then press Resume Training."),
)
_NEXT = {
    "finished": "Look at the shot; paint a frame where the result fails and resume, or render.",
    "stopped": "Resume Training goes on; Finish Training ends it with a better model.",
    "failed": "Press Resume Training once the cause is gone; Check (copycat check) names faults of the data set.",
    "killed": "Press Resume Training: it goes on from the last saved state.",
}


@dataclass(frozen=True)
class Notice:
    """A run has ended, or its frames have changed.

    Attributes:
        title: which, and how.
        text: why, and what to do next; or what has changed.
        kind: how the page colours it.
        ended: whether it has ended, which is worth a desktop notification.
    """

    title: str
    text: str
    kind: Kind
    ended: bool = True


class Notices:
    """Notices of one browser: runs that lived when it last looked, and live no more or train on other frames."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._changes: dict[str, str] = {}

    def look(self, rows: Iterable[RunInfo]) -> Sequence[Notice]:
        """The notices since the last look; none for runs that had ended before."""
        rows = list(rows)
        ended = [row for row in rows if row.state not in _LIVE and self._states.get(row.run.name) in _LIVE]
        changes = {row.run.name: str(row.header.get("change", "")) for row in rows}
        changed = [
            Notice(row.run.name, changes[row.run.name], "info", ended=False)
            for row in rows
            if row.state in _LIVE and changes[row.run.name] != self._changes.get(row.run.name, changes[row.run.name])
        ]
        self._states, self._changes = {row.run.name: row.state for row in rows}, changes
        return [*changed, *map(notice, ended)]


def notice(row: RunInfo) -> Notice:
    """What to say of a run that has ended."""
    facts = f"{row.steps} steps" + (f", {row.best_psnr:.2f} dB" if row.best_psnr is not None else "")
    why = f"{row.reason}. " if row.reason and row.state in ("failed", "killed") else f"{facts}. "
    return Notice(f"{row.run.name} {row.state}", why + next_step(row.state, row.reason), _KINDS.get(row.state, "info"))


def next_step(state: str, reason: str = "") -> str:
    """What to do after a run has ended so."""
    if state == "failed":
        for words, remedy in _REMEDIES:
            if any(word in reason.lower() for word in words):
                return remedy
    return _NEXT.get(state, "")


def title(row: RunInfo | None, directory: str) -> str:
    """The title of the browser's tab."""
    if row is None:
        return f"{directory} - copycat"
    if row.state == "training":
        return f"{done(row):.0%} {row.run.name} - copycat"
    mark = {"finished": "\N{CHECK MARK} ", "failed": "\N{BALLOT X} ", "killed": "\N{BALLOT X} "}.get(row.state, "")
    return f"{mark}{row.run.name} {row.state} - copycat"
