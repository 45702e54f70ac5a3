"""The .json beside an .onnx that describes the model to Flame's Inference node.

Names and values follow Autodesk's pages "Inference Builder" (Flame 2025) and "What's New in Flame 2025.2: Inference".
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from copycat import __version__
from copycat.errors import CopycatError
from copycat.model.cat import ModelHeader
from copycat.runs import read_json, write_whole

_AUTHOR = "Made by copycat"


class SidecarError(CopycatError):
    """The .json beside an .onnx is somebody else's."""


def sidecar(model: Path) -> Path:
    """The file that Flame reads beside a model."""
    return model.with_suffix(".json")


def check_sidecar(model: Path) -> None:
    """Raises SidecarError if the file exists and is not an earlier export's."""
    path = sidecar(model)
    description = read_json(path).get("ModelDescription") if os.path.exists(path) else {"Description": _AUTHOR}
    if not isinstance(description, dict) or not str(description.get("Description")).startswith(_AUTHOR):
        raise SidecarError(f"{path}: the export would overwrite this file, which no export of copycat wrote")


def write_sidecar(model: Path, header: ModelHeader, input_name: str, output_name: str) -> bool:
    """Describes an exported model to Flame, whose node takes and makes red, green, blue and a matte.

    Args:
        model: the .onnx.
        header: of the .cat.
        input_name, output_name: of the tensors.

    Returns:
        Whether Flame can use the model. If not, there is no file.
    """
    inputs, outputs = _sockets(header.channels_in), _sockets(header.channels_out)
    if not inputs or not outputs:
        sidecar(model).unlink(missing_ok=True)
        return False
    arrow = f"{','.join(header.channels_in)} -> {','.join(header.channels_out)}"
    description = {
        "MinimumVersion": "2025.2",  # the first with Channels
        "Name": model.stem,
        "Description": f"{_AUTHOR} {__version__}: {arrow}, run {header.run}, step {header.step}",
        "SupportsSceneLinear": any(header.input_encoding.log_scale),
        "KeepAspectRatio": False,
        "Padding": 1,  # the program pads by itself
        "Inputs": [
            {**_socket(input_name, channels), "Type": "Matte" if channels == "A" else "Front", "Gain": 1.0}
            for channels in inputs
        ],
        "Outputs": [
            {
                **_socket(output_name, channels),
                "Type": "OutMatte" if channels == "A" else "Result",
                "InverseGain": 1.0,
                "ScalingFactor": 1.0,
            }
            for channels in outputs
        ],
    }
    write_whole(sidecar(model), (json.dumps({"ModelDescription": description}, indent=4) + "\n").encode())
    return True


def _socket(name: str, channels: str) -> dict[str, Any]:
    return {"Name": name, "Description": "", "Channels": channels}


def _sockets(channels: Sequence[str]) -> list[str]:
    """The channels of each of Flame's sockets: colour, then the matte; empty if Flame has no such sockets."""
    leaves = [channel.rpartition(".")[2].upper() for channel in channels]
    if len(leaves) == 1:
        return ["A"]  # any single channel is a matte to Flame
    colour = leaves[:-1] if leaves[-1] == "A" else leaves
    if not set(colour) <= {"R", "G", "B"} or len(set(colour)) != len(colour):
        return []
    return ["".join(colour), *leaves[len(colour) :]]
