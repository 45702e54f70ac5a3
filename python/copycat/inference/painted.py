"""Which frames a model was trained on, as the files that its run left beside it say."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from copycat.inference.model import Model
from copycat.runs import Run, RunError, read_provenance
from copycat.sequence import ImageSequence, SequenceError

_CHECKPOINT = re.compile(r"(?P<run>.+)_(?:[0-9]+|best|live)\.cat")


def run_of(model: Model) -> Run | None:
    """The run that a model is a checkpoint of; None if no file beside it says so."""
    match = _CHECKPOINT.fullmatch(model.path.name)
    with suppress(RunError):
        run = Run(model.path.parent, match["run"] if match else model.header.run)
        return run if run.provenance.is_file() else None
    return None


def is_plate_of(run: Run, plate: ImageSequence) -> bool:
    """Whether a run was trained on frames of this plate."""
    pairs = read_provenance(run).get("pairs")
    for pair in pairs if isinstance(pairs, list) else []:
        with suppress(SequenceError, KeyError, TypeError):
            if ImageSequence.parse(pair["input"]).path(1).absolute() == plate.path(1).absolute():
                return True
    return False


def trained_frames(run: Run, plate: ImageSequence) -> tuple[set[int], list[Path]]:
    """The frames that a run was trained on, from its ``.json``.

    Returns:
        The numbers of the plate's frames among them: frames whose file is the plate's, is gone, or was handed over by a
        host. And the files of all others that exist. Both are empty without a ``.json``.
    """
    there = set(plate.frames())
    painted, others = set(), []
    try:
        for entry in read_provenance(run)["frames"]:
            number, path = int(entry["frame"]), Path(entry["input"])
            handed_over = path.name.startswith(f"{run.name}_input.")
            if number in there and (handed_over or not os.path.exists(path) or path == plate.path(number).absolute()):
                painted.add(number)
            elif os.path.exists(path):
                others.append(path)
    except (KeyError, TypeError, ValueError):
        return set(), []
    return painted, others
