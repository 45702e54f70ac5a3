"""Variants of the recipe that learn from unpainted frames: their labels are right, and they train."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import moving_camera
import numpy as np
import pytest
import torch
from copycat.data import clean_plate
from copycat.data.dataset import load_dataset
from copycat.sequence import ImageSequence, read_frame, write_frame
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings

from benchmarks import whole_shot
from benchmarks.ablations.recipe import VARIANTS, Task, fit

RGB = ("R", "G", "B")
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


# -- the other frames of the shot, for two painted ones ---------------------------------------------------------------


def paint_out(folder: Path) -> Pair:
    """Nine frames of a still room under grain, through which a square passes; the first and the last are painted."""
    random = np.random.default_rng(3)
    room = cv2.GaussianBlur(random.random((64, 96, 3), np.float32), (0, 0), 2)
    for frame in range(9):
        plate = room + random.normal(0, 0.002, room.shape).astype(np.float32)
        if frame in (0, 8):
            write_frame(folder / f"clean.{frame:04d}.exr", plate, RGB)
        plate[20:36, 9 * frame : 9 * frame + 16] = 0.9
        write_frame(folder / f"plate.{frame:04d}.exr", plate, RGB)
    np.save(folder / "room.npy", room)
    return Pair(str(folder / "plate.%04d.exr"), str(folder / "clean.%04d.exr"))


def test_a_clean_plate_of_unpainted_frames_has_less_grain(tmp_path: Path) -> None:
    pair, settings = paint_out(tmp_path), Settings()
    errors = []
    for changed in (nullcontext(), whole_shot.plate_of_the_shot(ImageSequence.parse(pair.input))):
        with changed:
            data = load_dataset(find_frames([pair]), settings)
        assert data.clean_plate is not None
        room = clean_plate.normalised(torch.from_numpy(np.load(tmp_path / "room.npy")), data.target_encoding)
        errors.append(float(np.square(data.clean_plate[0, ..., :3].float().numpy() - room).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_encodings_of_the_shot_are_those_of_more_than_the_painted_frames(tmp_path: Path) -> None:
    pair = paint_out(tmp_path)
    write_frame(tmp_path / "plate.0004.exr", np.full((64, 96, 3), 8, np.float32), RGB)
    plain = load_dataset(find_frames([pair]), Settings())
    with whole_shot.encodings_of_the_shot(ImageSequence.parse(pair.input)):
        data = load_dataset(find_frames([pair]), Settings())
    assert min(np.array(data.input_encoding.mean) - plain.input_encoding.mean) > 0.1
    assert data.target_encoding.mean == data.input_encoding.mean


def test_the_background_of_a_shot_is_what_the_others_show_there(tmp_path: Path) -> None:
    shot = moving_camera.write_shot(tmp_path)
    plate, clean = ImageSequence.parse(shot.input), ImageSequence.parse(shot.ground_truth)
    for frame in plate.frames():
        matte = (read_frame(plate.path(frame), RGB).pixels != read_frame(clean.path(frame), RGB).pixels).any(axis=-1)
        write_frame(tmp_path / f"matte.{frame:04d}.exr", matte[..., None].astype(np.float32), ("A",))
    truth = ImageSequence.parse(tmp_path / "matte.%04d.exr")
    task = Task(Pair(shot.input, str(truth)), "0,4", plate, truth, None, (2,), {"ground_truth_channels": "A"})
    found = whole_shot.with_background(task, tmp_path / "with")
    pixels = read_frame(found.source.path(2), (*RGB, *whole_shot.BEHIND)).pixels
    behind, square = read_frame(clean.path(2), RGB).pixels, np.s_[40:80, 64:96]
    errors = [np.square(pixels[square][..., part] - behind[square]).mean() for part in (np.s_[:3], np.s_[3:])]
    assert errors[1] < 0.05 * errors[0]
    assert find_frames([found.pair], found.frames)[0].input == found.source.path(0)
    assert found.knobs["input_channels"] == "R,G,B,behind.R,behind.G,behind.B"
