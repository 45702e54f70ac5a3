"""The user's functions that are called while training or rendering.

In a training the whole run is the render and a step is a frame. On the command line and in Python a callback is a
callable or ``module:function``, which Python imports. Hosts look names up in folders that the user listed and nowhere
else, and a resume ignores the names that a stored run holds: opening someone's project or run never runs code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from copycat.errors import CopycatError
from copycat.settings.knob import Table

Callback = Callable[[Mapping[str, Any]], object]
_Settings = TypeVar("_Settings", bound=Table)


class CallbackError(CopycatError):
    """A callback cannot be found, or raised; the message names it and says what it raised."""


@dataclass(frozen=True)
class Callbacks:
    """The five callbacks; each is called with one mapping of facts, in the thread that trains or renders.

    Keys: ``run`` or ``model``, ``frame`` (the step or frame), ``first``, ``last``, ``loss`` (as last read back),
    ``progress`` (0 to 1); ``render_progress`` and ``after_render`` also have ``error`` (None, or a sentence).
    """

    before_render: Callback | None = None
    before_frame_render: Callback | None = None
    after_frame_render: Callback | None = None
    after_render: Callback | None = None
    render_progress: Callback | None = None

    @classmethod
    def resolve(cls, **named: Callback | str | None) -> Callbacks:
        """Imports ``module:function`` names; an empty name stands for no callback.

        Raises:
            CallbackError: a module or function cannot be found.
        """
        return cls(**{name: _find(name, value) for name, value in named.items()})

    def call(self, name: str, **facts: Any) -> None:
        """Calls one callback if it is set.

        Raises:
            CallbackError: the callback raised.
        """
        callback: Callback | None = getattr(self, name)
        if callback is None:
            return
        try:
            callback(facts)
        except Exception as error:
            who = getattr(callback, "__qualname__", repr(callback))
            raise CallbackError(f"{name} callback {who}: {type(error).__name__}: {error}") from error


CALLBACK_NAMES = tuple(field.name for field in fields(Callbacks))


def with_callbacks(
    settings: _Settings, callbacks: Callbacks | None, knobs: Mapping[str, Any]
) -> tuple[_Settings, Callbacks]:
    """Applies keyword arguments to settings, and resolves the five callbacks.

    Args:
        settings: knobs, among them names of callbacks.
        callbacks: callables that take precedence over the names in ``settings``.
        knobs: fields to change; a callback is a name or a callable here, and a callable takes precedence over all.

    Returns:
        The changed settings and the callbacks.

    Raises:
        SettingsError: a field is unknown, or a value does not fit.
        CallbackError: a callback cannot be found.
    """
    functions = {name: knobs[name] for name in CALLBACK_NAMES if callable(knobs.get(name))}
    plain = {name: value for name, value in knobs.items() if name not in functions}
    settings = settings.replace(**plain)
    named = {
        name: functions.get(name) or getattr(callbacks, name, None) or getattr(settings, name)
        for name in CALLBACK_NAMES
    }
    return settings, Callbacks.resolve(**named)


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
