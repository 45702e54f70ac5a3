"""Frames that a host hands over become the files of a new run, which is then trained, or of the active run.

For a new run they get their names at once. For the active run, which may be trained at this moment, they wait under
hidden names until all are written, so that its trainer never finds an old Ground Truth beside a new Input.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.errors import CopycatError
from copycat.runs import Run, RunError, read_provenance
from copycat.runs.launch import Trainings, claim_new_run, refuse_second_start
from copycat.sequence import remove_leftovers
from copycat.settings.tables import Settings
from copycat.worker import active_run, host_callbacks
from copycat.worker.buffers import picture, write_picture
from copycat.worker.host_request import Handler, HostRequest

_WRITERS = 2
_MOST_QUEUED_BYTES = 2 << 30
_MOST_FRAMES = 100_000
_CLIPS = ("input", "groundTruth", "preview")


@dataclass
class _Handover:
    """A run whose frames are being handed over; ``update``: one that is trained already."""

    run: Run
    update: bool = False
    writes: list[Future[None]] = field(default_factory=list)
    given_up: threading.Event = field(default_factory=threading.Event)
    preview: str = ""


class Handovers:
    """The runs whose frames this host hands over. Any thread."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings
        self._handovers: dict[Run, _Handover] = {}
        self._started: set[Run] = set()
        self._deciding = threading.Lock()  # whether a run starts or is given up
        self._writers = ThreadPoolExecutor(_WRITERS, "copycat-writer", initializer=_step_back)
        self._queued = 0
        self._written = threading.Condition()

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "frames": frames,
            "begin_run": self.begin_run,
            "begin_update": self.begin_update,
            "hand_over": self.hand_over,
            "train": self.train,
            "update": self.update,
            "abandon": self.abandon,
        }

    def begin_run(self, request: HostRequest) -> dict[str, Any]:
        """Checks the settings and claims a name."""
        import copycat.sequence  # noqa: F401 - so that the first frame does not wait for it

        settings = active_run.with_full_paths(Settings.from_dict(request.settings))
        host_callbacks.check(settings)
        directory = active_run.directory_of(request.settings)
        refuse_second_start(directory, active_run.find(request.settings))
        run = claim_new_run(directory)
        self._handovers[run] = _Handover(run)
        return {"run": {"directory": str(directory), "name": run.name}}

    def begin_update(self, request: HostRequest) -> dict[str, Any]:
        """Checks that the active run takes frames from a host."""
        run = active_run.expect(request.settings)
        provenance = read_provenance(run)
        if [pair.get("input") for pair in provenance.get("pairs") or ()] != [_pattern(run, "input")]:
            raise RunError(
                f"run {run.name} was not started in a host: it trains on files, and takes in by itself what changes"
            )
        if not Settings.from_dict(provenance.get("settings") or {}).watch_training_frames:
            raise RunError(f"run {run.name} was started with Watch Training Frames off: it keeps its frames")
        self._handovers[run] = _Handover(run, update=True)
        return {"run": {"directory": str(run.directory), "name": run.name}}

    def hand_over(self, request: HostRequest) -> dict[str, Any]:
        """Takes a frame; it is written in the background."""
        message = request.message
        handover = self._handover(message)
        for write in handover.writes:
            if write.done():
                write.result()  # raises if an earlier frame could not be written
        clip, frame = request.text("clip"), request.integer("frame")
        if clip not in _CLIPS:
            raise CopycatError(f"{clip!r} is no clip whose frames are handed over ({', '.join(_CLIPS)})")
        piece = request.buffers.keep(message)
        pixels, names = picture(piece, message.get("picture"))
        path = handover.run.file(f"_{clip}.{frame:04d}.exr")
        path = _waiting(path) if handover.update else path
        if clip == "preview":
            handover.preview = str(path)
        with self._written:
            while self._queued and self._queued + pixels.nbytes > _MOST_QUEUED_BYTES:
                self._written.wait(0.1)
                if request.cancelled.is_set():
                    raise CopycatError("cancelled")
            self._queued += pixels.nbytes
        handover.writes.append(self._writers.submit(self._write, handover, path, pixels, names))
        return {}

    def _write(self, handover: _Handover, path: Path, pixels: NDArray[Any], names: tuple[str, ...]) -> None:
        try:
            if not handover.given_up.is_set():
                write_picture(path, pixels, names)
        finally:
            with self._written:
                self._queued -= pixels.nbytes
                self._written.notify_all()

    def update(self, request: HostRequest) -> dict[str, Any]:
        """Waits until all frames are written and gives them to the run."""
        handover = self._handover(request.message)
        self._await_writes(handover, request)
        with self._deciding:
            if handover.given_up.is_set():
                raise CopycatError("cancelled")
            self._handovers.pop(handover.run, None)
        return {"status": _exchange(handover.run), "failed": False}

    def _await_writes(self, handover: _Handover, request: HostRequest) -> None:
        """Waits until all frames are written; raises for one that cannot be, and when the host cancels."""
        if not handover.writes:
            raise CopycatError("there is no frame to train on: choose frames that Input and Ground Truth have")
        waiting: set[Future[None]] = set(handover.writes)
        while waiting:
            done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            for write in done:
                write.result()
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
            request.progress(1 - len(waiting) / len(handover.writes))

    def train(self, request: HostRequest) -> dict[str, Any]:
        """Waits until all frames are written and starts the training."""
        handover = self._handover(request.message)
        settings = active_run.with_full_paths(Settings.from_dict(request.settings))
        self._await_writes(handover, request)
        run = handover.run
        settings = settings.replace(training_frames="all", data_directory=str(run.directory), preview=handover.preview)
        patterns = [_pattern(run, clip) for clip in ("input", "groundTruth")]
        arguments = ["train", *patterns, "--data-directory", str(run.directory), "--run-name", run.name]
        with self._deciding:
            if handover.given_up.is_set():
                raise CopycatError("cancelled")
            refuse_second_start(run.directory, active_run.find(request.settings))
            self._trainings.start(
                run,
                [*arguments, "--settings", "/dev/stdin"],
                json.dumps(settings.to_dict()).encode(),
                host_callbacks.environment(),
            )
            self._started.add(run)
            self._handovers.pop(run, None)
        return {"status": f"{run.name}: starting", "can_resume": False, "failed": False}

    def abandon(self, request: HostRequest) -> dict[str, Any]:
        """Deletes the frames of a run that will not start."""
        run = _run(request.message)
        with self._deciding:
            update = self._handovers.get(run)
            if update and update.update:
                update.given_up.set()
                del self._handovers[run]
        _delete_waiting(run, update.writes if update and update.update else [], timeout=30.0)
        with self._deciding:
            if run in self._started or (update and update.update):
                return {}
            # A worker that was started since does not know the handover, but its files are there.
            handover = self._handovers.pop(run, None) or _Handover(run)
            handover.given_up.set()
        if not run.summary.exists():
            _delete(handover, timeout=30.0)
        return {}

    def end(self, seconds: float) -> None:
        """Deletes the frames of runs that have not started; waits so many seconds for those being written."""
        with self._deciding:
            waiting = list(self._handovers.values())
            for handover in waiting:
                handover.given_up.set()
        wait([write for handover in waiting for write in handover.writes], seconds)
        for handover in waiting:
            if handover.update:
                _delete_waiting(handover.run, handover.writes, 0.0)
            else:
                _delete(handover, 0.0)

    def _handover(self, message: Mapping[str, Any]) -> _Handover:
        run = _run(message)
        handover = self._handovers.get(run)
        if handover is None:
            raise RunError(f"run {run.name} was not begun, or has been started already")
        return handover


def frames(request: HostRequest) -> dict[str, Any]:
    """The frames to fetch: the Training Frames, else all frames that both clips have."""
    from copycat.sequence import parse_frames

    text = str(request.message.get("text", "")).strip()
    if text.lower() not in ("", "all"):
        named = parse_frames(text)
        if len(named) > _MOST_FRAMES:
            raise CopycatError(f"Training Frames {text!r} are {len(named)} frames: name fewer, at most {_MOST_FRAMES}")
        return {"frames": named}
    ranges = [request.message.get(clip) or [] for clip in ("input", "ground_truth")]
    try:
        ends = [(int(first), int(last)) for first, last in filter(None, ranges)]
    except (TypeError, ValueError, OverflowError):
        raise CopycatError(f"the host gives {ranges} as frame ranges: write the frames into Training Frames") from None
    if not ends:
        raise CopycatError("the host does not say which frames there are: write them into Training Frames")
    first, last = max(low for low, _ in ends), min(high for _, high in ends)
    if last < first:
        described = " and ".join(f"{low}-{high}" for low, high in ends)
        raise CopycatError(
            f"Input and Ground Truth have no frame in common (they have the frames {described}): "
            "connect clips of the same frames, or write the frames to train on into Training Frames"
        )
    if last - first >= _MOST_FRAMES:
        raise CopycatError(
            f"Input and Ground Truth have the frames {first}-{last}: write the frames to train on into Training Frames"
        )
    return {"frames": list(range(first, last + 1))}


def _step_back() -> None:
    """Lets the threads that fetch go first: the host is held up until the last frame is handed over."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _run(message: Mapping[str, Any]) -> Run:
    named = message.get("run")
    if not isinstance(named, Mapping) or not isinstance(named.get("directory"), str):
        raise CopycatError(f"the plugin names no run to act on ({named!r})")
    return Run(Path(named["directory"]), str(named.get("name")))


def _pattern(run: Run, clip: str) -> str:
    return str(run.file(f"_{clip}.####.exr"))


def _waiting(path: Path) -> Path:
    """The name under which a frame for a run that is trained already waits for the others."""
    return path.with_name(f".update-{path.name}")


def _exchange(run: Run) -> str:
    """Gives the waiting frames their names and deletes those that are no longer handed over; says what has changed.

    Raises:
        RunError: a file cannot be renamed or deleted.
    """
    gone = 0
    try:
        waiting = sorted(run.directory.glob(f".update-{glob.escape(run.name)}_*.exr"))
        names = {path.name.removeprefix(".update-") for path in waiting}
        touched: dict[str, bool] = {}  # frame number: whether it was there
        for path in waiting:
            target = path.with_name(path.name.removeprefix(".update-"))
            if target.exists() and _same_pixels(path, target):
                path.unlink()
                continue
            touched[target.name.split(".")[-2]] = target.exists()
            os.replace(path, target)
        for clip in ("groundTruth", "input"):
            for path in run.directory.glob(f"{glob.escape(run.name)}_{clip}.*.exr"):
                if path.name not in names:
                    path.unlink()
                    gone += clip == "groundTruth"
    except OSError as error:
        raise RunError(f"{error.filename or run.directory}: cannot be written: {error.strerror}") from error
    changed = sum(touched.values())
    new = len(touched) - changed
    if not new + changed + gone:
        return f"{run.name}: the training frames are as before"
    return f"{run.name}: {new} new, {changed} changed and {gone} removed training frames are handed over"


def _same_pixels(path: Path, other: Path) -> bool:
    """Whether two frames are equal; the files of equal frames differ in their dates."""
    from copycat.sequence import SequenceError, read_frame, read_info

    try:
        channels = read_info(path).channels
        if channels != read_info(other).channels:
            return False
        return np.array_equal(read_frame(path, channels).pixels, read_frame(other, channels).pixels, equal_nan=True)
    except SequenceError:  # somebody else has spoilt the one that is there
        return False


def _delete_waiting(run: Run, writes: list[Future[None]], timeout: float) -> None:
    wait(writes, timeout)
    for path in run.directory.glob(f".update-{glob.escape(run.name)}_*.exr"):
        with contextlib.suppress(OSError):
            path.unlink()


def _delete(handover: _Handover, timeout: float) -> None:
    wait(handover.writes, timeout)
    run = handover.run
    remove_leftovers(run.directory)
    mine = [f"{run.name}_{clip}.*.exr" for clip in _CLIPS]
    for path in [*run.files(), *(path for pattern in mine for path in run.directory.glob(pattern))]:
        with contextlib.suppress(OSError):
            path.unlink()
