"""Starts a training with the pairs and knobs that were entered on the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from copycat.errors import CopycatError
from copycat.runs import Run
from copycat.runs.launch import Trainings, claim_new_run, refuse_second_start
from copycat.settings.tables import Settings

_deciding = threading.Lock()  # two presses at once


def start_training(trainings: Trainings, directory: Path, pairs: Sequence[tuple[str, str]], settings: Settings) -> Run:
    """Starts ``copycat train`` in a new run. Any thread.

    Args:
        trainings: starts the process.
        directory: the page's Data Directory.
        pairs: (Input, Ground Truth) sequences.
        settings: all knobs; the Data Directory among them is not used.

    Returns:
        The run, which is starting.

    Raises:
        CopycatError: there is no pair, or half of one, or another training is starting.
    """
    named = [(first.strip(), second.strip()) for first, second in pairs if first.strip() or second.strip()]
    if not named:
        raise CopycatError("name the Input and the Ground Truth to train on")
    for first, second in named:
        if not first or not second:
            raise CopycatError(f"{first or second}: Input and Ground Truth belong together; one of them is empty")
        if first.startswith("-") or second.startswith("-"):
            raise CopycatError(f"{first if first.startswith('-') else second} is not the name of a sequence")
    knobs = {name: value for name, value in settings.to_dict().items() if name != "dataDirectory"}
    more = [word for pair in named[1:] for word in ("--pair", *pair)]
    with _deciding:
        refuse_second_start(directory)
        run = claim_new_run(directory)
        options = ["--data-directory", str(directory), "--run-name", run.name, "--settings", "/dev/stdin"]
        trainings.start(run, ["train", *named[0], *more, *options], json.dumps(knobs).encode())
    return run
