"""Variants of the recipe that learn from unpainted frames: their labels are right, and they train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from copycat.data.dataset import load_dataset
from copycat.sequence import ImageSequence, write_frame
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings

from benchmarks import whole_shot
from benchmarks.ablations.recipe import VARIANTS, Task, fit

FRAMES, SIZE, SIDE = range(1, 8), (96, 160), 40
KNOBS = {"ground_truth_channels": "Y", "crop_size": 32, "model_size": "Small", "composites": "Off"}


def left_edge(frame: int) -> int:
    return 20 + 6 * frame


def truth_of(frame: int) -> np.ndarray:
    matte = np.zeros(SIZE, np.float32)
    matte[30 : 30 + SIDE, left_edge(frame) : left_edge(frame) + SIDE] = 1
    return matte


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A patterned square that moves over another pattern; the first and the last frame are painted."""
    random = np.random.default_rng(0)
    behind, before = (
        cv2.GaussianBlur(random.random((*size, 3), np.float32), (0, 0), 2) * 3 - 1 + shift
        for size, shift in ((SIZE, 0.1), ((SIDE, SIDE), -0.1))
    )
    for frame in FRAMES:
        picture = behind.copy()
        picture[30 : 30 + SIDE, left_edge(frame) : left_edge(frame) + SIDE] = before
        write_frame(tmp_path / f"plate.{frame:04d}.png", picture.clip(0, 1), ("R", "G", "B"))
        write_frame(tmp_path / f"matte.{frame:04d}.png", truth_of(frame)[..., None], ("Y",))
    plate, matte = (ImageSequence.parse(tmp_path / f"{name}.%04d.png") for name in ("plate", "matte"))
    return Task(Pair(str(plate), str(matte)), "1,7", plate, matte, None, (4,), KNOBS)


def test_flow_brings_the_mattes_to_unpainted_frames(task: Task) -> None:
    data = load_dataset(find_frames([task.pair], task.frames), Settings(**KNOBS))  # type: ignore[arg-type]
    found = whole_shot.labelled_by_flow(data, task.source)
    assert [pair.frame for pair in found.pairs] == [2, 3, 4, 5, 6]
    assert found.mask_bank is not None
    for index, pair in enumerate(found.pairs):
        counts = found.mask_bank[index, ..., 0].numpy() > 0
        matte, truth = found.target_bank[index, ..., 0].numpy() > 127, truth_of(pair.frame) > 0.5
        assert counts.mean() > 0.4
        assert np.mean(matte[counts] == truth[counts]) > 0.99
        assert counts[truth].mean() > 0.4
        assert matte[counts & truth].mean() > 0.98


def test_at_most_so_many_frames_are_taken_and_they_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_shot, "MOST_FRAMES", 4)
    assert whole_shot.chosen(range(1, 12), (1, 6, 11)) == [3, 5, 8, 10]
    assert whole_shot.chosen(range(1, 4), (1, 3)) == [2]


@pytest.mark.parametrize("name", ["labels spread by flow", "labels of a teacher", "stability"])
def test_every_way_trains_other_weights(task: Task, name: str) -> None:
    small = {"knobs": KNOBS}
    header, plain = fit(task, replace(VARIANTS["chosen"], **small), 8, 0, by_steps=True)  # type: ignore[arg-type]
    _, weights = fit(task, replace(VARIANTS[name], **small), 8, 0, by_steps=True)  # type: ignore[arg-type]
    assert header.step == 8
    assert all(bool(torch.isfinite(part).all()) for part in weights.values())
    assert any(not torch.equal(part, plain[key]) for key, part in weights.items())


def test_one_painted_frame_takes_turns_with_unpainted_ones(task: Task) -> None:
    one = replace(task, frames="1")
    variant = replace(VARIANTS["labels spread by flow"], knobs=KNOBS, share=0.5)
    header, weights = fit(one, variant, 6, 0, by_steps=True)
    assert header.step == 6
    assert all(bool(torch.isfinite(part).all()) for part in weights.values())


def test_stability_lets_an_added_effect_keep_the_grain_of_the_plate(tmp_path: Path) -> None:
    """A network that changes nothing passes the grain on, so the term is nothing, and the weights are those without."""
    random = np.random.default_rng(0)
    for frame in (1, 2):
        picture = random.random((48, 48, 3), np.float32)
        for name in ("plate", "truth"):
            write_frame(tmp_path / f"{name}.{frame:04d}.exr", picture, ("R", "G", "B"))
    plate, truth = (ImageSequence.parse(tmp_path / f"{name}.%04d.exr") for name in ("plate", "truth"))
    same = Task(Pair(str(plate), str(truth)), "all", plate, truth, None, (1,), {"crop_size": 32})
    (_, plain), (_, steady) = (fit(same, VARIANTS[name], 6, 0, by_steps=True) for name in ("chosen", "stability"))
    for key, part in plain.items():
        torch.testing.assert_close(steady[key], part, atol=1e-4, rtol=0)
