"""Watches the files of a training's frames, and reads those that appear or change while it goes on.

A thread lists and stats the files once a second, which works on network file systems too (after the mount's own
delay). Where times are not to be trusted, content is compared too (`file_stamps`). A file counts once it is the same in
two looks and can be read; until then it is waited for. The thread reads new pairs into banks of their own, so that the
training's thread only has to take the finished data set.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from copycat.data.dataset import Dataset, load_dataset
from copycat.data.fitting import misfits
from copycat.errors import CopycatError
from copycat.runs.unpainted import unpainted_files
from copycat.sequence import SequenceError
from copycat.sequence.movie import close_movies, file_of, split
from copycat.sequence.pairs import FramePair, Pair, chosen_frames, match_frames
from copycat.settings.tables import Settings
from copycat.training.file_stamps import FileStamps, Stamp

LOOK_SECONDS = 0.8
# A file that keeps its size and time and yet cannot be read may come from a slow copy: it is reported after this.
_PATIENCE_SECONDS = 10.0

_CLOSING_SECONDS = 5.0
_LOOKS_FOR_GONE = 3  # some programs delete a file before they write it again

_Key = tuple[str, str, str]
_Stamp = tuple[Stamp, ...]  # of each file of a pair


@dataclass(frozen=True, kw_only=True)
class Change:
    """A data set that is ready to take the place of a training's.

    Attributes:
        data: the data set, with the encodings of the one before.
        kept: the pairs that are as before: their index, and their index before.
        added, changed, removed: the pairs that the two differ in.
        sentences: what the user should know of the new frames.
    """

    data: Dataset
    kept: Mapping[int, int]
    added: tuple[FramePair, ...]
    changed: tuple[FramePair, ...]
    removed: tuple[FramePair, ...]
    sentences: tuple[str, ...] = ()

    @property
    def fresh(self) -> tuple[int, ...]:
        """The indices of the pairs that are not as before."""
        return tuple(index for index in range(len(self.data)) if index not in self.kept)


@dataclass
class _Sight:
    """A file set that differs from the data set's: what it was like at the last look, and since when."""

    stamp: _Stamp | None
    looks: int = 1
    unreadable_since: float | None = None
    reported: bool = False


class FrameWatch:
    """Watches the shots of one training, in a thread of its own; all methods are for the training's thread."""

    def __init__(self, shots: Sequence[Pair], settings: Settings, directory: Path | None = None) -> None:
        """Does nothing yet.

        Args:
            shots: the patterns to watch.
            settings: Training Frames, and how frames are read.
            directory: the Data Directory, which names unpainted frames, and where a bank on disk is kept.
        """
        self._shots = tuple(shots)
        self._settings = settings
        self._held_out: set[str] = set()
        self._directory = directory
        self._files = FileStamps()
        self._stamps: dict[_Key, _Stamp | None] = {}
        self._data: Dataset | None = None
        self._sights: dict[_Key, _Sight] = {}
        self._lost = _Sight(None)
        self._lock = threading.Lock()  # of what follows
        self._ready: tuple[Change, dict[_Key, _Stamp | None]] | None = None
        self._sentences: list[str] = []
        self._settled = threading.Event()
        self._end = threading.Event()
        self._generation = 0
        self._thread: threading.Thread | None = None

    def note(self, pairs: Sequence[FramePair]) -> None:
        """Notes what the files of the pairs are like, before they are read for the first time."""
        self._stamps = {_key(pair): self._stamp(pair) for pair in pairs}

    def start(self, data: Dataset, held_out: Collection[Path] = ()) -> None:
        """Starts to watch.

        Args:
            data: the data set that the files are compared with, whose pairs were noted.
            held_out: Ground Truth files that are never added.
        """
        self._data, self._held_out = data, {os.path.abspath(path) for path in held_out}
        if self._shots and data.banks:
            self._thread = threading.Thread(target=self._run, name="copycat-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread after what it is reading now."""
        self._end.set()
        self._settled.set()
        if self._thread:
            self._thread.join(_CLOSING_SECONDS)

    def take(self) -> tuple[Change | None, list[str]]:
        """The change that is ready, None without one, and sentences for the user; answer a change with `settle`."""
        with self._lock:
            sentences, self._sentences = self._sentences, []
            return (self._ready[0] if self._ready else None), sentences

    def settle(self, change: Change, taken: bool) -> None:
        """Says whether the training took a change; one that it did not take is not offered again."""
        with self._lock:
            if self._ready and self._ready[0] is change:
                if taken:
                    self._data, self._stamps = change.data, self._ready[1]
                else:
                    for sight in self._sights.values():
                        sight.reported = True
                self._ready = None
            self._settled.set()

    def relocate(self, shots: Sequence[Pair], pairs: Sequence[FramePair]) -> Dataset:
        """Follows files that were renamed: the same pairs under other paths; returns the data set with these."""
        with self._lock:
            assert self._data
            before = self._data.pairs
            stamps = {_key(new): self._stamps.get(_key(old)) for old, new in zip(before, pairs, strict=True)}
            self._shots, self._stamps, self._sights = tuple(shots), stamps, {}
            self._data = replace(self._data, pairs=tuple(pairs))
            self._ready = None  # it names files that are no more
            self._generation += 1
            self._settled.set()
            return self._data

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            with self._lock:
                shots, data, generation, waiting = self._shots, self._data, self._generation, self._ready is not None
            if waiting:
                self._settled.wait()
                continue
            assert data
            try:
                self._look(shots, data, generation)
            except OSError:  # the folder is not to be had at this moment
                continue
            except Exception as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                self._say(f"the training frames are no longer watched: {reason}")
                return

    def _look(self, shots: Sequence[Pair], data: Dataset, generation: int) -> None:
        """Compares the files with the data set; reads what has settled, and leaves a change for the training."""
        there, lost = self._list(shots)
        self._say_if_lost(lost)
        own = {_key(pair): pair for pair in data.pairs}
        urgent = [pair for key, pair in there.items() if key in self._sights]
        self._files.compare(_files_of((*there.values(), *data.pairs)), _files_of(urgent))
        differing: dict[_Key, FramePair | None] = {
            key: pair
            for key, pair in there.items()
            if (self._stamp(pair) != self._stamps.get(key) if key in own else self._may_train(pair))
        }
        differing |= {key: None for key, pair in own.items() if key not in there and not lost}
        settled = {key: pair for key, pair in differing.items() if self._has_settled(key, pair)}
        for key in [key for key in self._sights if key not in differing]:
            del self._sights[key]
        while settled and not self._end.is_set():
            failures = self._read(settled, data, generation)
            if not failures:
                return
            for key, error in failures.items():
                self._put_off(key, error)
                settled.pop(key)

    def _stamp(self, pair: FramePair) -> _Stamp | None:
        """What the files of a pair are like; None if one of them is missing at this moment."""
        stamps = [self._files.stamp(path) for path in _files_of([pair])]
        return None if None in stamps else tuple(stamp for stamp in stamps if stamp)

    def _may_train(self, pair: FramePair) -> bool:
        return os.path.abspath(pair.ground_truth) not in self._held_out

    def _list(self, shots: Sequence[Pair]) -> tuple[dict[_Key, FramePair], str]:
        """The painted pairs that have all their files, and a sentence about a shot that has none.

        Where one has none, as when a disk is away or a movie is being written, nothing counts as gone.
        """
        there: dict[_Key, FramePair] = {}
        copies = unpainted_files(self._directory) if self._directory else set()
        lost = ""
        for shot in shots:
            match = match_frames(shot, chosen_frames(self._settings.training_frames), growing=True)
            if not match.pairs:
                errors = [problem.sentence for problem in match.problems if problem.severity == "error"]
                lost = errors[0] if errors else f"{shot.ground_truth}: no frame is there"
            there |= {_key(pair): pair for pair in match.pairs if pair.ground_truth.absolute() not in copies}
        return there, lost

    def _say_if_lost(self, sentence: str) -> None:
        """Says once that a shot cannot be read, when it has been so for a while."""
        if not sentence:
            self._lost = _Sight(None)
            return
        now = time.monotonic()
        self._lost.unreadable_since = self._lost.unreadable_since or now
        if not self._lost.reported and now - self._lost.unreadable_since > _PATIENCE_SECONDS:
            self._lost.reported = True
            self._say(f"{sentence}; the training goes on with the frames that it has")

    def _has_settled(self, key: _Key, pair: FramePair | None) -> bool:
        """Whether a difference was the same at the last look, and is to be read now."""
        stamp = None if pair is None else self._stamp(pair)
        sight = self._sights.get(key)
        if sight is None or sight.stamp != stamp:
            self._sights[key] = _Sight(stamp)
            return False
        sight.looks += 1
        enough = _LOOKS_FOR_GONE if pair is None else 2
        return not sight.reported and sight.looks >= enough and (pair is None or stamp is not None)

    def _read(
        self, settled: Mapping[_Key, FramePair | None], data: Dataset, generation: int
    ) -> dict[_Key, CopycatError]:
        """Reads a data set with the settled differences; returns the pairs that cannot be read."""
        pairs: list[FramePair] = []
        kept: dict[int, int] = {}
        for old, pair in enumerate(data.pairs):
            if _key(pair) not in settled:
                kept[len(pairs)] = old
                pairs.append(pair)
            elif (new := settled[_key(pair)]) is not None:
                pairs.append(new)
        own = {_key(pair) for pair in data.pairs}
        added = [pair for key, pair in settled.items() if pair is not None and key not in own]
        pairs += added
        if not pairs:
            self._report(settled, "there is no frame pair left to train on: the training goes on with those it has")
            return {}
        stamps = {key: stamp for key, stamp in self._stamps.items() if key in own and key not in settled}
        stamps |= {key: self._sights[key].stamp for key, pair in settled.items() if pair is not None}
        if any(split(path) for pair in settled.values() if pair for path in (pair.input, pair.ground_truth)):
            close_movies()  # one that is open may have been written over
        failures: dict[int, CopycatError] = {}
        try:
            after = load_dataset(
                pairs,
                self._settings,
                directory=self._directory,
                encodings=(data.input_encoding, data.target_encoding),
                plate=data.plate,
                before=data,
                kept=kept,
                failures=failures,
            )
        except CopycatError as error:
            if not failures:
                self._report(settled, f"{error}; the training goes on with the frames that it has")
            return {_key(pairs[index]): one for index, one in failures.items()}
        self._leave(after, kept, data, tuple(added), settled, stamps, generation)
        return {}

    def _leave(
        self,
        after: Dataset,
        kept: dict[int, int],
        data: Dataset,
        added: tuple[FramePair, ...],
        settled: Mapping[_Key, FramePair | None],
        stamps: dict[_Key, _Stamp | None],
        generation: int,
    ) -> None:
        """Leaves a change for the training, unless the files were written again with the same pixels."""
        assert data.banks
        assert after.banks
        own = {_key(pair): index for index, pair in enumerate(data.pairs)}
        changed = []
        for index, pair in enumerate(after.pairs):
            old = own.get(_key(pair))
            if index in kept or old is None:
                continue
            if after.banks.fingerprints[index] == data.banks.fingerprints[old]:
                kept = {**kept, index: old}
            else:
                changed.append(pair)
        removed = tuple(pair for pair in data.pairs if settled.get(_key(pair), pair) is None)
        change = Change(data=after, kept=kept, added=added, changed=tuple(changed), removed=removed)
        change = replace(change, sentences=tuple(s for index in change.fresh for s in misfits(after, index)))
        with self._lock:
            if generation != self._generation:
                return
            if not (added or changed or removed):
                self._stamps = stamps
                return
            self._settled.clear()
            self._ready = change, stamps

    def _put_off(self, key: _Key, error: CopycatError) -> None:
        """Notes that a pair cannot be read: it may not be whole yet; says so once it has stayed that way."""
        sight, now = self._sights[key], time.monotonic()
        sight.unreadable_since = sight.unreadable_since or now
        if not isinstance(error, SequenceError) or now - sight.unreadable_since > _PATIENCE_SECONDS:
            sight.reported = True
            self._say(f"{error}; the training goes on without this frame")

    def _report(self, settled: Mapping[_Key, FramePair | None], sentence: str) -> None:
        for key in settled:
            self._sights[key].reported = True
        self._say(sentence)

    def _say(self, sentence: str) -> None:
        with self._lock:
            self._sentences.append(sentence)


def _key(pair: FramePair) -> _Key:
    return (
        os.path.abspath(pair.input),
        os.path.abspath(pair.ground_truth),
        os.path.abspath(pair.mask) if pair.mask else "",
    )


def _files_of(pairs: Iterable[FramePair]) -> list[Path]:
    paths = (path for pair in pairs for path in (pair.input, pair.ground_truth, pair.mask) if path)
    return list(dict.fromkeys(map(file_of, paths)))
