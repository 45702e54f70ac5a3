"""Exports a model as a program that needs no copycat: TorchScript (Nuke's CatFileCreator) or ONNX (Flame, Houdini).

The program's input and output are file values: it includes value encoding, normalisation, padding to the network's
stride and their inverses. It uses only operators of torch 1.12, or of ONNX's operator set 17, and names neither device
nor dtype, so that a host may move it. Non-finite pixels are replaced before the network and restored after it.
"""

# No annotations from the future: TorchScript reads annotations.
import contextlib
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from copycat import __version__, ops
from copycat.errors import CopycatError
from copycat.inference.flame import check_sidecar, sidecar, write_sidecar
from copycat.inference.model import Model
from copycat.model import cat
from copycat.model.network import Network, changed
from copycat.runs import model_file, write_whole

FACTS_FILE = "copycat.json"
INPUT, OUTPUT = "input", "output"
_is_scripting = torch.jit.is_scripting  # type: ignore[attr-defined]  # not in torch's stubs


class ExportError(CopycatError):
    """A model cannot be exported in this format, or to this file."""


def export(model: Model | str | Path, path: str | Path) -> Path:
    """Writes a model as a program for other hosts, whole or not at all.

    The program maps [B, channels_in, H, W] to [B, channels_out, H, W], float32 values as in the file, for any B, H and
    W; TorchScript with a Clean Plate takes the shot's format and its half and quarter alone. Its origin (model size,
    channels, step, run, version of copycat) is in the entry ``copycat.json`` of a .pt, and in the metadata of an .onnx.
    Beside an .onnx lies a .json of the same name for Flame, if Flame has sockets for the model's channels.

    Args:
        model: a .cat, a run, or a Model, whose .cat is read again, in float32.
        path: file to write; ends in .pt for TorchScript, in .onnx for ONNX. Missing folders are made.

    Returns:
        The file that was written.

    Raises:
        ExportError: the name ends in something else, is that of the .cat itself, or the package onnx is missing.
        flame.SidecarError: the .json exists and is not an earlier export's.
        cat.ModelFileError: the .cat cannot be read.
        runs.RunError: the file cannot be written.
    """
    source = model.path if isinstance(model, Model) else model_file(os.path.expanduser(model))
    path = Path(os.path.expanduser(path))
    if path.suffix not in _FORMATS:
        raise ExportError(f"{path}: ends neither in .pt (TorchScript) nor in .onnx (ONNX)")
    header, weights = cat.load(source)
    for output in (path, sidecar(path)):
        if os.path.exists(output) and output.samefile(source):
            raise ExportError(f"{output}: the exported model would overwrite the .cat")
    if path.suffix == ".onnx":
        check_sidecar(path)
    if header.plate == "moving":
        raise ExportError(
            f"{source}: the model's Clean Plate is made anew for each frame, which an exported program cannot do; "
            "render it with copycat, or train one with Clean Plate Off"
        )
    network = header.network()
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    plate, network.clean_plate = network.clean_plate, None  # belongs to the program around the network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that TorchScript is old, and that a trace fixes some sizes
        data = _FORMATS[path.suffix](header, network, None if plate is None else plate.float())
    with contextlib.suppress(OSError):  # then the file cannot be written, which says why
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    if path.suffix == ".onnx":
        write_sidecar(path, header, INPUT, OUTPUT)
    return path


class _Values(nn.Module):
    """The value encoding of some channels: ``ops.normalize`` forward, and its inverse."""

    log_scale: Tensor
    mean: Tensor
    std: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, encoding: ops.Encoding) -> None:
        super().__init__()
        matte = encoding.matte or (False,) * len(encoding.std)
        numbers = {name: getattr(encoding, name) for name in ("log_scale", "mean", "std")}
        numbers["least"] = [0.0 if one else -math.inf for one in matte]
        numbers["most"] = [1.0 if one else math.inf for one in matte]
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logged = torch.sign(x) * torch.log1p(self.log_scale * torch.abs(x))
        return (torch.where(self.log_scale > 0, logged, x) - self.mean) / self.std

    def inverse(self, y: Tensor) -> Tensor:
        y = y * self.std + self.mean
        # ONNX has no expm1; the difference is far below the network's own rounding.
        linear = torch.sign(y) * (torch.exp(torch.abs(y)) - 1) / self.log_scale
        return torch.minimum(torch.maximum(torch.where(self.log_scale > 0, linear, y), self.least), self.most)


class _Program(nn.Module):
    """A network between the values of a file; TorchScript compiles it.

    Args:
        header: of the model.
        network: the header's network, or its trace.
        stride: of the network.
        plate: the network's clean plate, [1, C, H, W].
    """

    starts: Tensor
    plate: Tensor | None

    def __init__(self, header: cat.ModelHeader, network: Network, stride: int, plate: Tensor | None) -> None:
        super().__init__()
        self.input, self.target = _Values(header.input_encoding), _Values(header.target_encoding)
        self.network = network
        self.stride = stride
        # An output channel without an input channel starts from a plane of zeros behind the last one.
        starts = [i if i >= 0 else len(header.channels_in) for i in header.residual]
        self.register_buffer("starts", torch.tensor(starts))
        self.register_buffer("plate", plate)

    def forward(self, values: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, H, W], as ``tiles.render`` and ``Network.forward`` of a frame."""
        height, width = values.size(2), values.size(3)
        finite = (values - values) == 0  # in any dtype
        x = torch.where(finite, self.input(values), torch.zeros_like(values))
        inputs, plate = x, self.plate
        if plate is not None:
            if _is_scripting() and not _is_frame(height, width, plate.size(2), plate.size(3)):
                raise ValueError("the picture is not of the format of the model's Clean Plate, nor its half or quarter")
            # The operator itself: F.interpolate would bring every other one along.
            plate = torch._C._nn.upsample_bilinear2d(plate, [height, width], False, None)
            inputs = torch.cat([x, plate.expand(x.size(0), -1, -1, -1)], dim=1)
        padded = F.pad(inputs, [0, -width % self.stride, 0, -height % self.stride], mode="replicate")
        cells = F.pixel_unshuffle(padded, 2).contiguous(memory_format=torch.channels_last)
        y = F.pixel_shuffle(self.network.body(cells), 2)[:, :, :height, :width]
        base = torch.cat([x, torch.zeros_like(x[:, :1])], dim=1).index_select(1, self.starts)
        result = self.target.inverse(base + y if plate is None else changed(base, y, plate))
        start = torch.cat([values, torch.zeros_like(x[:, :1])], dim=1).index_select(1, self.starts)
        return torch.where((start - start) == 0, result, start)


def _is_frame(height: int, width: int, rows: int, columns: int) -> bool:
    """Whether a picture is of the format, or its half or quarter, rounded up or down."""
    for divisor in (1, 2, 4):
        if abs(height * divisor - rows) < divisor and abs(width * divisor - columns) < divisor:
            return True
    return False


def _torchscript(header: cat.ModelHeader, network: Network, plate: Tensor | None) -> bytes:
    # The network's kernels are Python, so it is traced; a trace would fix the sizes, so the program around is scripted.
    cells = torch.zeros(1, network.head.in_channels, network.stride, network.stride)
    body = torch.jit.trace_module(network, {"body": cells}, check_trace=False)  # type: ignore[no-untyped-call]
    program = torch.jit.script(_Program(header, body, network.stride, plate).eval())
    file = io.BytesIO()
    torch.jit.save(program, file, _extra_files={FACTS_FILE: json.dumps(_facts(header))})
    return file.getvalue()


def _onnx(header: cat.ModelHeader, network: Network, plate: Tensor | None) -> bytes:
    try:
        import onnx
    except ImportError:
        raise ExportError("ONNX needs the package onnx: pip install 'copycat-vfx[export]'") from None
    from copycat.inference.onnx_graph import onnx_model

    model = onnx_model(header, network, plate, (INPUT, OUTPUT))
    model.producer_name, model.producer_version = "copycat", __version__
    onnx.helper.set_model_props(model, _facts(header))
    data: bytes = model.SerializeToString()
    return data


def _facts(header: cat.ModelHeader) -> dict[str, str]:
    """The origin of an exported model, under the names of the .cat."""
    return {
        "copycat": __version__,
        "run": header.run,
        "modelSize": header.model_size,
        "channelsIn": ",".join(header.channels_in),
        "channelsOut": ",".join(header.channels_out),
        "step": str(header.step),
    }


_FORMATS: Mapping[str, Callable[[cat.ModelHeader, Network, Tensor | None], bytes]] = {
    ".pt": _torchscript,
    ".onnx": _onnx,
}
