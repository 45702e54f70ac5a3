"""A model as TorchScript and ONNX: equal to copycat's own inference, free in size, and of plain operators alone."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from conftest import environment, random_model
from copycat import ops
from copycat.data.encodings import LOG_SCALE, is_matte
from copycat.errors import CopycatError
from copycat.inference.export import FACTS_FILE, ExportError, export
from copycat.inference.model import Model
from copycat.inference.onnx_graph import OPERATOR_SET
from copycat.model import cat

CPU = torch.device("cpu")
RGB = ("R", "G", "B")
# Name, channels in and out, whether scene-linear: values from -0.1 to 60, else from 0 to 1.
MODELS = {
    "display": (RGB, RGB, False),
    "log": (RGB, RGB, True),
    "matte": (RGB, ("A",), True),
    "depth": ((*RGB, "Z"), (*RGB, "A"), True),
}
SIZES = ((1, 5, 3), (1, 16, 16), (1, 17, 31), (2, 37, 45), (1, 64, 103), (3, 16, 200))
# Times 1 + |value|: float32 sums in another order, and what the signed log's inverse makes of it (measured: 3.3e-6).
TOLERANCE = 1e-5

# What a program may be made of: all are in torch 1.12, with the same arguments.
OPERATORS = """
    __is__ __isnot__ __not__ _convolution abs add add_ addcmul cat contiguous div eq exp expand gt index_select
    layer_norm log1p lt maximum minimum mul neg pad permute pixel_shuffle pixel_unshuffle remainder sigmoid sign
    size slice sub to upsample_bilinear2d where zeros_like
"""

# torch says so of every program that a test loads.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")


def model_of(path: Path, name: str) -> Path:
    """A .cat with random weights and another normalisation for each channel; no logarithm stands for mattes."""
    channels_in, channels_out, linear = MODELS[name]
    header, weights = cat.load(random_model(path, channels_in, channels_out))

    def encoding(channels: tuple[str, ...]) -> ops.Encoding:
        scales = tuple(LOG_SCALE if linear and not is_matte(channel) else 0.0 for channel in channels)
        spread = 1.2 if linear else 0.25
        count = range(len(channels))
        return ops.Encoding(scales, tuple(0.3 + 0.1 * i for i in count), tuple(spread + 0.1 * i for i in count))

    target = encoding(channels_out)
    if name == "matte":
        target = dataclasses.replace(target, matte=(True,))
    encodings = {"input_encoding": encoding(channels_in), "target_encoding": target}
    cat.save(path, dataclasses.replace(header, **encodings), weights)
    return path


def images(name: str) -> list[torch.Tensor]:
    """One batch of each size, in the values that a model is for; many dark ones, a few highlights."""
    channels_in, _, linear = MODELS[name]
    random = torch.Generator().manual_seed(3)
    noise = [torch.rand(batch, len(channels_in), h, w, generator=random) for batch, h, w in SIZES]
    return [60.1 * image**6 - 0.1 if linear else image for image in noise]


def assert_equal(exported: list[torch.Tensor], model: Path, given: list[torch.Tensor]) -> None:
    own = Model(model, CPU)
    for image, result in zip(given, exported, strict=True):
        expected = own(image)
        assert expected.std() > 0.01
        assert (result.shape, result.dtype) == (expected.shape, torch.float32)
        assert ((result - expected).abs() / (1 + expected.abs())).max() <= TOLERANCE, tuple(image.shape)


RUN_TORCHSCRIPT = """
import sys, torch
program = torch.jit.load(sys.argv[1])
torch.save([program(image) for image in torch.load(sys.argv[2])], sys.argv[3])
assert not any(name.startswith("copycat") for name in sys.modules)
"""


def run_torchscript(program: Path, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a process makes of images that knows torch alone."""
    before, after = program.with_suffix(".in"), program.with_suffix(".out")
    torch.save(given, before)
    command = [sys.executable, "-c", RUN_TORCHSCRIPT, str(program), str(before), str(after)]
    done = subprocess.run(command, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return list(torch.load(after))


def run_onnx(program: Path, given: list[torch.Tensor]) -> list[torch.Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(["output"], {"input": image.numpy()})[0]) for image in given]


RUN = {".pt": run_torchscript, ".onnx": run_onnx}


@pytest.mark.parametrize("suffix", RUN)
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_inference_at_every_size(name: str, suffix: str, tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.cat", name)
    written = export(model, tmp_path / f"m{suffix}")
    assert written == tmp_path / f"m{suffix}"
    assert_equal(RUN[suffix](written, images(name)), model, images(name))


@pytest.mark.parametrize("suffix", RUN)
def test_a_real_network(suffix: str, tmp_path: Path, one_thread: None) -> None:
    model = model_of(tmp_path / "m.cat", "log")
    written = export(model, tmp_path / f"m{suffix}")
    assert_equal(RUN[suffix](written, images("log")), model, images("log"))


# -- what a host may do with a TorchScript program ------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, tiny: None) -> Any:
    """Takes four channels, makes four, one of which starts from none."""
    return torch.jit.load(export(model_of(tmp_path / "m.cat", "depth"), tmp_path / "m.pt"))


def operators(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from operators(inner)


def test_its_operators_are_those_of_torch_1_12(program: Any) -> None:
    found = {kind for kind in operators(program.inlined_graph) if not kind.startswith("prim::")}
    assert found <= {f"aten::{name}" for name in OPERATORS.split()}
    assert "aten::layer_norm" in found


def test_it_computes_where_and_in_which_dtype_its_host_wants(program: Any) -> None:
    image = images("depth")[2]
    single, double = program(image), program.double()(image.double())
    assert double.dtype == torch.float64
    assert ((single - double).abs() / (1 + double.abs())).max() <= TOLERANCE
    assert "Device = prim::Constant" not in str(program.inlined_graph)


def test_it_keeps_nothing_for_gradients(program: Any) -> None:
    assert not program(images("depth")[0]).requires_grad
    assert not program.training


# -- what the files say ---------------------------------------------------------------------------------------------

FACTS = {
    "run": "random",
    "modelSize": "Small",
    "channelsIn": "R,G,B,Z",
    "channelsOut": "R,G,B,A",
    "step": "100",
}


def test_the_files_say_what_they_are(tmp_path: Path, tiny: None) -> None:
    import copycat

    model = model_of(tmp_path / "m.cat", "depth")
    facts = {"copycat": copycat.__version__} | FACTS
    extra = {FACTS_FILE: ""}
    torch.jit.load(export(model, tmp_path / "m.pt"), _extra_files=extra)
    assert json.loads(extra[FACTS_FILE]) == facts
    exported = onnx.load(export(model, tmp_path / "m.onnx"))
    assert {entry.key: entry.value for entry in exported.metadata_props} == facts
    assert (exported.producer_name, exported.producer_version) == ("copycat", copycat.__version__)
    assert [(s.domain, s.version) for s in exported.opset_import] == [("", OPERATOR_SET)]
    for side in (*exported.graph.input, *exported.graph.output):
        sizes = [size.dim_param or size.dim_value for size in side.type.tensor_type.shape.dim]
        assert sizes == ["batch", 4, "height", "width"]


def test_a_loaded_model_is_exported_as_its_file_is(
    tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    import copycat

    monkeypatch.setattr("copycat.ops.cpu_has_bfloat16", lambda: True)
    model = copycat.load(model_of(tmp_path / "m.cat", "display"), "cpu", half_precision=True)
    assert model.dtype == torch.bfloat16
    for suffix, run in RUN.items():
        assert_equal(
            run(copycat.export(model, tmp_path / f"m{suffix}"), images("display")), model.path, images("display")
        )
    assert not [str(warning.message) for warning in recwarn]


# All are in operator set 17, with one meaning.
ONNX_OPERATORS = """
    Abs Add Concat Conv DepthToSpace Div Equal Exp Gather Greater LayerNormalization Log Max Min Mod Mul Neg Pad Shape
    Sign Slice SpaceToDepth Sub Transpose Where
"""


def test_an_onnx_file_shows_the_network_under_its_own_names(tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.cat", "matte")
    graph = onnx.load(export(model, tmp_path / "m.onnx")).graph
    _, weights = cat.load(model)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert {name for name in stored if "." in name} == set(weights)
    for name in weights.keys() - {"head.weight"}:  # whose channels have another order
        assert (stored[name] == weights[name].numpy()).all(), name
    assert {node.op_type for node in graph.node} <= set(ONNX_OPERATORS.split())
    layers = {name.removesuffix(".weight") for name in weights if name.endswith(".weight")}
    assert layers <= {node.name for node in graph.node}


# -- what can go wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m", "m.cat", "m.pth", "m.pt.zip"])
def test_another_name_is_refused(name: str, tmp_path: Path) -> None:
    model = model_of(tmp_path / "model.cat", "display")
    with pytest.raises(ExportError, match=rf"{name}: ends neither in \.pt \(TorchScript\) nor in \.onnx \(ONNX\)"):
        export(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == [model]


def test_the_cat_is_never_overwritten(tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.pt", "display")
    (tmp_path / "link.onnx").symlink_to(model)
    before = model.read_bytes()
    for path in (model, tmp_path / "link.onnx"):
        with pytest.raises(ExportError, match=r"would overwrite the \.cat"):
            export(model, path)
    assert model.read_bytes() == before


def test_without_the_package_onnx(tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = model_of(tmp_path / "m.cat", "display")
    with pytest.raises(ExportError, match=r"needs the package onnx: pip install 'copycat-vfx\[export\]'"):
        export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == [model]
    export(model, tmp_path / "m.pt")


def test_what_was_there_stays_when_the_model_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"before")
    with pytest.raises(CopycatError, match=r"m\.cat: the model file does not exist"):
        export(tmp_path / "m.cat", tmp_path / "m.pt")
    assert (tmp_path / "m.pt").read_bytes() == b"before"


def test_a_missing_folder_is_created(tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.cat", "display")
    assert export(model, tmp_path / "new/er/m.pt").exists()
    (tmp_path / "file").touch()
    with pytest.raises(CopycatError, match=r"file/m\.pt: cannot be written: Not a directory"):
        export(model, tmp_path / "file/m.pt")


@pytest.mark.parametrize("suffix", RUN)
def test_one_bad_pixel_stays_one(suffix: str, tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.cat", "depth")
    image = torch.rand(1, 4, 48, 64)
    clean, spoiled = image.clone(), image.clone()
    spoiled[0, 1, 20, 30], spoiled[0, 3, 10:, 40:] = float("nan"), float("inf")
    written = export(model, tmp_path / f"m{suffix}")
    expected, result = RUN[suffix](written, [clean, spoiled])
    assert result[0, 1, 20, 30].isnan()
    result[0, 1, 20, 30] = expected[0, 1, 20, 30]
    assert result.isfinite().all()
    assert (result - expected)[..., :8].abs().max() < 20 * (expected[:, :3] - clean[:, :3]).abs().mean()


# -- Flame ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "inputs", "outputs"),
    [
        (RGB, RGB, [("Front", "RGB")], [("Result", "RGB")]),
        (("left.B", "left.G", "left.R"), ("matte.A",), [("Front", "BGR")], [("OutMatte", "A")]),
        ((*RGB, "A"), ("R", "G"), [("Front", "RGB"), ("Matte", "A")], [("Result", "RG")]),
    ],
)
def test_flame_finds_a_description(
    channels_in: tuple[str, ...],
    channels_out: tuple[str, ...],
    inputs: list[tuple[str, str]],
    outputs: list[tuple[str, str]],
    tmp_path: Path,
    tiny: None,
) -> None:
    model = random_model(tmp_path / "m.cat", channels_in, channels_out, log_scale=20.0)
    written = export(model, tmp_path / "m.onnx")
    described = json.loads((tmp_path / "m.json").read_text())["ModelDescription"]
    assert (described["Name"], described["SupportsSceneLinear"], described["Padding"]) == ("m", True, 1)
    assert [(socket["Type"], socket["Channels"]) for socket in described["Inputs"]] == inputs
    assert [(socket["Type"], socket["Channels"]) for socket in described["Outputs"]] == outputs
    graph = onnx.load(written).graph
    assert {socket["Name"] for socket in described["Inputs"]} == {side.name for side in graph.input}
    assert {socket["Name"] for socket in described["Outputs"]} == {side.name for side in graph.output}
    export(random_model(tmp_path / "n.cat"), written)  # an earlier one of its own is replaced
    assert not json.loads((tmp_path / "m.json").read_text())["ModelDescription"]["SupportsSceneLinear"]


def test_flame_has_no_sockets_for_other_channels(tmp_path: Path, tiny: None) -> None:
    export(model_of(tmp_path / "m.cat", "depth"), tmp_path / "m.onnx")
    assert not (tmp_path / "m.json").exists()


def test_somebody_elses_json_is_not_overwritten(tmp_path: Path, tiny: None) -> None:
    model = model_of(tmp_path / "m.cat", "display")
    (tmp_path / "m.json").write_text('{"mine": 1}')
    with pytest.raises(CopycatError, match=r"m\.json: the export would overwrite this file"):
        export(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    assert (tmp_path / "m.json").read_text() == '{"mine": 1}'
