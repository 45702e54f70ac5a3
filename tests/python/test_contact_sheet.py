"""Contact sheets: three crops by three columns, the newest crop on top, display-ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Shot, write_shot
from copycat import ops
from copycat.data.dataset import Dataset, load_dataset
from copycat.model.network import ROWS, Network
from copycat.sequence import read_frame
from copycat.sequence.colour import srgb
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training.pictures import contact_sheet
from copycat.training.start import Result


def dataset(shot: Shot) -> Dataset:
    return load_dataset(find_frames([Pair(shot.input, shot.ground_truth)]), Settings())


def crops(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Notes the crops that a sheet takes: inputs and targets, [3, C, h, w], in the file's values."""
    taken: list[np.ndarray] = []
    real = ops.sample_crops

    def noted(*arguments: object, **more: object) -> object:
        source, target, mask = real(*arguments, **more)  # type: ignore[arg-type]
        for pixels, encoding in ((source, data.input_encoding), (target, data.target_encoding)):
            taken.append(ops.denormalize(pixels, encoding).numpy())
        return source, target, mask

    monkeypatch.setattr(ops, "sample_crops", noted)
    return taken


def test_three_rows_by_three_columns_with_the_third_crop_on_top(
    shot: Shot, monkeypatch: pytest.MonkeyPatch, tiny: None
) -> None:
    data = dataset(shot)
    taken = crops(data, monkeypatch)
    sheet = contact_sheet(Network(ROWS["Small"], 3, (0, 1, 2)), data, 32, step=7, seed=0)
    assert sheet.shape == (96, 96, 3)
    inputs, targets = taken
    for row, crop in enumerate((2, 1, 0)):
        cells = [sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] for column in range(3)]
        for cell, pixels in zip(cells, (inputs[crop], targets[crop], inputs[crop]), strict=True):
            expected = np.clip(srgb(pixels.transpose(1, 2, 0)), 0, 1)
            np.testing.assert_allclose(cell, expected, atol=2e-3)


def test_each_sheet_has_other_crops_and_the_same_again_for_its_step(shot: Shot, tiny: None) -> None:
    network, data = Network(ROWS["Small"], 3, (0, 1, 2)), dataset(shot)
    seven, eight, again = (contact_sheet(network, data, 32, step, seed=0) for step in (7, 8, 7))
    assert np.array_equal(seven, again)
    assert not np.array_equal(seven, eight)


def test_a_sheet_on_disk_is_an_8_bit_picture(train: Callable[..., Result]) -> None:
    run = train(epochs=30, image_interval=3).run
    sizes = []
    for _, path in run.contact_sheets():
        info = read_frame(path, ["R", "G", "B"]).info
        assert (info.format, info.dtype) == ("png", "uint8")
        sizes.append((info.width, info.height))
    # At a quarter of the resolution the whole frame is the crop.
    assert sizes == [(48, 48)] + [(96, 96)] * 9


def test_a_preview_is_the_whole_frame_outside_the_data_set(train: Callable[..., Result], tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other", (2001,), size=(120, 50))
    run = train(epochs=2, preview=other.input).run
    info = read_frame(run.preview(2), ["R", "G", "B"]).info
    assert (info.width, info.height, info.dtype) == (120, 50, "uint8")
