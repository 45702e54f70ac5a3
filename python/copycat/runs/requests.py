"""What others ask of a living trainer: the ``.request`` and ``.answer`` of a run. Standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass, field

from copycat.runs.files import Run
from copycat.runs.trainer_lock import trainer_lives
from copycat.runs.writing import read_json, temporary_beside, write_json

_QUEUE_SECONDS = 3.0


@dataclass(frozen=True)
class Request:
    """What somebody asks of the living trainer: ``stop``, ``finish`` or ``rename`` (to ``name``)."""

    action: str
    name: str = ""
    identifier: str = field(default_factory=lambda: secrets.token_hex(8))


def send_request(run: Run, request: Request) -> None:
    """Leaves a request for the run's trainer, which looks once a second; waits for an earlier one to be taken.

    Raises:
        RunError: the file cannot be written.
    """
    path = run.file(".request")
    deadline = time.monotonic() + _QUEUE_SECONDS
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    write_json(path, {"action": request.action, "name": request.name, "id": request.identifier})


def take_request(run: Run) -> Request | None:
    """The trainer's side: the waiting request, which is taken away; None where there is none."""
    path = run.file(".request")
    if not path.exists():
        return None
    taken = temporary_beside(path)
    try:
        os.rename(path, taken)  # one that comes while this one is read is not lost
    except OSError:
        return None
    value = read_json(taken)
    with contextlib.suppress(OSError):
        os.unlink(taken)
    return Request(str(value.get("action", "")), str(value.get("name", "")), str(value.get("id", "")))


def withdraw_request(run: Run, request: Request) -> bool:
    """Takes a request back; False when the trainer has taken it (or somebody else's lies in its place)."""
    path = run.file(".request")
    if read_json(path).get("id") != request.identifier:
        return False
    taken = temporary_beside(path)
    try:
        os.rename(path, taken)
        os.unlink(taken)
    except OSError:
        return False
    return True


def answer_request(run: Run, request: Request, refusal: str = "") -> None:
    """The trainer's side: says that the request was carried out, or why not.

    Only a rename is waited for, so only a rename leaves a file.
    """
    if request.action == "rename":
        write_json(run.file(".answer"), {"id": request.identifier, "refusal": refusal})


def read_answer(run: Run, request: Request) -> str | None:
    """The refusal in the trainer's answer to this request (empty: it was carried out), None while there is none."""
    path = run.file(".answer")
    answer = read_json(path)
    if answer.get("id") != request.identifier:
        return None
    with contextlib.suppress(OSError):
        os.unlink(path)
    return str(answer.get("refusal") or "")


def stop(run: Run) -> bool:
    """Asks the run's trainer to save and stop; False when no trainer lives."""
    return _ask(run, "stop")


def finish(run: Run) -> bool:
    """Asks the run's trainer to end soon with a finished model; False when no trainer lives."""
    return _ask(run, "finish")


def _ask(run: Run, action: str) -> bool:
    if not trainer_lives(run):
        return False
    send_request(run, Request(action))
    return True
