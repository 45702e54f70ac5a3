"""Presets: knob values for a kind of work, by their plain names. Standard library only.

Each preset sets the same knobs, so that one replaces another without leaving anything behind. What a user sets himself
takes precedence. All other knobs stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "None"

# Fields of Settings. Initial Weights give other work a start too: Deblur any work on colour, Human Matting any matte
# (``docs/explanation/benchmarks.md``). A grade changes each pixel by itself, so that weights which sharpen are no start
# for it.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "Roto": {
        "ground_truth_channels": "A",
        "matte": "On",
        "clean_plate": "Off",
        "initial_weights": "Human Matting",
        "difference_share": 0.5,
    },
    "Clean-up": {
        "ground_truth_channels": "rgb",
        "matte": "Off",
        "clean_plate": "Auto",
        "initial_weights": "Deblur",
        "difference_share": 0.75,
    },
    "Beauty": {
        "ground_truth_channels": "rgb",
        "matte": "Off",
        "clean_plate": "Off",
        "initial_weights": "Deblur",
        "difference_share": 0.75,
    },
    "Deblur": {
        "ground_truth_channels": "rgb",
        "matte": "Off",
        "clean_plate": "Off",
        "initial_weights": "Deblur",
        "difference_share": 0.5,
    },
    "Grade": {
        "ground_truth_channels": "rgb",
        "matte": "Off",
        "clean_plate": "Off",
        "initial_weights": "None",
        "difference_share": 0.0,
    },
}


def preset_values(name: str) -> dict[str, Any]:
    """The fields of Settings that a preset sets; none for ``None`` and for a name that is no preset."""
    return next((dict(values) for preset, values in PRESETS.items() if preset.lower() == str(name).lower()), {})
