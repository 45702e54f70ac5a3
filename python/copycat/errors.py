"""Errors that a user can act on, and the boundary at which every other exception becomes one. Standard library only."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_LONGEST = 300  # characters of an exception's own text in a sentence


class CopycatError(Exception):
    """Something the user can put right: one sentence that names the file or knob and the value.

    The command line prints it and exits with 1, hosts show it as a message. Every other exception is a bug.
    """

    def __init__(self, sentence: str = "") -> None:
        """Takes the sentence; bytes of a file name that are not UTF-8 are written as ``\\udcff``."""
        super().__init__(sentence.encode("utf-8", "backslashreplace").decode())


class UnexpectedError(CopycatError):
    """An exception that copycat did not foresee, as one sentence; ``__cause__`` is the exception itself.

    Attributes:
        log: the file that holds the traceback, "" if none could be written.
    """

    def __init__(self, error: Exception) -> None:
        self.log = _write_log(error)
        text = " ".join(str(error).split())[:_LONGEST]
        where = f"the traceback is in {self.log}" if self.log else "no log file could be written"
        super().__init__(f"unexpected {type(error).__name__}{': ' if text else ''}{text}; {where}")


@contextmanager
def boundary() -> Iterator[None]:
    """Turns unexpected exceptions into `UnexpectedError`. A caller's own exception, see `guarded`, passes unchanged."""
    try:
        yield
    except CopycatError:
        raise
    except Exception as error:
        if getattr(error, "_copycat_caller", False):
            raise
        raise UnexpectedError(error) from error


def guarded(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """A public function behind the boundary; what the caller's ``progress``, ``warn`` or callbacks raise passes it."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> _Result:
        signature.bind(*values, **named)  # a wrong call is a TypeError, as for any function
        with boundary():
            return function(*values, **{name: _of_caller(value) for name, value in named.items()})

    return call


def _of_caller(value: Any) -> Any:
    if not inspect.isroutine(value):
        return value

    @functools.wraps(value)
    def call(*values: Any, **named: Any) -> Any:
        try:
            return value(*values, **named)
        except Exception as error:
            error._copycat_caller = True  # type: ignore[attr-defined]
            raise

    return call


def _write_log(error: Exception) -> str:
    try:
        descriptor, path = tempfile.mkstemp(prefix="copycat-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{sys.argv}\nPython {sys.version}\n\n{''.join(traceback.format_exception(error))}")
        return path
    except OSError:
        return ""
