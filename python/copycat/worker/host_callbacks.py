"""Finds the callbacks that a host's project names, only in folders that the user listed: no project runs code.

The environment variable ``COPYCAT_CALLBACKS`` lists the folders, separated as in ``PATH``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from typing import Any

from copycat.settings.callbacks import CALLBACK_NAMES, CallbackError, Callbacks
from copycat.settings.tables import InferenceSettings, Settings


def folders() -> list[str]:
    """The folders in which callbacks may lie."""
    return [folder for folder in os.environ.get("COPYCAT_CALLBACKS", "").split(os.pathsep) if os.path.isabs(folder)]


def environment() -> dict[str, str]:
    """Variables with which a training finds its callbacks in these folders and nowhere else."""
    return {"PYTHONPATH": os.pathsep.join(folders())} if folders() else {}


def check(settings: Settings | InferenceSettings) -> dict[str, str]:
    """The callbacks that the settings name; the module of each lies in one of the folders.

    Raises:
        CallbackError: a module lies elsewhere or nowhere.
    """
    named = {name: getattr(settings, name) for name in CALLBACK_NAMES if getattr(settings, name).strip()}
    for name, value in named.items():
        module = value.partition(":")[0].partition(".")[0]
        if module in sys.stdlib_module_names or not importlib.machinery.PathFinder.find_spec(module, folders()):
            raise CallbackError(
                f"{name} callback {value!r} is named by the project, "
                f"but no folder of COPYCAT_CALLBACKS holds {module}.py"
            )
    return named


def resolve(settings: InferenceSettings) -> Callbacks:
    """The callbacks of an Inference effect.

    Raises:
        CallbackError: a module lies elsewhere or nowhere, or has no such function.
    """
    named: dict[str, Any] = check(settings)
    for folder in folders() if named else ():
        if folder not in sys.path:
            sys.path.append(folder)
            importlib.invalidate_caches()
    return Callbacks.resolve(**named)
