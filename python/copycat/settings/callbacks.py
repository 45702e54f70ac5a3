"""Functions of the user's that are called while training or rendering.

For a training the whole run is the render and a step is a frame; for Inference a frame is a frame. On the command line
and in Python a callback is a callable or ``module:function``, looked up as Python does. Hosts resolve names themselves,
only in folders that the user listed, so that opening someone's project never runs code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from copycat.errors import CopycatError

Callback = Callable[[Mapping[str, Any]], object]


class CallbackError(CopycatError):
    """A callback cannot be found, or raised; the message names it and says what it raised."""


@dataclass(frozen=True)
class Callbacks:
    """The five callbacks; each is called with one mapping of what is known at that time.

    Keys: ``run`` or ``model``, ``frame`` (the step or frame), ``first``, ``last``, ``loss`` (as last read back),
    ``progress`` (0 to 1), and for ``render_progress`` and ``after_render`` also ``error`` (None, or what went wrong).
    """

    before_render: Callback | None = None
    before_frame_render: Callback | None = None
    after_frame_render: Callback | None = None
    after_render: Callback | None = None
    render_progress: Callback | None = None

    @classmethod
    def resolve(cls, **named: Callback | str | None) -> Callbacks:
        """Turns ``module:function`` names into callables; empty names are none.

        Raises:
            CallbackError: a module or function cannot be found.
        """
        return cls(**{name: _find(name, value) for name, value in named.items()})

    def call(self, name: str, **known: Any) -> None:
        """Calls one callback if it is set.

        Raises:
            CallbackError: the callback raised.
        """
        callback: Callback | None = getattr(self, name)
        if callback is None:
            return
        try:
            callback(known)
        except Exception as error:
            who = getattr(callback, "__qualname__", repr(callback))
            raise CallbackError(f"{name} callback {who}: {type(error).__name__}: {error}") from error


CALLBACK_NAMES = tuple(field.name for field in fields(Callbacks))


def _find(name: str, value: Callback | str | None) -> Callback | None:
    if value is None or callable(value):
        return value
    if not value.strip():
        return None
    module, _, function = value.partition(":")
    try:
        found = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise CallbackError(
            f"{name} callback {value!r} cannot be found ({type(error).__name__}: {error}); name it as module:function"
        ) from error
    if not callable(found):
        raise CallbackError(f"{name} callback {value!r} is not a function")
    return found
