"""Initial weights: the tool that makes them, and a training that starts from them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Train, losses
from copycat import ops
from copycat.model import cat
from copycat.model import starting_point as weights
from copycat.model.network import ROWS, Network
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings

from tools import pretrain


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    random = np.random.default_rng(3)
    for name in ("person", "street", "wood"):
        rough = random.integers(0, 256, (65, 75, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.jpg"), cv2.resize(rough, (300, 260), interpolation=cv2.INTER_CUBIC))
    mask = cv2.circle(np.zeros((260, 300), np.uint8), (150, 130), 90, 255, -1)
    cv2.imwrite(str(folder / "masks/person.png"), mask)
    return folder


@pytest.mark.parametrize(("task", "outputs"), [("deblur", 3), ("upscale", 3), ("human_matting", 1)])
def test_patches_are_pairs_to_learn_from(photos: Path, task: str, outputs: int) -> None:
    read = pretrain.read_photos(photos, photos / "masks" if task == "human_matting" else None)
    data = pretrain.patches(read, pretrain.SAMPLES[task], np.random.default_rng(1))
    assert data.input_bank.shape == (pretrain.PATCHES, pretrain.PATCH, pretrain.PATCH, 3)
    assert data.target_bank.shape == (*data.input_bank.shape[:3], outputs)
    assert torch.isfinite(data.input_bank).all()
    assert float(data.target_bank.min()) >= 0

    def roughness(bank: torch.Tensor) -> float:
        return float(bank.diff(dim=1).abs().mean() + bank.diff(dim=2).abs().mean())

    if outputs == 3:
        assert roughness(data.input_bank) < 0.95 * roughness(data.target_bank)
    else:
        assert float(data.target_bank.max()) == pytest.approx(1, abs=1e-2)


def test_a_training_starts_from_what_the_tool_made(
    photos: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    model_file = tmp_path / "deblur_small.cat"
    monkeypatch.setattr(sys, "argv", ["pretrain", "deblur", str(photos), str(model_file), "--minutes", "0.05"])
    pretrain.main()
    assert cat.read_header(model_file).step > 0
    more = tmp_path / "human_matting_small.cat"
    command = f"pretrain human_matting {photos} {more} --masks {photos}/masks --start {model_file} --minutes 0.02"
    monkeypatch.setattr(sys, "argv", command.split())
    pretrain.main()
    assert cat.read_header(more).residual == (-1,)
    assert torch.allclose(cat.load(more)[1]["head.weight"], cat.load(model_file)[1]["head.weight"], atol=0.05)
    shipped = cat.load(model_file)[1]
    assert all(tensor.dtype == torch.float32 for tensor in shipped.values())
    result = train(epochs=1, initial_weights="Deblur")
    assert np.isfinite(losses(result.run)).all()
    header, trained = cat.load(result.checkpoint or "")
    # One step changes little; encodings are the data set's own.
    assert all(torch.allclose(trained[name], shipped[name], atol=0.01) for name in shipped)
    assert header.input_encoding != cat.read_header(model_file).input_encoding
    with pytest.raises(SettingsError, match="exist for Small in this version, not for Medium"):
        train(initial_weights="Deblur", model_size="Medium")
    red = train(epochs=1, initial_weights="Deblur", ground_truth_channels="R")
    assert cat.read_header(red.checkpoint or "").residual == (0,)
    with pytest.raises(SettingsError, match="Initial Weights Deblur map R,G,B -> R,G,B, the data set Z -> A"):
        weights.StartingPoint("Initial Weights Deblur", header, shipped, shipped=True).weights_for(("Z",), ("A",))


def test_shipped_weights_start_work_with_other_channels() -> None:
    encoding = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.2,) * 3)
    header = cat.ModelHeader(ROWS["Small"], ("R", "G", "B"), ("R", "G", "B"), (0, 1, 2), encoding, encoding)
    generator = torch.Generator().manual_seed(1)
    random = {n: torch.randn(w.shape, generator=generator) / 9 for n, w in header.network().state_dict().items()}
    start = weights.StartingPoint("random weights", header, random, shipped=True)
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))

    def model_file(channels_in: tuple[str, ...], channels_out: tuple[str, ...], image: torch.Tensor) -> torch.Tensor:
        residual = tuple(channels_in.index(name) if name in channels_in else -1 for name in channels_out)
        network = Network(ROWS["Small"], len(channels_in), residual)
        network.load_state_dict(start.weights_for(channels_in, channels_out))
        with torch.no_grad():
            return network(image)

    rgb = model_file(("R", "G", "B"), ("R", "G", "B"), x[:, :3])
    assert float((rgb - x[:, :3]).abs().mean()) > 0.01  # they do something
    # Other channels come and go: what is known computes as before, and what is not starts from the Input or at zero.
    mixed = model_file(("Z", "R", "G", "B"), ("B", "A", "Z"), x[:, [3, 0, 1, 2]])
    torch.testing.assert_close(mixed, torch.stack([rgb[:, 2], torch.zeros_like(x[:, 0]), x[:, 3]], dim=1))


def test_shipped_weights_can_be_started_from() -> None:
    there = {path.name for path in weights._SHIPPED.glob("*.cat")}
    assert "deblur_small.cat" in there
    for work in ("Deblur", "Upscale", "Human Matting"):
        for size in ("Small", "Medium", "Large"):
            settings = Settings(initial_weights=work, model_size=size)
            if f"{work}_{size}.cat".lower().replace(" ", "_") in there:
                start = weights.starting_point(settings)
                assert start is not None
                assert start.shipped
                assert start.header.row == ROWS[size]
                outputs = ("A",) if work == "Human Matting" else ("R", "G", "B")
                model_file = start.weights_for(("R", "G", "B"), outputs)
                assert model_file.keys() == start.weights.keys()
                assert all(torch.equal(model_file[name], tensor) for name, tensor in start.weights.items())
            else:
                with pytest.raises(SettingsError, match=r"Initial Weights .* this version"):
                    weights.starting_point(settings)
