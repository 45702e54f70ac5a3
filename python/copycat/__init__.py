"""copycat: train a small network on a few frames of a shot and apply it to the whole shot.

The names below are imported on first use, so that ``import copycat`` costs nothing and does not load torch. Functions
raise CopycatError, with one sentence, for everything that goes wrong.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Settings": "copycat.settings.tables",
    "InferenceSettings": "copycat.settings.tables",
    "CopycatError": "copycat.errors",
    "Pair": "copycat.sequence.pairs",
    "train": "copycat.training.start",
    "resume": "copycat.training.start",
    "load": "copycat.inference.model",
    "infer": "copycat.inference.render",
    "RenderError": "copycat.inference.render",
    "review": "copycat.inference.review",
    "export": "copycat.inference.export",
    "ask": "copycat.runs.asking",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from copycat.errors import CopycatError as CopycatError
    from copycat.inference.export import export as export
    from copycat.inference.model import load as load
    from copycat.inference.render import RenderError as RenderError
    from copycat.inference.render import infer as infer
    from copycat.inference.review import review as review
    from copycat.runs.asking import ask as ask
    from copycat.sequence.pairs import Pair as Pair
    from copycat.settings.tables import InferenceSettings as InferenceSettings
    from copycat.settings.tables import Settings as Settings
    from copycat.training.start import resume as resume
    from copycat.training.start import train as train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        if inspect.isfunction(value):
            from copycat.boundary import guarded

            value = guarded(value)
        globals()[name] = value  # the next use finds it without this function
        return value
    raise AttributeError(f"module 'copycat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
