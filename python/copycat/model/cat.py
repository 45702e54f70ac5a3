"""The .cat file: a trained model, deployable. Reading one never runs code.

A .cat is a safetensors file. Its tensors are the network's weights (averaged over the last steps), float32 (bfloat16 in
those that the package ships), and its clean plate, half, under the names of :class:`copycat.model.network.Network`;
where the clean plate moves, the painted frames (:mod:`copycat.data.painted_frames`) in its stead. Its metadata has one
entry, ``copycat``, a JSON object:

======================  ==============================================================================================
``format``              version of this format, 2, or 3 with a clean plate that moves; readers refuse a newer one
``modelSize``           Small, Medium or Large, for people; readers use the row
``row``                 the network's row: width and numbers of blocks (:class:`copycat.model.network.Row`)
``channelsIn``          names of the input channels in order
``channelsOut``         names of the output channels in order
``residual``            for each output channel, the input channel it starts from, or -1
``plateSize``           height and width of the network's clean plate, or null
``plateMoves``          whether each frame gets a clean plate of its own; without it none does
``inputEncoding``       value encoding and normalisation of the input channels (log_scale, mean, std)
``targetEncoding``      the same of the output channels, and which of them are mattes, kept within 0 and 1 (matte)
``level``               downsampling level (4, 2, 1) of the last step
``step``, ``loss``      step and last loss
``settings``            every knob of the training
``dataHash``            SHA-256 of the training frames as read
``run``, ``copycat``    run name and version of copycat
``sources``             of weights that the package ships: what they were trained on, a sentence for each picture
======================  ==============================================================================================
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from copycat import __version__, ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset
from copycat.data.painted_frames import PaintedFrames, is_tensor_of_painted
from copycat.errors import CopycatError
from copycat.model.network import ROWS, Network, Row
from copycat.runs import head_of, open_regular, write_whole

FORMAT = 3
_FORMAT_STILL = 2  # of models that older readers can read
# Format 1 has the size only; these are its networks.
_FIRST_ROWS = {"Small": Row(32), "Medium": Row(48), "Large": Row(64)}
# Limits far above any model that copycat writes: a file beyond them is damaged or malicious.
_METADATA_LIMIT = 1 << 20
_MOST_CHANNELS = 1024
_LARGEST_SIDE = 1 << 14
_MOST_STEPS = 1 << 53
_LARGEST_SCALE = 1e6
_LEAST_STD, _LARGEST_STD = 1e-9, 1e30  # float32, with room for the arithmetic

_SNIFFED = 1 << 20


class ModelFileError(CopycatError):
    """A file is not a .cat that can be read; the message names the file and what it is."""


@dataclass(frozen=True)
class ModelHeader:
    """The header of a .cat; attributes as in the module's table."""

    row: Row
    channels_in: tuple[str, ...]
    channels_out: tuple[str, ...]
    residual: tuple[int, ...]
    input_encoding: ops.Encoding
    target_encoding: ops.Encoding
    plate_size: tuple[int, int] | None = None
    plate_moves: bool = False
    level: int = 1
    step: int = 0
    loss: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    run: str = ""
    sources: tuple[str, ...] = ()

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
            plate_moves=data.painted is not None,
            data_hash=data.data_hash,
        )

    @property
    def plate(self) -> clean_plate.Kind:
        """The clean plate that the network gets."""
        return "none" if self.plate_size is None else "moving" if self.plate_moves else "still"

    @property
    def model_size(self) -> str:
        """The Model Size that has this row; Custom if none has, because the rows of sizes may change."""
        return next((size for size, row in ROWS.items() if row == self.row), "Custom")

    @property
    def saw_bad_pixels(self) -> bool:
        """Whether the training frames may have had NaN and infinite pixels, which the network then saw as 0."""
        return self.settings.get("nonFinite") == "Mask"

    def network(self) -> Network:
        """An untrained network of this shape."""
        return Network(self.row, len(self.channels_in), self.residual, self.plate_size, self.plate_moves)

    def outline(self) -> Network:
        """The network's shapes without memory for weights: a header may claim more memory than any machine has."""
        with torch.device("meta"):
            return self.network()

    def to_json(self) -> str:
        """The ``copycat`` entry of the metadata."""
        return json.dumps(
            {
                "format": FORMAT if self.plate_moves else _FORMAT_STILL,
                "copycat": __version__,
                "run": self.run,
                "modelSize": self.model_size,
                "row": asdict(self.row),
                "channelsIn": self.channels_in,
                "channelsOut": self.channels_out,
                "residual": self.residual,
                "plateSize": self.plate_size,
                **({"plateMoves": True} if self.plate_moves else {}),
                "inputEncoding": self.input_encoding.to_dict(),
                "targetEncoding": self.target_encoding.to_dict(),
                "level": self.level,
                "step": self.step,
                "loss": self.loss,
                "settings": dict(self.settings),
                "dataHash": self.data_hash,
                "sources": self.sources,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ModelHeader:
        """The inverse of :meth:`to_json`; raises KeyError, TypeError or ValueError if something does not fit."""
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates are no text
        row = Row.from_dict(value["row"]) if value["format"] > 1 else _FIRST_ROWS[value["modelSize"]]
        header = cls(
            row=row,
            channels_in=tuple(map(str, value["channelsIn"])),
            channels_out=tuple(map(str, value["channelsOut"])),
            residual=tuple(map(int, value["residual"])),
            input_encoding=ops.Encoding.from_dict(value["inputEncoding"]),
            target_encoding=ops.Encoding.from_dict(value["targetEncoding"]),
            plate_size=_plate_size(value.get("plateSize")),
            plate_moves=value.get("plateMoves") is True,
            level=_within(int(value["level"]), 1, 4),
            step=_within(int(value["step"]), 0, _MOST_STEPS),
            loss=_loss(value["loss"]),
            settings=_settings(value["settings"]),
            data_hash=str(value["dataHash"]),
            run=str(value["run"]),
            sources=tuple(map(str, value.get("sources", ()))),
        )
        count_in, count_out = len(header.channels_in), len(header.channels_out)
        fits = 0 < count_in <= _MOST_CHANNELS and 0 < count_out <= _MOST_CHANNELS
        fits &= not header.plate_moves or (header.plate_size is not None and min(header.residual, default=-1) >= 0)
        fits &= len(header.residual) == count_out and all(-1 <= i < count_in for i in header.residual)
        if not (fits and _is_of(header.input_encoding, count_in) and _is_of(header.target_encoding, count_out)):
            raise ValueError("its channels do not fit together")
        return header


def _plate_size(value: Any) -> tuple[int, int] | None:
    """Height and width of a clean plate, if a shot can have it."""
    if value is None:
        return None
    height, width = map(int, value)
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
        raise ValueError(f"a clean plate of {width}x{height}")
    return height, width


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError(f"{number} lies outside of {least} to {most}")
    return number


def _loss(value: Any) -> float | None:
    loss = None if value is None else float(value)
    return loss if loss is not None and math.isfinite(loss) else None


def _settings(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("its settings are no JSON object")
    return value


def _is_of(encoding: ops.Encoding, channels: int) -> bool:
    """Whether an encoding is one of so many channels and can be computed, forward and back, in float32."""
    return (
        len(encoding.log_scale) == len(encoding.mean) == len(encoding.std) == channels
        and len(encoding.matte) in (0, channels)
        and all(scale == 0 or 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE for scale in encoding.log_scale)
        and all(abs(mean) <= _LARGEST_STD for mean in encoding.mean)
        and all(_LEAST_STD <= std <= _LARGEST_STD for std in encoding.std)
    )


def save(
    path: Path,
    header: ModelHeader,
    weights: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    painted: PaintedFrames | None = None,
) -> None:
    """Writes a .cat, whole or not at all.

    Args:
        path: the file.
        header: of the file.
        weights: state dict of the network, float32 and the clean plate half, on any device.
        dtype: to store them in; the clean plate stays half.
        painted: the painted frames of a model whose clean plate moves.
    """

    def stored(tensor: Tensor) -> Tensor:
        return tensor.detach().to(tensor.dtype if tensor.dtype == torch.half else dtype).cpu().contiguous()

    tensors = {name: stored(tensor) for name, tensor in weights.items()}
    if painted is not None:
        tensors |= painted.tensors()
    write_whole(Path(path), safetensors.torch.save(tensors, {"copycat": header.to_json()}))


def read_header(path: str | Path) -> ModelHeader:
    """Reads the header of a .cat, without its weights.

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
    head = _read_head(path)
    header = _parse_header(path, head)
    expected = {name: list(tensor.shape) for name, tensor in header.outline().state_dict().items()}
    for name, shape in expected.items():
        entry = head.get(name)
        stored = entry.get("shape") if isinstance(entry, dict) else None
        if stored != shape:
            actual = str(tuple(stored))[:100] if isinstance(stored, list) else "missing"
            raise ModelFileError(f"{path}: weight {name} is {actual}, the network needs {tuple(shape)}")
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            tensors = safetensors.torch.load(stream.read())
        weights = {name: tensors[name].float() for name in expected if tensors[name].is_floating_point()}
    except Exception as error:  # safetensors raises an undocumented class of its own
        raise ModelFileError(f"{path}: the model file is damaged: {error}") from error
    for name in expected:
        if name not in weights or not weights[name].isfinite().all():
            raise ModelFileError(f"{path}: weight {name} has values that are no finite numbers")
    return header, weights


def load_painted(path: str | Path, header: ModelHeader) -> PaintedFrames | None:
    """Reads the painted frames of a model whose clean plate moves; None for other models.

    Raises:
        ModelFileError: they are damaged.
    """
    if not header.plate_moves:
        return None
    try:
        with safetensors.safe_open(path, "pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys() if is_tensor_of_painted(name)}  # noqa: SIM118
        return PaintedFrames.from_tensors(tensors, header.target_encoding)
    except Exception as error:  # safetensors raises an undocumented class of its own
        raise ModelFileError(f"{path}: the painted frames in the model file are damaged: {error}") from error


def _read_head(path: Path) -> dict[str, Any]:
    """The safetensors header, or ModelFileError saying what the file is instead."""
    try:
        with os.fdopen(open_regular(path), "rb") as stream:
            head = head_of(stream)
            if head is not None:
                return head
            stream.seek(0)
            sniffed = stream.read(_SNIFFED)
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _SNIFFED))
            sniffed += stream.read()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: the model file does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path}: the model file cannot be read: {reason}") from error
    # Nuke's CatFileCreator wraps a TorchScript archive (a zip that holds code/__torch__) in its own container.
    if b"oundry" in sniffed or (b"PK\x03\x04" in sniffed and b"__torch__" in sniffed):
        raise ModelFileError(f"{path}: this is Nuke's .cat; copycat cannot read it")
    raise ModelFileError(f"{path}: this is not a .cat of copycat")


def _parse_header(path: Path, head: Mapping[str, Any]) -> ModelHeader:
    metadata = head.get("__metadata__")
    text = metadata.get("copycat") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelFileError(f"{path}: this is a safetensors file, but not a .cat of copycat")
    if len(text) > _METADATA_LIMIT:
        raise ModelFileError(f"{path}: the model file's header is damaged: it is {len(text)} characters long")
    try:
        version = json.loads(text)["format"]
        if version > FORMAT:
            raise ModelFileError(
                f"{path}: was written by a newer copycat (format {version}); this one reads up to format {FORMAT}"
            )
        return ModelHeader.from_json(text)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelFileError(f"{path}: the model file's header is damaged: {error}") from error
