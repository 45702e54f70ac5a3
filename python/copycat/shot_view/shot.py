"""The shot of a run as its files say: which frames the plate has, and which are painted, rendered or doubtful.

Loads no torch. Every function that lists or reads files belongs in a thread.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copycat.errors import CopycatError
from copycat.runs import Display, Run, makes_mattes, open_regular, read_json, read_provenance
from copycat.runs.unpainted import note_unpainted, unpainted_files
from copycat.sequence import ImageSequence, SequenceError, read_frame, read_info, write_frame
from copycat.sequence.movie import is_movie
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings

OUTPUT = "output"  # the key of a run's entry in copycat.json


class ShotError(CopycatError):
    """A run has no such shot, or a frame cannot be painted."""


@dataclass(frozen=True)
class Lanes:
    """What there is of each frame of a plate.

    Attributes:
        frames: of the plate.
        painted: with a Ground Truth.
        unpainted: whose Ground Truth is still a copy of the plate.
        rendered: with a result that is newer than the run's newest checkpoint.
        outdated: with a result that is older.
        doubtful: where the result is not to be trusted, as the run's ``.review`` says; None without such a file.
    """

    frames: tuple[int, ...] = ()
    painted: tuple[int, ...] = ()
    unpainted: tuple[int, ...] = ()
    rendered: tuple[int, ...] = ()
    outdated: tuple[int, ...] = ()
    doubtful: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One pair of sequences of a run.

    Attributes:
        index: of the pair; count: how many the run has.
        input, ground_truth: patterns; output: of the result, empty before one was chosen.
        input_channels, ground_truth_channels: as the knobs name them.
        view: OCIO View.
        mattes: whether the result has a matte, as the newest checkpoint says.
    """

    run: Run
    index: int
    count: int
    input: str
    ground_truth: str
    output: str
    input_channels: str
    ground_truth_channels: str
    view: str
    mattes: bool = False

    @classmethod
    def of(cls, run: Run, index: int = 0) -> Shot:
        """The shot of a run's pair.

        Raises:
            ShotError: the run's ``.json`` names no such pair, or is damaged.
        """
        provenance = read_provenance(run)
        try:
            pairs = [(str(pair["input"]), str(pair["groundTruth"])) for pair in provenance["pairs"]]
            settings = Settings.from_dict(provenance["settings"])
        except (KeyError, TypeError, SettingsError):
            raise ShotError(f"{run.provenance}: says no shot yet") from None
        if not 0 <= index < len(pairs):
            raise ShotError(f"run {run.name} has no shot {index + 1}; it has {len(pairs)}")
        checkpoints = run.checkpoints()
        outputs = Display.read(run.directory).runs.get(run.name, {}).get(OUTPUT)
        output = outputs.get(str(index)) if isinstance(outputs, dict) else ""
        return cls(
            run=run,
            index=index,
            count=len(pairs),
            input=pairs[index][0],
            ground_truth=pairs[index][1],
            output=output if isinstance(output, str) else "",
            input_channels=settings.input_channels,
            ground_truth_channels=settings.ground_truth_channels,
            view=settings.ocio_view,
            mattes=bool(checkpoints) and makes_mattes(checkpoints[-1][1]),
        )

    def remember_output(self, pattern: str) -> None:
        """Keeps the pattern of this shot's result in ``copycat.json``.

        Raises:
            RunError: the file cannot be written.
        """
        with Display.edit(self.run.directory) as display:
            entry = display.runs.setdefault(self.run.name, {})
            outputs = entry.get(OUTPUT)
            entry[OUTPUT] = {**(outputs if isinstance(outputs, dict) else {}), str(self.index): pattern}

    def file(self, kind: str, frame: int) -> Path:
        """The file of a frame: ``input``, ``truth`` or ``rendered``.

        Raises:
            ShotError: there is no such file.
            SequenceError: the pattern cannot be understood.
        """
        pattern = {"input": self.input, "truth": self.ground_truth, "rendered": self.output}[kind]
        sequence = ImageSequence.parse(pattern) if pattern else None
        if sequence is None or frame not in _frames(sequence):
            raise ShotError(f"{pattern or 'the result'} has no frame {frame}")
        return sequence.path(frame)

    def lanes(self) -> Lanes:
        """What there is of each frame now.

        Raises:
            SequenceError: the plate is not there.
        """
        source = ImageSequence.parse(self.input)
        frames = source.frames()
        there = set(frames)
        truth = _parsed(self.ground_truth)
        painted = {frame for frame in _frames(truth) if frame in there or source.single} if truth else set()
        copies = unpainted_files(self.run.directory)
        unpainted = {frame for frame in painted if truth and truth.path(frame).absolute() in copies}
        output = _parsed(self.output)
        results = {frame: _written(output.path(frame)) for frame in _frames(output) if frame in there} if output else {}
        model = max((_written(path) for _, path in self.run.checkpoints()), default=0)
        return Lanes(
            frames=tuple(frames),
            painted=tuple(sorted(painted - unpainted)),
            unpainted=tuple(sorted(unpainted)),
            rendered=tuple(sorted(frame for frame, written in results.items() if written >= model)),
            outdated=tuple(sorted(frame for frame, written in results.items() if written < model)),
            doubtful=self._doubtful(there),
        )

    def _doubtful(self, there: set[int]) -> tuple[int, ...] | None:
        """The doubtful frames of the run's ``.review``; None without one, or if it is of another plate."""
        review: Mapping[str, Any] = read_json(self.run.review)
        frames, plate = review.get("doubtful"), review.get("input")
        if not isinstance(frames, list) or (isinstance(plate, str) and not _same(plate, self.input)):
            return None
        return tuple(sorted({frame for frame in frames if isinstance(frame, int) and frame in there}))

    def paint(self, frame: int) -> Path:
        """Lays a copy of the plate's frame where its Ground Truth belongs, to be painted; never over a file.

        Returns:
            The copy.

        Raises:
            ShotError: there is such a file already, the Ground Truth is one file or a movie, or cannot be written.
            CopycatError: the plate's frame cannot be read.
        """
        source = self.file("input", frame)
        truth = _parsed(self.ground_truth)
        if truth is None or truth.single or is_movie(Path(self.ground_truth)):
            raise ShotError(f"{self.ground_truth} is not a sequence of images: paint frame {frame} in your own program")
        target = truth.path(frame)
        there = ShotError(f"{target} exists already: paint that file")
        if os.path.lexists(target):
            raise there
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._copy(source, target)
        except OSError as error:
            if os.path.lexists(target):  # somebody was faster
                raise there from None
            raise ShotError(f"{target}: cannot be written: {error.strerror or error}") from error
        return target

    def _copy(self, source: Path, target: Path) -> None:
        """Copies a frame to a new name, whole or not at all; another format is written anew.

        Raises:
            FileExistsError: somebody wrote the target meanwhile.
            OSError, CopycatError: it cannot be read or written.
        """
        temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
        try:
            if source.suffix.lower() == target.suffix.lower():
                with os.fdopen(open_regular(source), "rb") as stream, temporary.open("xb") as copy:
                    shutil.copyfileobj(stream, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
            else:
                info = read_info(source)
                write_frame(temporary, read_frame(source, info.channels[:4]).pixels, info.channels[:4], like=info)
            note_unpainted(self.run, target, temporary)  # first, or a training could take the copy in
            os.link(temporary, target)  # unlike a rename it never replaces a file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _same(pattern: str, other: str) -> bool:
    """Whether two patterns name the same files."""
    sequences = [_parsed(text) for text in (pattern, other)]
    return len({one.path(1).absolute() if one else None for one in sequences}) == 1


def _parsed(pattern: str) -> ImageSequence | None:
    with contextlib.suppress(SequenceError):
        return ImageSequence.parse(pattern)
    return None


def _frames(sequence: ImageSequence) -> list[int]:
    """The frames on disk; none where there is no file yet."""
    with contextlib.suppress(SequenceError):
        return sequence.frames()
    return []


def _written(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
