"""Composites: what they show, what they leave alone, and what a matte learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Train
from copycat import ops
from copycat.data.dataset import Dataset, load_dataset
from copycat.inference.render import infer
from copycat.sequence import read_frame, write_frame
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training import composites
from copycat.training.composites import Composites, Move, are_used, filled, painted, with_room

SIZE = 64, 96
RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)


def disc(x: float, y: float = 32, radius: float = 12) -> np.ndarray:
    """[H, W, 1] a soft disc's coverage."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    return np.clip((radius - np.hypot(rows - y, columns - x)) / 2 + 0.5, 0, 1)[..., None]


def write_discs(folder: Path, places: tuple[float, ...] = (30, 50), extension: str = "exr") -> tuple[str, str]:
    """A red disc over blue, and its matte; returns the two sequences."""
    for frame, x in enumerate(places, 1001):
        matte = disc(x)
        plate = (matte * RED + (1 - matte) * BLUE).astype(np.float32)
        write_frame(folder / f"plate.{frame}.{extension}", plate, ("R", "G", "B"))
        write_frame(folder / f"matte.{frame}.{extension}", matte, ("A" if extension == "exr" else "Y",))
    return str(folder / f"plate.%04d.{extension}"), str(folder / f"matte.%04d.{extension}")


def load(folder: Path, extension: str = "exr", **knobs: Any) -> Dataset:
    settings = Settings(ground_truth_channels="A" if extension == "exr" else "Y", **knobs)
    return load_dataset(find_frames([Pair(*write_discs(folder, extension=extension))]), settings)


def with_composites(data: Dataset, step: int = 0, seed: int = 0) -> Composites:
    both = Composites(with_room(data), seed, (32, 32), len(data))
    both.renew(step)
    return both


@pytest.mark.parametrize("extension", ["exr", "png"])
def test_a_composite_is_the_moved_subject_over_the_moved_background(tmp_path: Path, extension: str) -> None:
    data = load(tmp_path, extension)
    both = with_composites(data)
    scale = 255 if data.input_bank.dtype == torch.uint8 else 1
    for index in (2, 3):
        matte = both.data.target_bank[index].float().numpy() / scale
        plate = both.data.input_bank[index].float().numpy() / scale
        assert matte.min() >= 0
        assert matte.max() <= 1
        assert np.mean(matte > 0.5) == pytest.approx(np.mean(disc(30) > 0.5), rel=1)
        assert np.abs(matte[..., 0] - disc(30)[..., 0]).max() > 0.5  # it has moved
        # Each part has its light: fitted channel by channel, nothing but rounding is left.
        for channel in range(3):
            parts = np.stack([matte.ravel() * RED[channel], (1 - matte.ravel()) * BLUE[channel]], axis=1)
            gains, misfit = np.linalg.lstsq(parts, plate[..., channel].ravel(), rcond=None)[:2]
            assert np.abs(np.log(gains)).max() < 0.5
            assert np.sqrt(misfit / len(parts)) < 0.01


def test_the_painted_pairs_stay_as_they_are(tmp_path: Path) -> None:
    data = load(tmp_path)
    both = with_composites(data)
    assert len(both.data.input_bank) == 4
    back = painted(both.data)
    for name in ("input_bank", "target_bank", "valid", "centres", "centre_offsets"):
        assert torch.equal(getattr(back, name), getattr(data, name)), name


def test_the_centres_go_with_the_subject(tmp_path: Path) -> None:
    both = with_composites(load(tmp_path))
    offsets = both.data.centre_offsets.tolist()
    for index in (2, 3):
        x, y = both.data.centres[offsets[index] : offsets[index + 1]].unbind(1)
        assert len(x) == 4096
        near = torch.nn.functional.max_pool2d(both.data.target_bank[index].float().movedim(-1, 0)[None], 9, 1, 4)[0, 0]
        assert float((near[y.long(), x.long()] > 0.5).float().mean()) > 0.95


def test_they_depend_on_seed_and_step_alone_and_are_made_anew(tmp_path: Path) -> None:
    data = load(tmp_path)
    first = with_composites(data)
    assert first.interval == round(SIZE[0] * SIZE[1] / (32 * 32 * 0.5))
    later, again = with_composites(data, first.interval), with_composites(data)
    again.renew(first.interval - 1)  # the same ones still serve
    assert torch.equal(first.data.input_bank, again.data.input_bank)
    assert not torch.equal(first.data.input_bank, later.data.input_bank)
    assert not torch.equal(first.data.input_bank, with_composites(data, seed=1).data.input_bank)
    first.renew(first.interval)
    assert torch.equal(first.data.input_bank, later.data.input_bank)
    assert torch.equal(first.data.target_bank, later.data.target_bank)


def test_excluded_pixels_reach_no_pixel_that_counts(tmp_path: Path) -> None:
    data = load(tmp_path)
    mask = torch.ones(2, *SIZE, 1, dtype=torch.float16)
    mask[:, 20:30, 25:60] = 0  # part of both discs and of the background
    plates = data.input_bank.clone()
    plates[(mask == 0)[..., 0]] = 1000
    both = with_composites(replace(data, input_bank=plates, mask_bank=mask))
    assert both.data.mask_bank is not None
    for step in range(0, 5 * both.interval, both.interval):
        both.renew(step)
        weights, values = both.data.mask_bank[2:], both.data.input_bank[2:]
        counted = (weights > 0)[..., 0]
        assert 0.3 < float(counted.float().mean()) < 1
        assert float(values[counted].max()) < 2


def test_a_matte_that_fills_the_frame_moves_with_its_background(tmp_path: Path) -> None:
    data = load(tmp_path)
    turned = replace(data, target_bank=1 - data.target_bank)
    both = with_composites(turned)
    plate, matte = both.data.input_bank[2].float(), both.data.target_bank[2].float()
    assert torch.allclose(matte * torch.tensor(BLUE) + (1 - matte) * torch.tensor(RED), plate, atol=0.06)


def test_a_hole_is_filled_from_around_it() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    ramp = (0.2 + columns / 100 + rows / 200)[None, None]
    hole = torch.zeros(1, 1, 40, 50, dtype=torch.bool)
    hole[..., 12:28, 15:35] = True
    result = filled(torch.where(hole, 1000.0, ramp), hole)
    assert torch.equal(result[~hole], ramp[~hole])
    assert float((result - ramp).abs().max()) < 0.12
    assert torch.equal(filled(ramp, torch.zeros_like(hole)), ramp)


def test_a_move_says_where_points_go() -> None:
    window = composites._Window(8, 4, 72, 52)
    matrix = np.array([[0.0, 1.0, 20.0], [-1.0, 0.0, 60.0]])  # out (x, y) comes from (y + 20, 60 - x)
    move = Move(matrix, None, np.ones(1, np.float32))
    picture = torch.zeros(1, 1, *window.size)
    picture[0, 0, 30 - 4, 40 - 8] = 1
    out = composites.sampled(picture, move.grid(window, torch.device("cpu")), "zeros")
    assert out[0, 0, 20 - 4, 30 - 8] == pytest.approx(1, abs=1e-4)
    assert float(out.abs().sum()) == pytest.approx(1, abs=1e-3)
    assert move.goals(torch.tensor([[40, 30], [20, -900]], dtype=torch.int32), window).tolist() == [[30, 20], [71, 4]]


def test_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, said = load(tmp_path), list[str]()
    on, auto = Settings(composites="On"), Settings()

    def has(some: Dataset, settings: Settings) -> bool:
        said.clear()
        return are_used(some, settings, said.append)

    assert (has(data, auto), has(data, on)) == (False, True)
    assert not said
    data = data.part([0])
    assert has(data, auto)
    assert not has(data, Settings(composites="Off"))
    assert not said
    two = ops.Encoding((0.0,) * 2, (0.0,) * 2, (1.0,) * 2, (True, False))
    for unsuited in (
        replace(data, target_encoding=replace(data.target_encoding, matte=())),
        replace(data, target_encoding=two),
        replace(data, residual=(0,)),
        replace(data, clean_plate=torch.zeros(1, *SIZE, 2)),
    ):
        assert not has(unsuited, auto)
        assert not said
        assert not has(unsuited, on)
        assert said[0].startswith("there are no Composites: the")
    monkeypatch.setattr(composites, "free_memory", lambda: 200_000)
    assert not has(data, auto)
    assert "memory is short" in said[0]


def test_a_subject_is_found_before_a_background_that_it_was_never_painted_on(train: Train, tmp_path: Path) -> None:
    """The painted subject stands before the dark half alone, so that whatever is bright could be background."""
    random = np.random.default_rng(0)
    texture = np.kron(random.uniform(-0.15, 0.15, (16, 24, 1)), np.ones((4, 4, 1)))
    bright = np.linspace(0, 1, SIZE[1])[None, :, None] > 0.5
    errors = {}
    for frame, x in ((1001, 20), (1002, 26), (1003, 68), (1004, 76)):
        matte = disc(x)
        plate = matte * (0.55, 0.45, 0.5) + (1 - matte) * (np.where(bright, 0.8, 0.15) + texture)
        write_frame(tmp_path / f"plate.{frame}.exr", plate.astype(np.float32), ("R", "G", "B"))
        write_frame(tmp_path / f"matte.{frame}.exr", matte, ("A",))
    paths = [str(tmp_path / f"{name}.%04d.exr") for name in ("plate", "matte")]
    for choice in ("On", "Off"):
        result = train(
            *paths,
            run_name=choice,
            seed=1,
            training_frames="1001-1002",
            epochs=150,
            ground_truth_channels="A",
            composites=choice,
        )
        infer(result.checkpoint or "", paths[0], tmp_path / f"{choice}.%04d.exr", frames="1003-1004")
        with_composites = [read_frame(tmp_path / f"{choice}.{frame}.exr", ["A"]).pixels for frame in (1003, 1004)]
        errors[choice] = np.mean([np.abs(a - disc(x)).mean() for a, x in zip(with_composites, (68, 76), strict=True)])
    assert errors["On"] < errors["Off"] / 2
