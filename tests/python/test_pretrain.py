"""Initial weights: the tool that makes them, and a training that starts from them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Train, losses
from copycat import cat, weights
from copycat.config import Settings, SettingsError

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
    made = tmp_path / "deblur_small.cat"
    monkeypatch.setattr(sys, "argv", ["pretrain", "deblur", str(photos), str(made), "--minutes", "0.05"])
    pretrain.main()
    assert cat.read_header(made).step > 0
    shipped = cat.load(made)[1]
    assert all(tensor.dtype == torch.float32 for tensor in shipped.values())
    result = train(epochs=1, initial_weights="Deblur")
    assert np.isfinite(losses(result.run)).all()
    header, trained = cat.load(result.checkpoint or "")
    # One step changes little; encodings are the data set's own.
    assert all(torch.allclose(trained[name], shipped[name], atol=0.01) for name in shipped)
    assert header.input_encoding != cat.read_header(made).input_encoding
    with pytest.raises(SettingsError, match="exist for Small in this version, not for Medium"):
        train(initial_weights="Deblur", model_size="Medium")
    with pytest.raises(SettingsError, match="Initial Weights Deblur map R,G,B -> R,G,B, the data set R,G,B -> R"):
        train(initial_weights="Deblur", ground_truth_channels="R")


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
                start.check_channels(("R", "G", "B"), ("A",) if work == "Human Matting" else ("R", "G", "B"))
            else:
                with pytest.raises(SettingsError, match=r"Initial Weights .* this version"):
                    weights.starting_point(settings)
