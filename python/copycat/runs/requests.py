"""Requests to a living trainer and their answers: ``.request`` and ``.answer``. Standard library only.

Requests queue up in the order in which they are sent; the trainer looks for them once a second.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from copycat.runs import mailbox
from copycat.runs.files import Run
from copycat.runs.trainer_lock import trainer_lives


@dataclass(frozen=True)
class Request:
    """A request to the living trainer: ``stop``, ``finish`` or ``rename`` (to ``name``)."""

    action: str
    name: str = ""
    identifier: str = field(default_factory=lambda: secrets.token_hex(8))


def send_request(run: Run, request: Request) -> None:
    """Queues a request for the run's trainer.

    Raises:
        RunError: the file cannot be written.
    """
    message = {"action": request.action, "name": request.name, "id": request.identifier}
    mailbox.post(run.file(".request"), message)


def take_request(run: Run) -> Request | None:
    """The trainer's side: takes the oldest request; None if there is none.

    Raises:
        RunError: the file cannot be written.
    """
    message = mailbox.take(run.file(".request"))
    if message is None:
        return None
    return Request(*(str(message.get(key, "")) for key in ("action", "name", "id")))


def withdraw_request(run: Run, request: Request) -> bool:
    """Withdraws a request; False if the trainer has taken it."""
    return mailbox.take(run.file(".request"), lambda message: message.get("id") == request.identifier) is not None


def answer_request(run: Run, request: Request, refusal: str = "") -> None:
    """The trainer's side: answers that the request was carried out, or why not.

    Only a rename gets an answer, since only its sender waits for one.
    """
    if request.action == "rename":
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
