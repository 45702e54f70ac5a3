"""Unexpected exceptions: a sentence for the user, the traceback for a log. Standard library only."""

from __future__ import annotations

import functools
import logging
import logging.handlers
import os
from pathlib import Path

_LONGEST = 300  # characters of an exception's own text in a sentence


def log_file(program: str) -> Path:
    """The log of a program, ``worker`` or ``progress``, in the user's state directory (XDG Base Directory)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return folder / "copycat" / f"{program}.log"


def explain(error: BaseException, program: str, console: bool = True) -> str:
    """Writes the traceback of an unexpected exception to the program's log. Any thread.

    Args:
        error: the exception.
        program: names the log.
        console: write it to standard error too, so that a host's own console has it.

    Returns:
        One sentence for the user, with the path of the log.
    """
    text = " ".join(str(error).split())[:_LONGEST]
    sentence = f"copycat failed: {type(error).__name__}{': ' if text else ''}{text}"
    file = log_file(program)
    logger = _logger(file, console)
    logger.error(sentence, exc_info=error)
    is_logged = any(isinstance(handler, logging.FileHandler) for handler in logger.handlers)
    return f"{sentence} (details: {file})" if is_logged else f"{sentence} ({file} cannot be written)"


@functools.cache
def _logger(file: Path, console: bool) -> logging.Logger:
    logger = logging.Logger("copycat")
    if console:
        logger.addHandler(logging.StreamHandler())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=1 << 20, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    except OSError:  # a read-only home
        return logger
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    logger.addHandler(handler)
    return logger
