"""Pixels that a training must not use: masked, not finite, outside a data window; and mattes, which are 0 there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from conftest import FRAMES, Shot, graded, picture, write_shot
from copycat import ops
from copycat.data import frames
from copycat.data.centres import difference_centres
from copycat.data.dataset import Dataset
from copycat.data.encodings import choose_encoding
from copycat.sequence import read_frame, read_info, write_frame
from copycat.sequence.pairs import DatasetError
from test_dataset import half, load, shifted_shot, write_windowed

RGB = ("R", "G", "B")


def kept(data: Dataset, index: int = 0) -> np.ndarray:
    """[H, W] which pixels of a frame have a weight."""
    assert data.mask_bank is not None
    result: np.ndarray = data.mask_bank[index, ..., 0].numpy() > 0
    return result


def centres_of(data: Dataset, index: int) -> np.ndarray:
    """[M, 2] x, y of a frame."""
    found: np.ndarray = data.centres[data.centre_offsets[index] : data.centre_offsets[index + 1]].numpy()
    return found


def test_no_centre_lies_where_the_mask_excludes(tmp_path: Path) -> None:
    """The excluded half differs, with noise; the other by a small repair."""

    def effect(image: np.ndarray) -> np.ndarray:
        result = image.copy()
        result[:, :32] = np.random.default_rng(1).random((64, 32, 3))
        result[40:44, 50:54] += 0.3
        return result.astype(np.float32)

    shot = write_shot(tmp_path, effect=effect)
    for frame in FRAMES:
        mask = np.zeros((64, 64, 1), np.float32)
        mask[:, 32:] = 1
        write_frame(tmp_path / f"mask.{frame}.exr", mask, ("A",))
    data = load(shot, mask=str(tmp_path / "mask.%04d.exr"))
    assert int(data.centres[:, 0].min()) >= 32
    inside = ((data.centres >= torch.tensor([50, 40])) & (data.centres < torch.tensor([54, 44]))).all(dim=1)
    assert inside.float().mean() > 0.9  # the fit of colour is not bent by what is excluded


@pytest.mark.parametrize("where", ["plate", "clean"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
def test_no_centre_lies_on_a_bad_pixel_and_none_leaks_into_a_level(shot: Shot, where: str, bad: float) -> None:
    spoiled = {"plate": picture(1002), "clean": graded(picture(1002))}[where]
    spoiled[21, 34] = bad
    write_frame(shot.folder / f"{where}.1002.exr", spoiled, RGB, dtype="float")
    with pytest.raises(DatasetError, match=rf"{where}\.1002\.exr: 1 pixel is .*first at x 34, y 21"):
        load(shot)
    data = load(shot, non_finite="Mask")
    assert (~kept(data, 1)).sum() == 1
    assert not (centres_of(data, 1) == (34, 21)).all(axis=1).any()
    (warning,) = data.warnings
    assert warning.endswith("y 21 from the top left; they are left out of the training")
    for level in (2, 4):
        low = data.at_level(level)
        assert np.argwhere(~kept(low, 1)).tolist() == [[21 // level, 34 // level]]
        x, y = centres_of(low, 1).T
        assert len(x) > 1000
        assert kept(low, 1)[y, x].all()
        assert len(low.centres) == low.centre_offsets[-1]
        target, truth = low.target_bank[1].float().numpy(), load_clean(low.level)
        np.testing.assert_allclose(target[kept(low, 1)], truth[kept(low, 1)], atol=2e-3)


def load_clean(level: int) -> np.ndarray:
    """The Ground Truth of frame 1002 at a level, without the bad pixel."""
    side = 64 // level
    result: np.ndarray = half(graded(picture(1002))).reshape(side, level, side, level, 3).mean((1, 3))
    return result


def test_a_level_takes_nothing_from_excluded_pixels(shot: Shot) -> None:
    mask = np.ones((64, 64, 1), np.float32)
    mask[:, :21] = 0
    mask[:, 21:25] = 0.5
    for frame in FRAMES:
        write_frame(shot.folder / f"mask.{frame}.exr", mask, ("A",))
    data = load(shot, mask=str(shot.folder / "mask.%04d.exr"))
    assert np.unique(data.at_level(4).mask_bank[0, 0, :, 0].numpy()).tolist() == [0, 0.875, 1]  # type: ignore[index]
    assert kept(data.at_level(4))[0].tolist() == [False] * 6 + [True] * 10


def test_encodings_and_mattes_are_of_the_pixels_that_are_trained_on(shot: Shot) -> None:
    inside = np.zeros((64, 64, 1), bool)
    inside[:, 30:] = True
    for frame in FRAMES:
        plate, clean = picture(frame), picture(frame, channels=1)
        clean = (clean > 0.5).astype(np.float32)
        plate[~inside[..., 0]], clean[~inside] = 500, -7
        write_frame(shot.folder / f"plate.{frame}.exr", plate, RGB)
        write_frame(shot.folder / f"clean.{frame}.exr", clean, ("A",))
        write_frame(shot.folder / f"mask.{frame}.exr", inside.astype(np.float32), ("A",))
    data = load(shot, mask=str(shot.folder / "mask.%04d.exr"), ground_truth_channels="A")
    assert data.target_encoding.matte == (True,)
    assert max(data.input_encoding.mean) < np.log1p(20)
    assert 0 < data.target_encoding.mean[0] < 1


def test_a_clean_plate_shows_no_excluded_pixel(tmp_path: Path) -> None:
    shot = write_shot(tmp_path, effect=lambda image: np.full_like(image, 0.25))
    masks = {frame: np.ones((64, 64, 1), np.float32) for frame in FRAMES}
    for frame in FRAMES[:3]:  # three of four are wrong here, and the mask says so
        wrong = np.full((64, 64, 3), 0.25, np.float32)
        wrong[10:20, 10:20] = 0.9
        masks[frame][10:20, 10:20] = 0
        write_frame(tmp_path / f"clean.{frame}.exr", wrong, RGB)
    for frame in FRAMES:
        masks[frame][40:50, 40:50] = 0
        write_frame(tmp_path / f"mask.{frame}.exr", masks[frame], ("A",))
    data = load(shot, mask=str(tmp_path / "mask.%04d.exr"), clean_plate="On")
    assert data.clean_plate is not None
    plate = data.clean_plate[0].float().numpy()
    everywhere = np.ones((64, 64), bool)
    everywhere[40:50, 40:50] = False
    np.testing.assert_allclose(plate[everywhere][:, :3], np.broadcast_to(plate[0, 0, :3], (3996, 3)), atol=1e-3)
    # Where no frame shows anything, the frames are as far apart as can be.
    assert plate[~everywhere][:, 3].min() > plate[everywhere][:, 3].max() + 1


def test_depth_with_an_infinite_background(shot: Shot) -> None:
    for frame in FRAMES:
        plate = np.concatenate([picture(frame), 3 + picture(frame, channels=1)], axis=-1)
        plate[:30, :, 3] = np.inf
        plate[30:34, :, 3] = 1e30  # what some renderers write for it
        write_frame(shot.folder / f"plate.{frame}.exr", plate, (*RGB, "Z"), dtype="float")
    data = load(shot, non_finite="Mask", input_channels="R,G,B,Z")
    assert kept(data).sum() == 30 * 64
    assert np.log1p(20 * 3) < data.input_encoding.mean[3] < np.log1p(20 * 4)
    assert 0 < data.input_encoding.std[3] < 1
    np.testing.assert_allclose(data.input_bank[0, ..., :3].numpy(), picture(1001), atol=1e-3)  # colour stays
    assert not data.input_bank[0, :34, :, 3].any()
    (warning,) = data.warnings
    assert re.search(r"plate\.1001\.exr: 2176 pixels .*; the Input has more in frames 1002-1004, 8704 in all", warning)


def write_masks(shot: Shot, mask: np.ndarray) -> str:
    for frame in FRAMES:
        write_frame(shot.folder / f"mask.{frame}.exr", mask, ("A",), dtype="float")
    return str(shot.folder / "mask.%04d.exr")


def test_a_negative_weight_is_clamped_and_said(shot: Shot) -> None:
    mask = np.ones((64, 64, 1), np.float32)
    mask[3, 4:6], mask[9] = (-0.25,), 1e6
    data = load(shot, mask=write_masks(shot, mask))
    assert data.mask_bank is not None
    assert data.mask_bank.min() == 0
    assert torch.isfinite(data.mask_bank).all()
    assert (~kept(data)).sum() == 2
    (warning,) = data.warnings
    assert "mask.1001.exr: the mask is negative in 2 pixels, down to -0.25" in warning
    assert "in 3 more of the masks" in warning


def test_a_single_mask_is_every_frames(shot: Shot) -> None:
    mask = np.zeros((64, 64, 1), np.float32)
    mask[10:50] = 1
    write_frame(shot.folder / "garbage.png", mask, ("Y",))
    data = load(shot, mask=str(shot.folder / "garbage.png"))
    assert data.mask_bank is not None
    assert (data.mask_bank == torch.from_numpy(mask)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_mask_that_is_not_finite_is_refused_or_left_out(shot: Shot, bad: float) -> None:
    mask = np.ones((64, 64, 1), np.float32)
    mask[5, 6] = bad
    pattern = write_masks(shot, mask)
    with pytest.raises(DatasetError, match=r"mask\.1001\.exr: 1 pixel is NaN or infinite, the first at x 6, y 5"):
        load(shot, mask=pattern)
    data = load(shot, mask=pattern, non_finite="Mask")
    assert np.argwhere(~kept(data)).tolist() == [[5, 6]]


def test_a_mask_channel_is_read_with_its_frame(shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    for frame in FRAMES:
        mask = np.float32([[[0.5]]]) * np.ones((64, 64, 1), np.float32)
        pixels = np.concatenate([graded(picture(frame)), mask], axis=-1)
        write_frame(shot.folder / f"clean.{frame}.exr", pixels, (*RGB, "weight"))
    read: list[str] = []
    real = frames.sequence.read_frame

    def noted(path: Path, *arguments: Any, **more: Any) -> Any:
        read.append(path.name)
        return real(path, *arguments, **more)

    monkeypatch.setattr(frames.sequence, "read_frame", noted)
    data = load(shot, mask_channel="weight")
    assert sorted(read) == sorted(f"{kind}.{frame}.exr" for kind in ("plate", "clean") for frame in FRAMES)
    assert data.mask_bank is not None
    assert (data.mask_bank == 0.5).all()
    np.testing.assert_allclose(data.target_bank[1].numpy(), graded(picture(1002)), atol=1e-3)


def test_masks_that_exclude_everything_are_refused(shot: Shot) -> None:
    with pytest.raises(DatasetError, match=r"mask\.1001\.exr: .*nothing to train on"):
        load(shot, mask=write_masks(shot, np.zeros((64, 64, 1), np.float32)))
    nothing = np.full((64, 64, 3), np.nan, np.float32)
    for frame in FRAMES:
        write_frame(shot.folder / f"clean.{frame}.exr", nothing, RGB)
    with pytest.raises(DatasetError, match=r"clean\.1001\.exr: .*nothing to train on"):
        load(shot, non_finite="Mask")


@pytest.mark.parametrize("source", ["file", "channel", "nan"])
def test_the_mask_moves_with_its_ground_truth(tmp_path: Path, source: str) -> None:
    """Whatever says where the Ground Truth counts is of the Ground Truth, and moves back with it."""
    shot = shifted_shot(tmp_path, 3)
    mask = np.ones((160, 160, 1), np.float32)
    mask[60:80, 100:120] = 0
    for frame in FRAMES:
        path = tmp_path / f"clean.{frame}.exr"
        pixels = read_frame(path, RGB).pixels
        own = np.roll(mask, 0 if frame == FRAMES[-1] else 3, axis=1)
        pixels[own[..., 0] == 0] = np.nan if source == "nan" else 9
        write_frame(path, np.concatenate([pixels, own], axis=-1), (*RGB, "weight"))
        write_frame(tmp_path / f"mask.{frame}.exr", own, ("A",))
    asked = {"file": {"mask": str(tmp_path / "mask.%04d.exr")}, "channel": {"mask_channel": "weight"}}
    more: dict[str, Any] = asked.get(source, {"non_finite": "Mask"})
    data = load(shot, align_ground_truth=True, **more)
    assert len([warning for warning in data.warnings if "moved back" in warning]) == 3
    for index, (x0, y0, x1, y1) in enumerate(data.valid.tolist()):
        inside = kept(data, index)
        inside[:y0], inside[y1:], inside[:, :x0], inside[:, x1:] = False, False, False, False
        assert not inside[60:80, 100:120].any()
        assert inside[50:90, 90:130].sum() > 40 * 40 - 28 * 28  # no more is lost than the filter reaches
        truth = graded(data.input_bank[index].float().numpy())
        np.testing.assert_allclose(data.target_bank[index].float().numpy()[inside], truth[inside], atol=0.02)


def test_extreme_values_give_finite_centres_and_encodings() -> None:
    """Float mattes and depth may hold anything that a float holds."""
    source, target = picture(1)[None], graded(picture(1))[None]
    whole = np.array([[0, 0, 64, 64]], np.int32)
    plain, logged = (ops.Encoding((scale,) * 3, (0.0,) * 3, (1.0,) * 3) for scale in (0.0, 20.0))
    for value in (1e38, -3e38, 1e12, 1e-44):
        strange = target.copy()
        strange[0, 5, 6] = value
        for encoding in (plain, logged):
            centres, _ = difference_centres(source, strange, whole, (encoding, encoding), 0)
            assert len(centres)
            if abs(value) > 1 and encoding is plain:
                assert (centres == (6, 5)).all()
    encoding = choose_encoding(torch.from_numpy(strange * 1e-42), torch.from_numpy(whole), RGB, linear=True)
    assert np.isfinite(encoding.numbers()).all()
    assert min(encoding.std) >= 1e-4
    one = np.full((1, 64, 64, 1), 0.5, np.float32)
    one[0, :, 32:] = 1
    one[0, 3, 3] = 1e12
    found = choose_encoding(torch.from_numpy(one), torch.from_numpy(whole), ("A",), linear=True)
    assert found.mean[0] == pytest.approx(0.75, abs=0.05)
    assert found.std[0] < 2  # one mad value does not hide the matte


# -- data windows of mattes -------------------------------------------------------------------------------------------


def write_matte(path: Path, size: tuple[int, int], x: int, y: int, channels: tuple[str, ...] = ("A",)) -> None:
    """An EXR of 64x64 that is 1 in a rectangle, and has no other pixels, as with autocrop."""
    spec = oiio.ImageSpec(*size, len(channels), "half")
    spec.channelnames = channels
    spec.x, spec.y, spec.full_width, spec.full_height = x, y, 64, 64
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    out.write_image(np.ones((size[1], size[0], len(channels)), np.float32))
    out.close()


def test_a_matte_is_0_outside_its_data_window(shot: Shot) -> None:
    """A tight window holds 1 only; what the network learns must not be 1 everywhere."""
    for frame in FRAMES:
        write_matte(shot.folder / f"clean.{frame}.exr", (12, 10), 20 + frame % 4, 30)
    data = load(shot, ground_truth_channels="A")
    assert data.valid.tolist() == [[0, 0, 64, 64]] * 4
    assert float(data.target_bank.float().mean()) == pytest.approx(120 / 64**2)
    assert data.target_encoding.matte == (True,)
    assert data.target_encoding.mean[0] == pytest.approx(120 / 64**2)


def test_an_empty_matte_of_one_pixel_is_a_frame_like_others(shot: Shot) -> None:
    write_matte(shot.folder / "clean.1001.exr", (1, 1), 0, 0)
    for frame in FRAMES[1:]:
        write_matte(shot.folder / f"clean.{frame}.exr", (30, 30), 5, 5)
    assert load(shot, ground_truth_channels="A").valid.tolist() == [[0, 0, 64, 64]] * 4


def test_a_plates_window_counts_for_a_matte_too(shot: Shot) -> None:
    write_windowed(shot.folder / "plate.1002.exr", picture(1002, (40, 50)), 3, 7)
    for frame in FRAMES:
        write_matte(shot.folder / f"clean.{frame}.exr", (12, 10), 20, 30)
    assert load(shot, ground_truth_channels="A").valid[1].tolist() == [3, 7, 43, 57]


def test_what_is_called_colour_is_a_matte_when_the_knob_says_so(shot: Shot) -> None:
    for frame in FRAMES:
        write_matte(shot.folder / f"clean.{frame}.exr", (20, 20), 20, 30, RGB)
    assert load(shot, matte="On").valid.tolist() == [[0, 0, 64, 64]] * 4
    assert load(shot).valid.tolist() == [[20, 30, 40, 50]] * 4


def test_a_mask_channel_in_a_part_of_its_own_does_not_crop_the_colour(shot: Shot) -> None:
    for frame in FRAMES:
        specs = []
        for name, channels, window in (("rgb", RGB, (0, 0, 64, 64)), ("weight", ("weight",), (8, 8, 40, 40))):
            spec = oiio.ImageSpec(window[2], window[3], len(channels), "half")
            spec.x, spec.y, spec.full_width, spec.full_height = window[0], window[1], 64, 64
            spec.channelnames = channels
            spec.attribute("oiio:subimagename", name)
            specs.append(spec)
        out = oiio.ImageOutput.create("exr")
        path = str(shot.folder / f"clean.{frame}.exr")
        assert out.open(path, specs)
        out.write_image(graded(picture(frame)))
        assert out.open(path, specs[1], "AppendSubimage")
        out.write_image(np.ones((40, 40, 1), np.float32))
        out.close()
    name = next(name for name in read_info(shot.folder / "clean.1001.exr").channels if name.endswith("weight"))
    data = load(shot, mask_channel=name)
    assert data.valid.tolist() == [[0, 0, 64, 64]] * 4
    assert kept(data).sum() == 40 * 40
