"""The .cat file: a trained model, deployable. Reading one never runs code.

A .cat is a safetensors file. Its tensors are the network's weights (averaged over the last steps), float32 (bfloat16 in
those that the package ships), and its clean plate, half, under the names of :class:`copycat.model.network.Network`. Its
metadata hold one entry, ``copycat``, a JSON object:

======================  ==============================================================================================
``format``              version of this format, 2; readers refuse a newer one
``modelSize``           Small, Medium or Large, for people; what counts is the row
``row``                 the network's row: width and numbers of blocks (:class:`copycat.model.network.Row`)
``channelsIn``          names of the input channels in order
``channelsOut``         names of the output channels in order
``residual``            for each output channel, the input channel it starts from, or -1
``plateSize``           height and width of the clean plate that the network is told, or null
``inputEncoding``       value encoding and normalisation of the input channels (log_scale, mean, std)
``targetEncoding``      the same of the output channels, and which of them are mattes, kept within 0 and 1 (matte)
``level``               downsampling level (4, 2, 1) that was being trained
``step``, ``loss``      step and last loss
``settings``            every knob of the training
``dataHash``            SHA-256 over the training frames as they were read
``run``, ``copycat``    run name and version of copycat
======================  ==============================================================================================
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from copycat import __version__, ops
from copycat.data.dataset import Dataset
from copycat.errors import CopycatError
from copycat.model.network import ROWS, Network, Row
from copycat.runs import write_whole

FORMAT = 2
# Format 1 named the size only; these were its networks.
_FIRST_ROWS = {"Small": Row(32), "Medium": Row(48), "Large": Row(64)}
_HEADER_LIMIT = 100_000_000
_SNIFFED = 1 << 20
_MOST_CHANNELS = 1024
_LARGEST_SIDE = 1 << 14


class ModelFileError(CopycatError):
    """A file is not a .cat that can be read; the message names the file and what it is."""


@dataclass(frozen=True)
class ModelHeader:
    """What a .cat says about its weights; attributes as in the module's table."""

    row: Row
    channels_in: tuple[str, ...]
    channels_out: tuple[str, ...]
    residual: tuple[int, ...]
    input_encoding: ops.Encoding
    target_encoding: ops.Encoding
    plate_size: tuple[int, int] | None = None
    level: int = 1
    step: int = 0
    loss: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    run: str = ""

    @classmethod
    def for_dataset(cls, data: Dataset, row: Row) -> ModelHeader:
        """The header of an untrained model of ``row`` for a data set."""
        plate = data.clean_plate
        return cls(
            row=row,
            channels_in=data.input_channels,
            channels_out=data.target_channels,
            residual=data.residual,
            input_encoding=data.input_encoding,
            target_encoding=data.target_encoding,
            plate_size=None if plate is None else (plate.shape[1], plate.shape[2]),
            data_hash=data.data_hash,
        )

    @property
    def model_size(self) -> str:
        """Which Model Size has this row; Custom where none has, as what a size is may change."""
        return next((size for size, row in ROWS.items() if row == self.row), "Custom")

    @property
    def saw_bad_pixels(self) -> bool:
        """Whether the training frames may have had NaN and infinite pixels, which the network then saw as 0."""
        return self.settings.get("nonFinite") == "Mask"

    def network(self) -> Network:
        """A network of this shape, not yet trained."""
        return Network(self.row, len(self.channels_in), self.residual, self.plate_size)

    def outline(self) -> Network:
        """The network's shapes alone, without memory for weights: a header may claim more than any machine has."""
        with torch.device("meta"):
            return self.network()

    def to_json(self) -> str:
        """The ``copycat`` entry of the metadata."""
        return json.dumps(
            {
                "format": FORMAT,
                "copycat": __version__,
                "run": self.run,
                "modelSize": self.model_size,
                "row": asdict(self.row),
                "channelsIn": self.channels_in,
                "channelsOut": self.channels_out,
                "residual": self.residual,
                "plateSize": self.plate_size,
                "inputEncoding": self.input_encoding.to_dict(),
                "targetEncoding": self.target_encoding.to_dict(),
                "level": self.level,
                "step": self.step,
                "loss": self.loss,
                "settings": dict(self.settings),
                "dataHash": self.data_hash,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ModelHeader:
        """The inverse of :meth:`to_json`; raises KeyError, TypeError or ValueError where it does not fit."""
        value = json.loads(text)
        row = Row.from_dict(value["row"]) if value["format"] > 1 else _FIRST_ROWS[value["modelSize"]]
        header = cls(
            row=row,
            channels_in=tuple(map(str, value["channelsIn"])),
            channels_out=tuple(map(str, value["channelsOut"])),
            residual=tuple(map(int, value["residual"])),
            input_encoding=ops.Encoding.from_dict(value["inputEncoding"]),
            target_encoding=ops.Encoding.from_dict(value["targetEncoding"]),
            plate_size=_plate_size(value.get("plateSize")),
            level=int(value["level"]),
            step=int(value["step"]),
            loss=value["loss"],
            settings=value["settings"],
            data_hash=str(value["dataHash"]),
            run=str(value["run"]),
        )
        count_in, count_out = len(header.channels_in), len(header.channels_out)
        fits = 0 < count_in <= _MOST_CHANNELS and 0 < count_out <= _MOST_CHANNELS
        fits &= len(header.residual) == count_out and all(-1 <= i < count_in for i in header.residual)
        if not (fits and _is_of(header.input_encoding, count_in) and _is_of(header.target_encoding, count_out)):
            raise ValueError("its channels do not fit together")
        return header


def _plate_size(value: Any) -> tuple[int, int] | None:
    """Height and width of a clean plate that is not so large that no shot can have it."""
    if value is None:
        return None
    height, width = map(int, value)
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
        raise ValueError(f"a clean plate of {width}x{height}")
    return height, width


def _is_of(encoding: ops.Encoding, channels: int) -> bool:
    """Whether an encoding is one of so many channels and can be inverted."""
    lists = (encoding.log_scale, encoding.mean, encoding.std)
    finite = all(math.isfinite(value) for values in lists for value in values)
    fits = {len(values) for values in lists} == {channels} and len(encoding.matte) in (0, channels)
    return finite and fits and min(encoding.std) > 0


def save(path: Path, header: ModelHeader, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Writes a .cat, whole or not at all.

    Args:
        path: the file.
        header: what it says.
        weights: state dict of the network, float32 and the clean plate half, on any device.
        dtype: to store them in; the clean plate stays half.
    """

    def stored(tensor: Tensor) -> Tensor:
        return tensor.detach().to(tensor.dtype if tensor.dtype == torch.half else dtype).cpu().contiguous()

    tensors = {name: stored(tensor) for name, tensor in weights.items()}
    write_whole(Path(path), safetensors.torch.save(tensors, {"copycat": header.to_json()}))


def read_header(path: str | Path) -> ModelHeader:
    """Reads what a .cat says about itself, without its weights.

    Raises:
        ModelFileError: the file is missing, is no .cat, is Nuke's, or is of a newer format.
    """
    return _parse_header(Path(path), _read_head(Path(path)))


def load(path: str | Path) -> tuple[ModelHeader, dict[str, Tensor]]:
    """Reads a .cat.

    Returns:
        The header and the weights by name, float32, on the CPU.

    Raises:
        ModelFileError: as :func:`read_header`; also when the weights are torn or do not fit the network.
    """
    path = Path(path)
    header = read_header(path)
    try:
        weights = safetensors.torch.load(path.read_bytes())
    except Exception as error:  # safetensors raises an undocumented class of its own
        raise ModelFileError(f"{path}: the model file is damaged: {error}") from error
    expected = {name: tensor.shape for name, tensor in header.outline().state_dict().items()}
    for name, shape in expected.items():
        if name not in weights or weights[name].shape != shape:
            got = tuple(weights[name].shape) if name in weights else "missing"
            raise ModelFileError(f"{path}: weight {name} is {got}, the network needs {tuple(shape)}")
    return header, {name: weights[name].float() for name in expected}


def _read_head(path: Path) -> dict[str, Any]:
    """The safetensors header, or ModelFileError saying what the file is instead."""
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if 2 <= size <= _HEADER_LIMIT:
                text = stream.read(size)
                if len(text) == size and text[:1] == b"{":
                    with contextlib.suppress(ValueError, RecursionError):
                        value = json.loads(text)
                        if isinstance(value, dict):
                            return value
            stream.seek(0)
            sniffed = stream.read(_SNIFFED)
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _SNIFFED))
            sniffed += stream.read()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: the model file does not exist") from None
    except OSError as error:
        raise ModelFileError(f"{path}: the model file cannot be read: {error.strerror or error}") from error
    # Nuke's CatFileCreator wraps a TorchScript archive (a zip that holds code/__torch__) in its own container.
    if b"oundry" in sniffed or (b"PK\x03\x04" in sniffed and b"__torch__" in sniffed):
        raise ModelFileError(f"{path}: this is Nuke's .cat; copycat cannot read it")
    raise ModelFileError(f"{path}: this is not a .cat of copycat")


def _parse_header(path: Path, head: Mapping[str, Any]) -> ModelHeader:
    metadata = head.get("__metadata__")
    text = metadata.get("copycat") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelFileError(f"{path}: this is a safetensors file, but not a .cat of copycat")
    try:
        version = json.loads(text)["format"]
        if version > FORMAT:
            raise ModelFileError(
                f"{path}: was written by a newer copycat (format {version}); this one reads up to format {FORMAT}"
            )
        return ModelHeader.from_json(text)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelFileError(f"{path}: the model file's header is damaged: {error}") from error
