"""The data set of a training that goes on: takes in what `frame_watch` finds, and says what that changes.

A change begins with a step of its own: Total Steps, the Time Limit and the encodings stay, the weights go on, and the
crops of new frames come more often for a while. The resume state holds the frames and their fingerprints and is written
before the next step, so that whatever kills the trainer, the resume makes the same steps on the same frames. If files
have changed while nobody trained, the resume begins with that change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from copycat.runs import read_provenance, write_provenance
from copycat.sequence.movie import split
from copycat.sequence.pairs import DatasetError, FramePair, Pair
from copycat.training.control import Control
from copycat.training.frame_records import from_records, to_records
from copycat.training.frame_watch import FrameWatch
from copycat.training.journal import Journal
from copycat.training.member import Member
from copycat.training.prepare import Prepared
from copycat.training.task import Task

RECENT_STEPS = 300


@dataclass(frozen=True)
class Difference:
    """What has changed in a data set, as names of Ground Truth files.

    Attributes:
        added, changed, removed: the pairs.
        pairs: how many there are now.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    pairs: int

    def to_json(self) -> dict[str, Any]:
        """The line's value in the ``.summary``."""
        return {
            "added": list(self.added),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "pairs": self.pairs,
        }

    @property
    def sentence(self) -> str:
        """One sentence for the user."""
        words = {"is new": self.added, "has changed": self.changed, "is gone": self.removed}
        parts = [f"{names[0]}{_more(names)} {what}" for what, names in words.items() if names]
        return f"{', '.join(parts)}: training on {self.pairs} {'pair' if self.pairs == 1 else 'pairs'}"


class LivingData:
    """For the training's thread alone."""

    def __init__(self, task: Task, control: Control, journal: Journal, watch: FrameWatch) -> None:
        """``watch`` has noted the task's frames; nothing is read yet."""
        self._task = task
        self._control = control
        self._journal = journal
        self._watch = watch
        self._run = control.run
        self._member: Member | None = None

    def begin(self, prepared: Prepared, step: int) -> Difference | None:
        """Starts to watch; returns what has changed since the run was trained last, None for nothing."""
        self._member, position = prepared.member, prepared.position
        self._watch.start(self._member.data, [pair.ground_truth for pair in prepared.validation])
        self._follow_rename()
        recent = position.recent if step < position.recent_until else ()
        if prepared.changed:
            self._member.emphasise(sorted({*recent, *prepared.changed}), step + RECENT_STEPS)
        elif recent:
            self._member.emphasise(recent, position.recent_until)
        if not prepared.changed and not self._task.removed:
            return None
        pairs = self._member.data.pairs
        return _difference((), [pairs[i] for i in prepared.changed], self._task.removed, len(pairs))

    def look(self, step: int) -> Difference | None:
        """Takes the change that is ready, in all processes; returns it, None where there is none or it is refused."""
        assert self._member
        self._follow_rename()
        change, sentences = self._watch.take()
        for sentence in sentences:
            self._journal.warn(sentence)
        if change is None:
            return None
        member, index = self._member, {old: new for new, old in change.kept.items()}
        still = [index[old] for old in member.recent if old in index and step < member.recent_until]
        records, kept = to_records(change.data.pairs), [list(both) for both in sorted(change.kept.items())]
        try:
            member.replace_data(records, kept, sorted({*change.fresh, *still}), step + RECENT_STEPS, change.data)
        except DatasetError as error:
            self._watch.settle(change, taken=False)
            self._journal.warn(f"{error}; the training goes on with the frames that it has")
            return None
        self._watch.settle(change, taken=True)
        for sentence in (*change.sentences, *change.data.warnings):
            self._journal.warn(sentence)
        return _difference(change.added, change.changed, change.removed, len(change.data))

    def store(self) -> None:
        """Writes the frames to the ``<run>.json``."""
        assert self._member
        run = self._control.run
        write_provenance(run, {**read_provenance(run), "frames": to_records(self._member.data.pairs)})

    def _follow_rename(self) -> None:
        """Follows the files of a run that was renamed, among which may be frames that a host handed over."""
        run, member = self._control.run, self._member
        if run == self._run or not member:
            return
        self._run = run
        provenance = read_provenance(run)
        frames = from_records(provenance.get("frames", ()))
        if len(frames) == len(member.data):
            shots = [Pair(p["input"], p["groundTruth"], p["mask"]) for p in provenance.get("pairs", ())]
            member.data = self._watch.relocate(shots if self._task.settings.watch_training_frames else (), frames)


def _difference(
    added: Sequence[FramePair], changed: Sequence[FramePair], removed: Sequence[FramePair], pairs: int
) -> Difference:
    new, other, gone = (tuple(_name(pair) for pair in some) for some in (added, changed, removed))
    return Difference(new, other, gone, pairs)


def _name(pair: FramePair) -> str:
    movie = split(pair.ground_truth)
    return f"{movie[0].name}/{movie[1]}" if movie else pair.ground_truth.name


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
