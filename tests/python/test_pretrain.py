"""Initial weights: the tool that makes them, and a training that starts from them."""

from __future__ import annotations

import sys
from dataclasses import replace
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
from copycat.sequence.colour import from_srgb, srgb
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings

from tools import pretrain, scenes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name in ("street", "wood"):
        rough = random.integers(0, 256, (65, 75, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.jpg"), cv2.resize(rough, (300, 260), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """What tools.people makes: red discs are people; backdrops and what surrounds people are blue."""
    folder = tmp_path / "people"
    for kind in ("backdrops", "photos", "masks", "cut-outs"):
        (folder / kind).mkdir(parents=True)
    blue, red = np.full((300, 340, 3), (200, 30, 10), np.uint8), (10, 20, 210)
    disc = cv2.circle(np.zeros((300, 340), np.uint8), (160, 150), 90, 255, -1)
    cv2.imwrite(str(folder / "backdrops/wall.jpg"), blue)
    cv2.imwrite(str(folder / "photos/person.jpg"), np.where(disc[..., None] > 0, red, blue).astype(np.uint8))
    cv2.imwrite(str(folder / "masks/person.png"), disc)
    whole = np.dstack([np.full((300, 340, 3), red, np.uint8), disc])
    cv2.imwrite(str(folder / "cut-outs/person.png"), whole[60:241, 70:251])
    return folder


@pytest.mark.parametrize("work", ["deblur", "upscale"])
def test_patches_are_pairs_to_learn_from(photos: Path, work: str) -> None:
    data = pretrain.patches(pretrain.WORKS[work], pretrain.sampler(work, photos), np.random.default_rng(1))
    side = pretrain.WORKS[work].patch
    assert data.input_bank.shape == data.target_bank.shape == (pretrain.PATCHES, side, side, 3)
    assert torch.isfinite(data.input_bank).all()
    assert float(data.target_bank.min()) >= 0

    def roughness(bank: torch.Tensor) -> float:
        return float(bank.diff(dim=1).abs().mean() + bank.diff(dim=2).abs().mean())

    assert roughness(data.input_bank) < 0.95 * roughness(data.target_bank)


def test_pictures_are_degraded_in_linear_light_and_in_display_values() -> None:
    edge = (
        np.repeat(np.linspace(0.02, 0.9, 16, dtype=np.float32)[None, :, None] > 0.4, 3, -1).astype(np.float32) * 0.8
        + 0.1
    )
    random = np.random.default_rng(4)

    def mixed(image: np.ndarray) -> np.ndarray:
        return np.full_like(image, (image[:, 0] + image[:, -1]).mean() / 2)

    found = {round(float(pretrain._degraded(edge, mixed, random).mean()), 3) for _ in range(20)}
    # The middle of the display values of 0.1 and 0.9 is darker than the middle of their light.
    assert found == {0.5, round(float(from_srgb(srgb(np.float32([0.1, 0.9])).mean())), 3)}


def test_scenes_show_people_where_their_matte_is(people: Path) -> None:
    cast, random = scenes.People.read(people), np.random.default_rng(2)
    found = [cast.scene(128, random) for _ in range(60)]
    coverage = [float(alpha.mean()) for _, alpha in found]
    assert 0.1 < np.mean([share < 0.002 for share in coverage]) < 0.6  # scenes without people too
    assert max(coverage) > 0.3
    agree = []
    for image, alpha in found:
        assert image.shape == (128, 128, 3)
        assert alpha.shape == (128, 128, 1)
        assert image.min() >= 0
        assert 0 <= alpha.min() <= alpha.max() <= 1 + 1e-5
        coloured = np.abs(image[..., 0] - image[..., 2]) > 0.05  # the camera may also see in black and white
        agree.append(
            np.mean(((image[..., 0] > image[..., 2]) == (alpha[..., 0] > 0.5))[coloured]) if coloured.any() else 1
        )
    assert np.median(agree) > 0.97


def test_people_are_small_enough_for_what_the_network_sees(people: Path) -> None:
    cast, random = scenes.People.read(people), np.random.default_rng(5)

    def height(alpha: np.ndarray) -> int:
        return int((alpha > 0.5).any(1).sum())

    pasted, photographed = [], []
    for _ in range(40):
        image, alpha = np.zeros((512, 512, 3), np.float32), np.zeros((512, 512), np.float32)
        cast._paste(image, alpha, random, person=True)
        pasted.append(height(alpha))
        photographed.append(height(scenes._square(list(cast.photos[0]), 128, random, scenes._PHOTO_SCALE)[1]))
    assert 200 < max(pasted) < 290
    assert 80 < max(photographed) < 0.65 * 181 + 2


def test_patches_of_people_have_the_units_of_shots(people: Path) -> None:
    work = pretrain.WORKS["human_matting"]
    data = pretrain.patches(work, pretrain.sampler("human_matting", people), np.random.default_rng(1))
    assert data.target_bank.shape == (pretrain.PATCHES, work.patch, work.patch, 1)
    assert data.target_channels == ("A",)
    assert data.residual == (-1,)
    assert data.target_encoding.matte == (True,)
    assert float(data.target_bank.max()) == pytest.approx(1, abs=1e-2)
    # Each patch is normalised as if it were a shot of its own, so their means differ, but not by much.
    assert 0.1 < float(data.input_bank.mean((1, 2)).std()) < 1
    assert data.input_encoding == ops.Encoding.identity(3)


def test_patches_of_people_stay_for_a_while(people: Path) -> None:
    work, random = pretrain.WORKS["human_matting"], np.random.default_rng(1)
    make = pretrain.sampler("human_matting", people)
    first = pretrain.patches(work, make, random)
    second = pretrain.patches(work, make, random, first)
    for bank, before in ((second.input_bank, first.input_bank), (second.target_bank, first.target_bank)):
        assert len(bank) == 2 * pretrain.PATCHES
        assert torch.equal(bank[: pretrain.PATCHES], before)
    assert second.valid.shape == (2 * pretrain.PATCHES, 4)
    third = pretrain.patches(replace(work, kept=1), make, random, second)
    assert len(third.input_bank) == 2 * pretrain.PATCHES
    assert torch.equal(third.input_bank[: pretrain.PATCHES], second.input_bank[pretrain.PATCHES :])


def test_pictures_without_people_in_the_folder_of_people_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"lacks backdrops, photos or cut-outs; tools\.people makes them"):
        scenes.People.read(tmp_path)


def test_a_training_starts_from_what_the_tool_made(
    photos: Path, people: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    model_file = tmp_path / "deblur_small.cat"
    monkeypatch.setattr(sys, "argv", ["pretrain", "deblur", str(photos), str(model_file), "--minutes", "0.05"])
    pretrain.main()
    assert cat.read_header(model_file).step > 0
    more = tmp_path / "human_matting_small.cat"
    command = f"pretrain human_matting {people} {more} --start {model_file} --minutes 0.02"
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
    with pytest.raises(SettingsError, match="Initial Weights Deblur for Medium are not part of this version"):
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


def test_shipped_mattes_are_the_same_under_the_encoding_of_a_data_set(tmp_path: Path) -> None:
    own = ops.Encoding((0.0,), (0.5,), (0.5,), (True,))
    colour = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.2,) * 3)
    header = cat.ModelHeader(ROWS["Small"], ("R", "G", "B"), ("A",), (-1,), colour, own)
    generator = torch.Generator().manual_seed(1)
    random = {n: torch.randn(w.shape, generator=generator) / 9 for n, w in header.network().state_dict().items()}
    start = weights.StartingPoint("random weights", header, random, shipped=True)
    target = ops.Encoding((0.0,), (0.08,), (0.26,), (True,))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def matte(state: dict[str, torch.Tensor], encoding: ops.Encoding) -> torch.Tensor:
        network = header.network()
        network.load_state_dict(state)
        with torch.no_grad():
            return network(x) * encoding.std[0] + encoding.mean[0]

    for name in ("A", "Y"):
        fitted = dict(start.weights_for(("R", "G", "B"), (name,), None, target))
        torch.testing.assert_close(matte(fitted, target), matte(random, own), atol=1e-4, rtol=1e-4)
        assert torch.equal(random["tail.bias"], start.weights["tail.bias"])  # the original is left as it is
    # A checkpoint keeps its own encoding, so its weights stay as they are.
    checkpoint = weights.StartingPoint("a checkpoint", header, random, shipped=False)
    same = checkpoint.weights_for(("R", "G", "B"), ("A",), None, target)
    assert torch.equal(same["tail.weight"], random["tail.weight"])


def test_shipped_weights_can_be_started_from() -> None:
    for work in ("Deblur", "Upscale", "Human Matting"):
        for size in ROWS:
            start = weights.starting_point(Settings(initial_weights=work, model_size=size))
            assert start is not None
            assert start.shipped
            assert start.header.row == ROWS[size]
            outputs = ("A",) if work == "Human Matting" else ("R", "G", "B")
            model_file = start.weights_for(("R", "G", "B"), outputs)
            assert model_file.keys() == start.weights.keys()
            assert all(torch.equal(model_file[name], tensor) for name, tensor in start.weights.items())
