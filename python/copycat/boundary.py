"""Turns unexpected exceptions of the command line and the Python API into one sentence, with the traceback in a log."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from copycat.errors import CopycatError, UnexpectedError
from copycat.fault_log import explain

_Result = TypeVar("_Result")
_PROGRAM = "copycat"  # names the log


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
        raise UnexpectedError(explain(error, _PROGRAM, console=False)) from error


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
