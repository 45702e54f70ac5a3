"""Finds the newest model of a Data Directory, for the scripts in nuke/ and natron/.

Runs in the host's own Python 3, where copycat is not installed: standard library only.
"""

import json
import os
import re

COPYCAT = "org.copycat.CopyCat"
INFERENCE = "org.copycat.Inference"
_CHECKPOINT = re.compile(r"(?P<run>.+)_(?P<step>[0-9]+)\.cat")


def newest_model(directory):
    """The newest checkpoint of the Data Directory's active run, else of the run that was written to last.

    Args:
        directory: the value of the knob Data Directory.

    Returns:
        The path of the .cat, or None when there is none.
    """
    directory = os.path.expanduser(directory)
    try:
        names = os.listdir(directory)
    except OSError:
        return None
    steps = {}
    for name in names:
        match = _CHECKPOINT.fullmatch(name)
        if match:
            steps.setdefault(match.group("run"), []).append(int(match.group("step")))
    if not steps:
        return None
    run = _active(directory)
    if run not in steps:
        run = max(steps, key=lambda name: (_modified(os.path.join(directory, name + ".summary")), name))
    return os.path.join(directory, f"{run}_{max(steps[run])}.cat").replace(os.sep, "/")


def _active(directory):
    try:
        with open(os.path.join(directory, "copycat.json"), encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value.get("active") if isinstance(value, dict) else None


def _modified(path):
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
