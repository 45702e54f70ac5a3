"""Frames that a host hands over become the files of a new run, and its training a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from copycat.errors import CopycatError
from copycat.runs import Display, Run, RunError, finish, new_run, stop, trainer_lives
from copycat.settings.tables import Settings
from copycat.worker import active_run, host_callbacks
from copycat.worker.buffers import picture
from copycat.worker.progress_page import last_words
from copycat.worker.request import Handler, Request

_WRITERS = 2
_MOST_QUEUED_BYTES = 2 << 30
_CHANGEABLE = ("epochs", "minutes", "checkpointInterval", "imageInterval")


@dataclass
class _Handover:
    """A run whose frames are being handed over."""

    run: Run
    writes: list[Future[None]] = field(default_factory=list)
    given_up: threading.Event = field(default_factory=threading.Event)
    preview: str = ""


class Trainings:
    """Runs that were started or handed over by this host."""

    def __init__(self) -> None:
        self._handovers: dict[str, _Handover] = {}
        self._started: set[str] = set()
        self._deciding = threading.Lock()  # whether a run starts or is given up
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # trainings started here that still run
        self._failures: dict[str, str] = {}
        self._writers = ThreadPoolExecutor(_WRITERS, "copycat-writer", initializer=_step_back)
        self._queued = 0
        self._written = threading.Condition()

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "frames": frames,
            "begin_run": self.begin_run,
            "hand_over": self.hand_over,
            "train": self.train,
            "abandon": self.abandon,
            "stop": self.stop,
            "finish": self.finish,
            "resume": self.resume,
            "newest_model": newest_model,
        }

    def begin_run(self, request: Request) -> dict[str, Any]:
        """Checks the settings and claims a name."""
        import copycat.sequence  # noqa: F401 - so that the first frame does not wait for it

        settings = Settings.from_dict(request.message["settings"])
        host_callbacks.check(settings)
        directory = active_run.directory_of(request.message["settings"])
        try:
            directory.mkdir(parents=True, exist_ok=True)
            run = _claim(directory)
        except OSError as error:
            raise RunError(f"{directory}: the Data Directory cannot be written: {error.strerror}") from None
        self._handovers[str(run.file(""))] = _Handover(run)
        return {"run": {"directory": str(directory), "name": run.name}}

    def hand_over(self, request: Request) -> dict[str, Any]:
        """Takes a frame; it is written in the background."""
        message = request.message
        handover = self._handover(message)
        for write in handover.writes:
            if write.done():
                write.result()  # raises what went wrong with an earlier frame
        piece = request.buffers.keep(message)
        pixels, names = picture(piece, message["picture"])
        path = handover.run.file(f"_{message['clip']}.{int(message['frame']):04d}.exr")
        if message["clip"] == "preview":
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
        from copycat.sequence import write_frame
        from copycat.sequence.colour import from_integers

        try:
            if not handover.given_up.is_set():
                values = from_integers(pixels)  # half stays half
                write_frame(
                    path, values, names, dtype="half" if values.dtype == np.float16 else "float", compression="zip"
                )
        finally:
            with self._written:
                self._queued -= pixels.nbytes
                self._written.notify_all()

    def train(self, request: Request) -> dict[str, Any]:
        """Waits until all frames are written and starts the training."""
        handover = self._handover(request.message)
        settings = dict(request.message["settings"])
        waiting: set[Future[None]] = set(handover.writes)
        while waiting:
            done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
            for write in done:
                write.result()
            if request.cancelled.is_set():
                raise CopycatError("cancelled")
            request.progress(1 - len(waiting) / len(handover.writes))
        run = handover.run
        checked = Settings.from_dict(
            {**settings, "trainingFrames": "all", "dataDirectory": str(run.directory), "preview": handover.preview}
        )
        patterns = [str(run.file(f"_{clip}.####.exr")) for clip in ("input", "groundTruth")]
        arguments = ["train", *patterns, "--data-directory", str(run.directory), "--run-name", run.name]
        with self._deciding:
            if handover.given_up.is_set():
                raise CopycatError("cancelled")
            self._started.add(str(run.file("")))
            self._handovers.pop(str(run.file("")), None)
        self._start(run, [*arguments, "--settings", "/dev/stdin"], json.dumps(checked.to_dict()).encode())
        return {"status": f"{run.name}: training starts", "can_resume": False, "failed": False}

    def abandon(self, request: Request) -> dict[str, Any]:
        """Deletes what was handed over for a run that will not start."""
        run = _run(request.message)
        with self._deciding:
            if str(run.file("")) in self._started:
                return {}
            # A worker that was started since does not know the handover, but its files are there.
            handover = self._handovers.pop(str(run.file("")), None) or _Handover(run)
            handover.given_up.set()
        if not run.summary.exists():
            _delete(handover, timeout=30.0)
        return {}

    def end(self, seconds: float) -> None:
        """The host is gone: deletes what was not finished; trainings go on."""
        with self._deciding:
            waiting = list(self._handovers.values())
            for handover in waiting:
                handover.given_up.set()
        for handover in waiting:
            _delete(handover, seconds)

    def word(self, directory: Path) -> dict[str, Any] | None:
        """The status of the chosen run where its files do not say it: it starts, or it did not."""
        chosen = Display.read(directory).active
        if not chosen:
            return None
        run, key = Run(directory, chosen), str(directory / chosen)
        if key in self._failures and not trainer_lives(run):
            return {"status": self._failures[key], "failed": True}
        if key in self._processes and not run.summary.exists():
            return {"status": f"{chosen}: training starts", "can_resume": False, "failed": False}
        return None

    def stop(self, request: Request) -> dict[str, Any]:
        """Asks the active run's trainer to save and stop."""
        settings = request.message["settings"]
        chosen = Display.read(active_run.directory_of(settings)).active
        process = self._processes.get(str(active_run.directory_of(settings) / chosen)) if chosen else None
        if chosen and process and process.poll() is None:
            run = Run(active_run.directory_of(settings), chosen)
            if not stop(run):
                process.terminate()  # it has not begun yet
        else:
            run = active_run.expect(settings)
            if not stop(run):
                raise RunError(f"run {run.name} is not being trained")
        return {"status": f"{run.name}: saves and stops", "failed": False}

    def finish(self, request: Request) -> dict[str, Any]:
        """Has the active run end soon with a finished model, whether it is being trained or was stopped."""
        run = active_run.expect(request.message["settings"])
        if not finish(run):
            self._resume(request, "--finish")
        return {"status": f"{run.name}: training ends after a decay", "can_resume": False, "failed": False}

    def resume(self, request: Request) -> dict[str, Any]:
        """Continues the active run."""
        run = self._resume(request)
        return {"status": f"{run.name}: training goes on", "can_resume": False, "failed": False}

    def _resume(self, request: Request, *options: str) -> Run:
        settings = Settings.from_dict(request.message["settings"])
        run = active_run.expect(request.message["settings"])
        if trainer_lives(run):
            raise RunError(f"run {run.name} is being trained already")
        if not run.resume_state.exists():
            raise RunError(f"run {run.name} cannot be resumed: {run.resume_state.name} is missing")
        arguments = ["resume", str(run.directory), "--run", run.name, *options]
        for knob in Settings.knobs():
            if knob.name in _CHANGEABLE and knob.field:
                arguments += [f"--{knob.field.replace('_', '-')}", str(getattr(settings, knob.field))]
        self._start(run, arguments, b"")
        return run

    def _handover(self, message: Mapping[str, Any]) -> _Handover:
        run = _run(message)
        handover = self._handovers.get(str(run.file("")))
        if handover is None:
            raise RunError(f"run {run.name} was not begun, or has been started already")
        return handover

    def _start(self, run: Run, arguments: list[str], standard_input: bytes) -> None:
        """Starts ``copycat train`` or ``resume`` in a session of its own: it outlives worker and host."""
        environment = dict(os.environ)
        if host_callbacks.folders():
            environment["PYTHONPATH"] = os.pathsep.join(host_callbacks.folders())
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the thread that waits
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "copycat", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(standard_input)
        self._failures.pop(str(run.file("")), None)
        self._processes[str(run.file(""))] = process
        with contextlib.suppress(RunError), Display.edit(run.directory) as display:
            display.active = run.name
        threading.Thread(target=self._wait, args=(run, process, output), daemon=True).start()

    def _wait(self, run: Run, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        status = process.wait()
        with output:
            words = last_words(output)
        if self._processes.get(str(run.file(""))) is process:
            del self._processes[str(run.file(""))]
        if status not in (0, 130, 143, -signal.SIGTERM):
            self._failures[str(run.file(""))] = f"{run.name} failed: {words or f'status {status}'}"


def frames(request: Request) -> dict[str, Any]:
    """The frames to fetch: those named, else those that both clips have."""
    from copycat.sequence import parse_frames

    text = str(request.message.get("text", "")).strip()
    if text.lower() not in ("", "all"):
        return {"frames": parse_frames(text)}
    ranges = [request.message.get(clip) or [] for clip in ("input", "ground_truth")]
    known = [(int(first), int(last)) for first, last in (r for r in ranges if len(r) == 2)]
    if not known:
        raise CopycatError("the host does not say which frames there are: write them into Training Frames")
    first, last = max(r[0] for r in known), min(r[1] for r in known)
    if last < first:
        raise CopycatError(f"Input and Ground Truth have no frame in common (they have {known})")
    if last - first >= 100_000:
        raise CopycatError(f"Input and Ground Truth have the frames {first} to {last}: write those to train on")
    return {"frames": list(range(first, last + 1))}


def newest_model(request: Request) -> dict[str, Any]:
    """The newest checkpoint of the active run."""
    run = active_run.expect(request.message["settings"])
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise RunError(f"run {run.name} has no checkpoint yet")
    return {"model": str(checkpoints[-1][1])}


def _step_back() -> None:
    """Lets the threads that fetch go first: the host is held up until the last frame is handed over."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _run(message: Mapping[str, Any]) -> Run:
    return Run(Path(message["run"]["directory"]), str(message["run"]["name"]))


def _claim(directory: Path) -> Run:
    """A new run whose name no other host takes in the same second."""
    while True:
        run = new_run(directory)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(run.provenance, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return run


def _delete(handover: _Handover, timeout: float) -> None:
    wait(handover.writes, timeout)
    run = handover.run
    # Also what a worker that was killed left half written, under the hidden names of the writer.
    mine = [f"{hidden}{run.name}_{clip}.*.exr" for hidden in (".", "") for clip in ("input", "groundTruth", "preview")]
    for path in [*run.files(), *(path for pattern in mine for path in run.directory.glob(pattern))]:
        with contextlib.suppress(OSError):
            path.unlink()
