"""Sends a request to a living trainer and waits for its answer. Standard library only."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from copycat.runs.files import Run
from copycat.runs.finding import find_run
from copycat.runs.requests import Request, read_answer, send_request, withdraw_request
from copycat.runs.trainer_lock import trainer_lives
from copycat.runs.writing import RunError

Action = Literal["stop", "finish", "checkpoint", "pictures", "weights", "plan"]
ACTIONS: tuple[Action, ...] = ("stop", "finish", "checkpoint", "pictures", "weights", "plan")
_UNANSWERED = ("stop", "finish")
_LOOK_SECONDS = 0.05


def ask(
    data_directory: str | Path,
    action: Action,
    run_name: str | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    preview: str | Path = "",
    timeout: float = 60.0,
) -> Run:
    """Sends a request to the trainer of a run.

    Args:
        data_directory: the Data Directory.
        action: ``stop`` and save; ``finish`` soon; write a ``checkpoint``; write ``pictures`` (contact sheet and
            preview) or the newest ``weights`` (``<run>_live.cat``) now; or change the ``plan`` to ``epochs`` or to
            ``minutes``, counted from the run's start.
        run_name: which run, by default the newest.
        epochs, minutes: the new plan.
        preview: for ``pictures``, the frame that previews show from now on.
        timeout: seconds to wait for the answer; a step can take long. Stop and finish are not waited for.

    Returns:
        The run.

    Raises:
        RunError: there is no such run, nobody trains it, or its trainer refuses or does not answer.
    """
    run = find_run(Path(data_directory).expanduser(), run_name)
    knobs = {"epochs": epochs, "minutes": minutes, "preview": os.path.abspath(preview) if str(preview) else None}
    given = {name: value for name, value in knobs.items() if value is not None}
    allowed = {"plan": {"epochs", "minutes"}, "pictures": {"preview"}}.get(action, set())
    if action not in ACTIONS:
        raise RunError(f"{action!r} cannot be asked of a trainer; it knows {', '.join(ACTIONS)}")
    if unfit := next((name for name in given if name not in allowed), ""):
        raise RunError(f"{action} takes no {unfit}")
    if action == "plan" and not given:
        raise RunError("a plan needs epochs or minutes")
    if not trainer_lives(run):
        raise RunError(f"run {run.name} is not being trained")
    request = Request(action, knobs=given)
    send_request(run, request)
    if action not in _UNANSWERED:
        _wait(run, request, timeout)
    return run


def _wait(run: Run, request: Request, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        alive = trainer_lives(run)
        refusal = read_answer(run, request)
        if refusal:
            raise RunError(refusal)
        if refusal is not None:
            return
        if not alive:
            break
        time.sleep(_LOOK_SECONDS)
    withdraw_request(run, request)
    raise RunError(f"the trainer of {run.name} did not answer: it has ended, or a step takes longer than {timeout:g} s")
