"""The .cat file: it comes back as written, and everything that is none is named as what it is."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import random_model
from copycat import ops
from copycat.model import cat
from copycat.model.network import ROWS, Row
from copycat.training import checkpoint
from copycat.training.weights import vector_size
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def model(tmp_path: Path, tiny: None) -> Path:
    return random_model(tmp_path / "model_100.cat", ("R", "G", "B", "depth.Z"), ("R", "G", "B", "A"), log_scale=20.0)


def rewritten(model: Path, **changes: object) -> Path:
    """The model with other values in its header; None removes one."""
    header, weights = cat.load(model)
    value = {k: v for k, v in (json.loads(header.to_json()) | changes).items() if v is not None}
    model.write_bytes(safetensors.torch.save(weights, {"copycat": json.dumps(value)}))
    return model


def test_it_comes_back_as_written(model: Path) -> None:
    header, weights = cat.load(model)
    again = model.with_name("again.cat")
    cat.save(again, header, weights)
    assert again.read_bytes() == model.read_bytes()
    assert cat.read_header(again) == header
    assert header.channels_in == ("R", "G", "B", "depth.Z")
    assert header.residual == (0, 1, 2, -1)
    assert (header.step, header.loss, header.run) == (100, 0.5, "random")
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_any_safetensors_reader_reads_it(model: Path) -> None:
    with safetensors.safe_open(model, "pt") as stream:
        assert json.loads(stream.metadata()["copycat"])["format"] == 2  # older versions of copycat read it
        assert list(stream.keys())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(cat.ModelFileError, match=r"no\.cat: the model file does not exist"):
        cat.load(tmp_path / "no.cat")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(cat.ModelFileError, match="cannot be read"):
        cat.load(tmp_path)


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "def forward(self, x): pass\n" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zip_of("model/data.pkl", "model/code/__torch__/net.py", "model/version"),
        b"\x10\x00\x00\x00CatFile by Foundry" + bytes(100),
        b"\x07\x12header" + bytes(3 << 20) + zip_of("m/code/__torch__.py") + bytes(16),
    ],
    ids=["torchscript", "foundry", "torchscript in a container"],
)
def test_nukes_own_file_is_named_as_such(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nuke.cat"
    path.write_bytes(data)
    with pytest.raises(cat.ModelFileError, match=r"nuke\.cat: this is Nuke's \.cat; copycat cannot read it"):
        cat.load(path)


def test_reading_never_runs_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    path = tmp_path / "trap.cat"
    for data in (pickle.dumps(Trap()), zip_of("archive/data.pkl")):
        path.write_bytes(data)
        with pytest.raises(cat.ModelFileError, match=r"this is not a \.cat of copycat"):
            cat.load(path)
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=64), st.binary(max_size=200).map(lambda b: struct.pack("<Q", len(b)) + b)))
def test_any_bytes_are_refused_with_a_sentence(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.cat"
    path.write_bytes(data)
    with pytest.raises(cat.ModelFileError, match=r"any\.cat: "):
        cat.load(path)


def test_somebody_elses_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "other.cat"
    path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)}))
    with pytest.raises(cat.ModelFileError, match=r"a safetensors file, but not a \.cat of copycat"):
        cat.load(path)


def test_a_newer_format(model: Path) -> None:
    rewritten(model, format=4, row="another way to say it")
    with pytest.raises(cat.ModelFileError, match=r"newer copycat \(format 4\); this one reads up to format 3"):
        cat.load(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"row": None},
        {"row": {"width": 8, "down": [1, 2, 2], "middle": 2}},
        {"row": {"width": 8, "down": [1, 2, 2], "middle": 2, "up": [1, 1], "widest": 64}},
        {"row": {"width": 0, "down": [1, 2, 2], "middle": 2, "up": [1, 1, 1], "widest": 64}},
        {"row": {"width": 8, "down": [1, 2, 2], "middle": -1, "up": [1, 1, 1], "widest": 64}},
        {"row": {"width": 8, "down": [1] * 9, "middle": 1, "up": [1] * 9, "widest": 64}},
        {"row": {"width": 8, "down": [1, 2, 2], "middle": 1000000, "up": [1, 1, 1], "widest": 64}},
        {"format": 1, "row": None, "modelSize": "Gigantic"},
        {"residual": [0, 1, 2, 4]},
        {"residual": [0]},
        {"channelsIn": None},
        {"channelsIn": 3},
        {"inputEncoding": {"mean": [0]}},
        {"step": "many"},
        {"format": "one"},
        {"format": None},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit(model: Path, changes: dict[str, object]) -> None:
    rewritten(model, **changes)
    with pytest.raises(cat.ModelFileError, match="header is damaged"):
        cat.load(model)


def test_an_encoding_of_other_channels(model: Path) -> None:
    rewritten(model, inputEncoding=ops.Encoding.identity(3).to_dict())
    with pytest.raises(cat.ModelFileError, match="header is damaged"):
        cat.load(model)


@pytest.mark.parametrize("keep", [4, 8, 100, 0.3, 0.999])
def test_a_torn_file(model: Path, keep: float) -> None:
    data = model.read_bytes()
    model.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(cat.ModelFileError, match=r"model_100\.cat: "):
        cat.load(model)


def test_a_network_that_no_memory_holds_is_not_made(model: Path) -> None:
    rewritten(model, row={"width": 256, "down": [64] * 5, "middle": 64, "up": [64] * 5, "widest": 2048})
    with pytest.raises(cat.ModelFileError, match=r"weight head\.weight is .*, the network needs \(256, "):
        cat.load(model)


def test_a_model_of_another_row_is_read_and_called_custom(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, weights = cat.load(model)
    assert header.model_size == "Small"
    monkeypatch.setitem(ROWS, "Small", Row(24))
    again, same = cat.load(model)
    assert again == header
    assert again.model_size == "Custom"
    again.network().load_state_dict(same)
    assert all(torch.equal(same[name], weights[name]) for name in weights)


@pytest.mark.parametrize(("size", "width"), [("Small", 32), ("Medium", 48), ("Large", 64)])
def test_the_first_format_named_the_size_only(size: str, width: int) -> None:
    row, encoding = Row(width, (1, 2, 2), 2, (1, 1, 1)), ops.Encoding.identity(3)
    header = cat.ModelHeader(row, ("R", "G", "B"), ("R", "G", "B"), (0, 1, 2), encoding, encoding)
    value = json.loads(header.to_json()) | {"format": 1, "modelSize": size}
    del value["row"]
    assert cat.ModelHeader.from_json(json.dumps(value)) == header


def test_weights_of_another_network(model: Path) -> None:
    header, weights = cat.load(model)
    name = next(iter(weights))
    cat.save(model, header, weights | {name: torch.zeros(3)})
    with pytest.raises(cat.ModelFileError, match=rf"weight {name} is \(3,\), the network needs"):
        cat.load(model)
    del weights[name]
    cat.save(model, header, weights)
    with pytest.raises(cat.ModelFileError, match=f"weight {name} is missing"):
        cat.load(model)


# -- the resume state -----------------------------------------------------------------------------------------------


def vectors(size: int = 5) -> dict[str, torch.Tensor]:
    return {name: torch.randn(size) for name in checkpoint.VECTORS}


def test_a_resume_state_comes_back_as_written(model: Path, tmp_path: Path) -> None:
    position = checkpoint.Position(7, 6, 1.5, 0.25, None, 3, {"total_steps": 9})
    header, _ = cat.load(model)
    state = vectors(vector_size(header.outline()))
    checkpoint.save(tmp_path / "r.ost", position, header, state)
    again = checkpoint.load(tmp_path / "r.ost")
    assert again[0] == position
    assert again[1] == header
    assert all(torch.equal(again[2][name], state[name]) for name in checkpoint.VECTORS)


def test_a_resume_state_that_is_none(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.ost"
    with pytest.raises(checkpoint.ResumeStateError, match=r"r\.ost: there is no resume state"):
        checkpoint.load(path)
    checkpoint.save(path, checkpoint.Position(), cat.read_header(model), vectors())
    whole = path.read_bytes()
    for data in (b"", b"state", whole[:200], whole[:-1], model.read_bytes()):
        path.write_bytes(data)
        with pytest.raises(checkpoint.ResumeStateError, match=r"r\.ost: the resume state is damaged"):
            checkpoint.load(path)


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        (1, r"r\.ost: was written by an older copycat \(format 1\).*Initial Weights"),
        (3, r"r\.ost: was written by a newer copycat \(format 3\)"),
    ],
)
def test_a_resume_state_of_another_format(
    format_: int, said: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.ost"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", format_)
        checkpoint.save(path, checkpoint.Position(), cat.read_header(model), vectors())
    with pytest.raises(checkpoint.ResumeStateError, match=said):
        checkpoint.load(path)
