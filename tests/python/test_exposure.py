"""Clean plates that move, of painted frames whose exposure changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from copycat.data import clean_plate
from copycat.inference.model import load
from copycat.sequence import write_frame
from copycat.sequence.pairs import Pair
from moving_camera import write_shot
from test_moving_plate import SQUARE, pixels, read, told_model

EXPOSURES = (1, 0.9, 1.1, 0.95, 1.2)


@pytest.mark.parametrize("grade", [1.0, 1.4])
def test_a_plate_has_the_exposure_of_its_frame(tmp_path: Path, grade: float) -> None:
    pair = write_shot(tmp_path, exposures=EXPOSURES, grade=grade)
    data = read(pair, clean_plate="Moving")
    assert data.clean_plate is not None
    assert data.painted is not None
    for index in range(5):
        found, square = data.clean_plate[index].float().numpy(), np.s_[40:80, 20 + 22 * index : 52 + 22 * index]
        truth = clean_plate.normalised(data.target_bank[index], data.target_encoding)
        known = np.exp(found[..., 3])[square] < 0.5
        assert known.mean() > 0.5
        assert np.square((found[..., :3] - truth)[square][known]).mean() < 0.01
    np.testing.assert_allclose(data.painted.edit, -np.log(grade), atol=0.02)  # type: ignore[arg-type]


def test_auto_takes_it_where_the_exposure_changes_too(tmp_path: Path) -> None:
    changing = read(write_shot(tmp_path, exposures=EXPOSURES))
    assert changing.painted is not None
    assert float(changing.notes[0].split(" are ")[1].split()[0]) > 20  # dB


def test_a_render_has_the_exposure_of_its_frame(tmp_path: Path) -> None:
    pair = write_shot(tmp_path, exposures=EXPOSURES)
    data = read(pair, clean_plate="Moving")
    model = load(told_model(data, tmp_path / "told.cat"), "cpu")
    painted, residual = model.network.painted, model.header.residual
    assert painted is not None
    frame, truth = (torch.from_numpy(pixels(pair, side, 2)).movedim(-1, 0) for side in ("plate", "clean"))

    def error(factor: float, edit: np.ndarray | None) -> float:
        painted.edit = edit
        planes = painted.plate(frame * factor, data.input_encoding, residual).planes[..., :3]
        wanted = clean_plate.normalised((truth * factor).movedim(0, -1), data.target_encoding)
        return float(np.square(planes - wanted)[SQUARE].mean())

    kept = painted.edit
    assert kept is not None
    for factor in (0.7, 1.0, 1.3):
        assert error(factor, kept) < 0.01
    assert error(0.7, None) > 0.2  # a .cat that does not say what the work does to the exposure


def test_frames_of_which_nothing_counts_say_nothing_of_the_exposure(tmp_path: Path) -> None:
    pair = write_shot(tmp_path, exposures=EXPOSURES, grade=1.4)
    for frame in range(5):
        write_frame(tmp_path / f"mask.{frame:04d}.exr", np.full((128, 176, 1), float(frame > 2), np.float32), ("A",))
    masked = Pair(pair.input, pair.ground_truth, str(tmp_path / "mask.%04d.exr"))
    painted = read(masked, clean_plate="Moving").painted
    assert painted is not None
    np.testing.assert_allclose(painted.edit, -np.log(1.4), atol=0.02)  # type: ignore[arg-type]
    read(masked, clean_plate="Auto")
