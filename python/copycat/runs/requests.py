"""Requests to a living trainer and their answers: ``.request`` and ``.answer``. Standard library only.

Requests queue up in the order in which they are sent; the trainer looks for them once a second.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from copycat.runs import mailbox
from copycat.runs.files import Run
from copycat.runs.trainer_lock import trainer_lives

# Somebody waits for the answers to these.
_ANSWERED = ("rename", "checkpoint", "pictures", "plan", "weights")


@dataclass(frozen=True)
class Request:
    """A request to the living trainer.

    Attributes:
        action: ``stop``, ``finish``, ``rename``, ``checkpoint``, ``pictures`` (contact sheet and preview), ``weights``
            (the newest ones as ``<run>_live.cat``) or ``plan``.
        name: the new name, for ``rename``.
        knobs: for ``plan``, what changes: ``epochs`` or ``minutes``; for ``pictures``, another ``preview``.
    """

    action: str
    name: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    identifier: str = field(default_factory=lambda: secrets.token_hex(8))


def send_request(run: Run, request: Request) -> None:
    """Queues a request for the run's trainer.

    Raises:
        RunError: the file cannot be written.
    """
    message = {"action": request.action, "name": request.name, "knobs": request.knobs, "id": request.identifier}
    mailbox.post(run.file(".request"), message)


def take_request(run: Run) -> Request | None:
    """The trainer's side: takes the oldest request; None if there is none.

    Raises:
        RunError: the file cannot be written.
    """
    message = mailbox.take(run.file(".request"))
    if message is None:
        return None
    action, name, identifier = (str(message.get(key, "")) for key in ("action", "name", "id"))
    knobs = message.get("knobs")
    return Request(action, name, knobs if isinstance(knobs, dict) else {}, identifier)


def withdraw_request(run: Run, request: Request) -> bool:
    """Withdraws a request; False if the trainer has taken it."""
    return mailbox.take(run.file(".request"), lambda message: message.get("id") == request.identifier) is not None


def answer_request(run: Run, request: Request, refusal: str = "") -> None:
    """The trainer's side: answers that the request was carried out, or why not.

    Stop and finish get no answer: nobody waits for one.
    """
    if request.action in _ANSWERED:
        mailbox.post(run.file(".answer"), {"id": request.identifier, "refusal": refusal})


def read_answer(run: Run, request: Request) -> str | None:
    """The trainer's refusal of this request, empty if it was carried out; None while there is no answer."""
    answer = mailbox.take(run.file(".answer"), lambda message: message.get("id") == request.identifier)
    return None if answer is None else str(answer.get("refusal") or "")


def stop(run: Run) -> bool:
    """Asks the run's trainer to save and stop; False if no trainer lives."""
    return _ask(run, "stop")


def finish(run: Run) -> bool:
    """Asks the run's trainer to finish; False if no trainer lives."""
    return _ask(run, "finish")


def _ask(run: Run, action: str) -> bool:
    if not trainer_lives(run):
        return False
    send_request(run, Request(action))
    return True
