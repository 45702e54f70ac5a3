"""One trainer at a time: the ``.lock`` of a run. Standard library only.

The file holds ``{"host": ..., "pid": ..., "heartbeat": ...}``. On one machine the kernel's lock decides; it ends with
the process, however that dies. Other machines may not see it and use the time the file was last written; the clocks of
machine and file server must agree within half a minute.

Whoever starts a trainer as a process of its own takes the lock first and lets the process inherit it
(:meth:`TrainerLock.inheritance`), so that the run counts as living from the first moment on, and a second start is
refused. The file then also holds ``"starting": true``, until the trainer writes its first heartbeat. Until then both
renew its time (:func:`keep_starting`, :func:`beat_while_loading`): to import torch from a slow disk takes minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copycat import system_files
from copycat.runs.files import Run, modified
from copycat.runs.writing import RunError, open_regular, read_json

INHERITED = "COPYCAT_TRAINER_LOCK"  # environment variable: the inherited descriptor
HEARTBEAT_SECONDS = 10.0
_STALE_SECONDS = 6 * HEARTBEAT_SECONDS
_TRIES = 25
_TRY_SECONDS = 0.02
_SETTLE_SECONDS = 1.0


class TrainerLock:
    """Held by the living trainer, or briefly by a reader that renames or deletes a run without one.

    One thread uses it; another of its own writes the heartbeat.
    """

    def __init__(self, run: Run) -> None:
        """Takes the lock, or the one that this process inherited for the run.

        A newly taken lock removes temporary files and requests of an earlier trainer. An inherited one keeps the
        requests, which are meant for this trainer.

        Raises:
            RunError: another trainer lives (the message names its host and process), or the file cannot be written.
        """
        self._run = run
        self._stop = threading.Event()
        path = run.file(".lock")
        try:
            inherited = _inherited(path)
            self._descriptor, foreign = (inherited, False) if inherited is not None else _take(run, path)
            try:
                self._beat()
                if foreign:
                    self._settle(path)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
        if inherited is None:
            for suffix in (".request", ".answer"):
                with contextlib.suppress(OSError):
                    os.unlink(run.file(suffix))
        run.sweep()
        self._thread = threading.Thread(target=self._beat_on, name="copycat-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self, **more: bool) -> None:
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time(), **more})
        system_files.write_at(self._descriptor, text.ljust(256).encode(), 0)

    def _beat_on(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                self._beat()

    def _settle(self, path: Path) -> None:
        """Waits and checks who wrote last: two machines may take over from a dead third at the same time."""
        time.sleep(_SETTLE_SECONDS)
        holder = read_json(path)
        if (holder.get("host"), holder.get("pid")) != (socket.gethostname(), os.getpid()):
            raise RunError(_refusal(self._run, path))

    def inheritance(self) -> dict[str, Any]:
        """Arguments of ``subprocess.Popen`` with which the process inherits the lock; add to the ``env`` as needed.

        After the start, :meth:`hand_over` leaves the lock to the process: it ends with it, however that dies. On
        Windows, where a lock is not inherited, it is given back instead, and the process takes it when it is up.
        """
        self._beat(starting=True)
        if not system_files.INHERITS_LOCKS:
            self.hand_over()
            return {"env": dict(os.environ)}
        return {"pass_fds": (self._descriptor,), "env": os.environ | {INHERITED: str(self._descriptor)}}

    def hand_over(self) -> None:
        """Leaves the lock to the process that inherited it; once."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        os.close(self._descriptor)

    def release(self, run: Run) -> None:
        """Gives the lock back, once; ``run`` says where its file is now (it may have been renamed)."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        path = run.file(".lock")
        ours = _is_file(self._descriptor, path)
        if not system_files.REMOVES_OPEN_FILES:
            os.close(self._descriptor)
        if ours:
            with contextlib.suppress(OSError):
                system_files.remove(path)
        if system_files.REMOVES_OPEN_FILES:
            os.close(self._descriptor)


def keep_starting(run: Run) -> bool:
    """Renews the heartbeat of a run that somebody else's process is about to train; False once that has taken over."""
    path = run.file(".lock")
    if read_json(path).get("starting") is not True:
        return False
    with contextlib.suppress(OSError):
        os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)  # Windows follows
    return True


def beat_while_loading() -> None:
    """Renews the heartbeat of the lock that this process inherited, in a thread, until its trainer takes it over."""
    descriptor = os.environ.get(INHERITED, "")

    def beat() -> None:
        while os.environ.get(INHERITED) == descriptor:
            with contextlib.suppress(OSError):
                os.utime(int(descriptor))
            time.sleep(HEARTBEAT_SECONDS)

    if descriptor.isdecimal():
        threading.Thread(target=beat, name="copycat-loading", daemon=True).start()


def _inherited(path: Path) -> int | None:
    """The descriptor that this process inherited, if it is that of ``path``."""
    with contextlib.suppress(ValueError, OSError):
        descriptor = int(os.environ.pop(INHERITED, ""))
        if descriptor > 2 and _is_file(descriptor, path) and system_files.try_lock(descriptor) is not False:
            os.set_inheritable(descriptor, False)
            return descriptor
    return None


def _take(run: Run, path: Path) -> tuple[int, bool]:
    """A descriptor that holds the lock, and whether another machine held it before.

    A reader that checks for a trainer holds the lock for an instant, and a trainer that ends removes its file. Both
    look like a refusal, hence the retries.
    """
    for _ in range(_TRIES):
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        locked = system_files.try_lock(descriptor)
        if locked is not False and _is_file(descriptor, path):
            holder = read_json(path)
            foreign = bool(holder) and holder.get("host") != socket.gethostname()
            if not _beats(path, holder, locked):
                return descriptor, foreign
            os.close(descriptor)
            break
        os.close(descriptor)
        time.sleep(_TRY_SECONDS)
    raise RunError(_refusal(run, path))


def _beats(path: Path, holder: Mapping[str, Any], locked: bool | None) -> bool:
    """Whether the heartbeat shows a trainer on another machine, which the kernel's lock does not."""
    unseen = locked is None or holder.get("host") != socket.gethostname()
    return bool(holder) and unseen and time.time() - modified(path) < _STALE_SECONDS


def _refusal(run: Run, path: Path) -> str:
    holder = read_json(path)
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    if holder.get("starting"):
        return f"run {run.name} is starting already (by {who})"
    return f"run {run.name} is being trained by {who}; stop that training first"


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether ``path`` is the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def trainer_lives(run: Run) -> bool:
    """Whether a trainer holds the run: on this machine by its process, elsewhere by its heartbeat."""
    path = run.file(".lock")
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    locked = system_files.try_lock(descriptor, shared=True)
    os.close(descriptor)
    return locked is False or _beats(path, read_json(path), locked)


def is_starting(run: Run) -> bool:
    """Whether the run's trainer was started and has not taken over the lock yet."""
    return read_json(run.file(".lock")).get("starting") is True and trainer_lives(run)
