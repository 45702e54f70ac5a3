"""copycat: train a small network on a few frames of a shot and apply it to the whole shot.

The names below are imported on first use, so that ``import copycat`` costs nothing and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Settings": "copycat.config",
    "InferenceSettings": "copycat.config",
    "CopycatError": "copycat.errors",
    "Pair": "copycat.frame_pairs",
    "train": "copycat.trainer",
    "resume": "copycat.trainer",
    "load": "copycat.inference",
    "infer": "copycat.inference",
    "suggest": "copycat.next_frame",
    "export": "copycat.exporter",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from copycat.config import InferenceSettings as InferenceSettings
    from copycat.config import Settings as Settings
    from copycat.errors import CopycatError as CopycatError
    from copycat.exporter import export as export
    from copycat.frame_pairs import Pair as Pair
    from copycat.inference import infer as infer
    from copycat.inference import load as load
    from copycat.next_frame import suggest as suggest
    from copycat.trainer import resume as resume
    from copycat.trainer import train as train


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'copycat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
