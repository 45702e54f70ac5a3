"""Unexpected exceptions: a sentence for the user, the traceback for a log. Standard library only."""

from __future__ import annotations

import functools
import logging
import logging.handlers
import os
from pathlib import Path


def log_file(program: str) -> Path:
    """The log of a program, ``worker`` or ``progress``, in the user's state directory (XDG Base Directory)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return folder / "copycat" / f"{program}.log"


def explain(error: BaseException, program: str) -> str:
    """Writes the traceback of an unexpected exception to the program's log. Any thread.

    Returns:
        One sentence for the user, with the path of the log.
    """
    sentence = f"copycat failed: {type(error).__name__}: {error}"
    file = log_file(program)
    _logger(file).error(sentence, exc_info=error)
    return f"{sentence} (details: {file})"


@functools.cache
def _logger(file: Path) -> logging.Logger:
    """Writes to the log and, so that a host's own console has it too, to standard error."""
    logger = logging.Logger("copycat")
    logger.addHandler(logging.StreamHandler())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(file, maxBytes=1 << 20, backupCount=1, encoding="utf-8")
    except OSError:  # a read-only home
        return logger
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    logger.addHandler(handler)
    return logger
