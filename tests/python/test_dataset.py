"""Frames into banks: what is read where, masks, data windows, levels, the pixels at which pairs differ."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from conftest import FRAMES, Shot, graded, picture, write_shot
from copycat import ops
from copycat.data import banks, frames
from copycat.data.centres import affine_residual
from copycat.data.dataset import Dataset, load_dataset
from copycat.sequence import write_frame
from copycat.sequence.pairs import DatasetError, Pair, find_frames
from copycat.settings.tables import Settings


def load(shot: Shot, mask: str = "", frames: str = "all", **knobs: Any) -> Dataset:
    return load_dataset(find_frames([Pair(shot.input, shot.ground_truth, mask)], frames), Settings(**knobs))


def half(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float16).astype(np.float32)


def test_frames_lie_in_the_bank_as_in_the_files(shot: Shot) -> None:
    data = load(shot)
    assert len(data) == 4
    assert data.input_bank.dtype == torch.float16
    for index, frame in enumerate(FRAMES):
        np.testing.assert_array_equal(data.input_bank[index].numpy(), half(picture(frame)))
        np.testing.assert_allclose(data.target_bank[index].numpy(), graded(picture(frame)), atol=1e-3)
    assert data.valid.tolist() == [[0, 0, 64, 64]] * 4
    assert (data.input_channels, data.target_channels, data.residual) == (("R", "G", "B"), ("R", "G", "B"), (0, 1, 2))
    assert data.linear
    assert data.mask_bank is None


@pytest.mark.parametrize(("frames", "found"), [("all", list(FRAMES)), ("1002-1004x2", [1002, 1004]), ("1003", [1003])])
def test_the_frames_that_were_asked_for(shot: Shot, frames: str, found: list[int]) -> None:
    assert [pair.frame for pair in find_frames([Pair(shot.input, shot.ground_truth)], frames)] == found


def test_all_frames_are_those_that_both_have(shot: Shot) -> None:
    (shot.folder / "plate.1001.exr").unlink()
    (shot.folder / "clean.1004.exr").unlink()
    assert [pair.frame for pair in find_frames([Pair(shot.input, shot.ground_truth)])] == [1002, 1003]


def test_two_single_files_are_a_pair_whatever_their_numbers(shot: Shot) -> None:
    (pair,) = find_frames([Pair(str(shot.folder / "plate.1001.exr"), str(shot.folder / "clean.1004.exr"))])
    assert (pair.input.name, pair.ground_truth.name) == ("plate.1001.exr", "clean.1004.exr")


@pytest.mark.parametrize(
    ("extension", "dtype"), [("png", torch.uint8), ("tif", torch.uint8), ("exr", torch.float16), ("dpx", torch.float32)]
)
def test_the_bank_is_of_the_smallest_type_that_holds_the_files(
    tmp_path: Path, extension: str, dtype: torch.dtype
) -> None:
    data = load(write_shot(tmp_path, (1001,), extension=extension))
    assert data.input_bank.dtype == data.target_bank.dtype == dtype
    assert data.linear == (extension == "exr")


def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every bank in float32, which holds 8-bit values to the last bit."""
    monkeypatch.setattr(banks, "_bank_dtype", lambda *_: np.dtype(np.float32))


@pytest.mark.parametrize("level", [1, 2, 4])
def test_an_8_bit_bank_trains_on_what_the_files_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """At full resolution to the last bit, below it to the precision of half; with half the memory of half."""
    shot = write_shot(tmp_path, extension="png")
    small = load(shot)
    in_float32(monkeypatch)
    large = load(shot)
    assert small.input_bank.nbytes * 4 == large.input_bank.nbytes
    assert torch.equal(small.centres, large.centres)
    assert small.input_encoding == large.input_encoding
    assert small.target_encoding == large.target_encoding
    for data in (one := small.at_level(level)), (other := large.at_level(level)):
        assert data.level == level
    crops = [
        ops.sample_crops(
            data.input_bank,
            data.target_bank,
            ops.CropRule(crop=(16, 16), seed=3, valid=data.valid, flop=0.5, gain=0.5),
            step=2,
            batch=6,
            input_encoding=data.input_encoding,
            target_encoding=data.target_encoding,
            input_layers=((0, 1, 2),),
            target_layers=((0, 1, 2),),
        )
        for data in (one, other)
    ]
    for a, b in zip(*crops, strict=True):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=0 if level == 1 else 5e-3)


def test_the_hash_of_8_bit_frames_is_that_of_the_half_bank_of_earlier_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = write_shot(tmp_path, extension="png")
    now = load(shot).data_hash
    monkeypatch.setattr(banks, "_bank_dtype", lambda *_: np.dtype(np.float16))
    assert load(shot).data_hash == now


def test_a_ground_truth_of_8_bits_is_moved_by_fractions(tmp_path: Path) -> None:
    """Between the values of 8 bits there are others once it is moved."""
    shot = shifted_shot(tmp_path, 2, extension="png")
    data = load(shot, align_ground_truth=True)
    assert (data.input_bank.dtype, data.target_bank.dtype) == (torch.uint8, torch.float16)


def test_float_files_stay_float(shot: Shot) -> None:
    for frame in FRAMES:
        write_frame(shot.folder / f"plate.{frame}.exr", picture(frame) + 70000, ("R", "G", "B"), dtype="float")
    data = load(shot)
    assert (data.input_bank.dtype, data.target_bank.dtype) == (torch.float32, torch.float16)
    assert float(data.input_bank.min()) >= 70000


def test_a_bank_on_disk_holds_the_same_and_leaves_nothing(shot: Shot, tmp_path: Path) -> None:
    (tmp_path / "bank").mkdir()
    frames = find_frames([Pair(shot.input, shot.ground_truth)])
    disk = load_dataset(frames, Settings(bank="disk"), directory=tmp_path / "bank")
    host = load_dataset(frames, Settings(bank="host"))
    assert torch.equal(disk.input_bank, host.input_bank)
    assert torch.equal(disk.target_bank, host.target_bank)
    assert disk.data_hash == host.data_hash
    assert not list((tmp_path / "bank").iterdir())


@pytest.mark.parametrize("bank", ["auto", "device"])
def test_a_bank_that_does_not_fit_into_memory_goes_to_disk(
    shot: Shot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank: str
) -> None:
    monkeypatch.setattr(banks, "free_memory", lambda: 1000)
    frames = find_frames([Pair(shot.input, shot.ground_truth)])
    with pytest.raises(DatasetError, match="absent: no room for the data set"):
        load_dataset(frames, Settings(bank=bank), directory=tmp_path / "absent")


def test_a_bank_that_must_be_in_memory_and_does_not_fit_is_refused_before_it_is_read(
    shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banks, "free_memory", lambda: 50_000)
    with pytest.raises(DatasetError, match=r"the data set needs 0.0 GB of memory .* set Bank to auto or disk"):
        load(shot, bank="host")


def test_the_hash_is_of_the_pixels(shot: Shot) -> None:
    before = load(shot).data_hash
    assert load(shot).data_hash == before
    write_frame(shot.folder / "clean.1002.exr", picture(1002), ("R", "G", "B"))
    assert load(shot).data_hash != before


def write_windowed(path: Path, image: np.ndarray, x: int, y: int) -> None:
    """An EXR of 64x64 that has pixels only where ``image`` lies."""
    spec = oiio.ImageSpec(image.shape[1], image.shape[0], 3, "half")
    spec.x, spec.y, spec.full_width, spec.full_height = x, y, 64, 64
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    out.write_image(image)
    out.close()


def test_data_windows_are_intersected(shot: Shot) -> None:
    write_windowed(shot.folder / "plate.1002.exr", picture(1002, (40, 50)), 3, 7)
    write_windowed(shot.folder / "clean.1002.exr", picture(1002, (80, 30)), -5, 20)
    data = load(shot)
    assert data.valid[1].tolist() == [3, 20, 43, 50]
    assert (data.centres[data.centre_offsets[1] : data.centre_offsets[2]].numpy() >= (3, 20)).all()
    assert (data.centres[data.centre_offsets[1] : data.centre_offsets[2]].numpy() < (43, 50)).all()
    for level in (4, 2):
        x0, y0, x1, y1 = data.at_level(level).valid[1].tolist()
        assert 3 <= x0 * level <= x1 * level <= 43
        assert 20 <= y0 * level <= y1 * level <= 50


def test_data_windows_that_do_not_meet(shot: Shot) -> None:
    write_windowed(shot.folder / "plate.1002.exr", picture(1002, (30, 30)), 0, 0)
    write_windowed(shot.folder / "clean.1002.exr", picture(1002, (30, 30)), 34, 34)
    with pytest.raises(DatasetError, match=r"clean\.1002\.exr: its data window hardly meets that of the Input"):
        load(shot)


def test_smaller_frames_lie_in_the_corner(shot: Shot, tmp_path: Path) -> None:
    small = write_shot(tmp_path / "small", (1001,), size=(40, 24))
    pairs = [Pair(shot.input, shot.ground_truth), Pair(small.input, small.ground_truth)]
    data = load_dataset(find_frames(pairs), Settings())
    assert data.valid[-1].tolist() == [0, 0, 40, 24]
    assert not data.input_bank[-1, 24:].any()
    assert not data.input_bank[-1, :, 40:].any()
    assert data.crop(256) == (16, 32)
    assert data.at_level(4).valid[-1].tolist() == [0, 0, 10, 6]


@pytest.mark.parametrize("level", [2, 4])
def test_a_level_is_the_area_average(shot: Shot, level: int) -> None:
    data = load(shot)
    low = data.at_level(level)
    side = 64 // level
    expected = data.input_bank[1].float().view(side, level, side, level, 3).mean((1, 3))
    torch.testing.assert_close(low.input_bank[1].float(), expected, atol=1e-3, rtol=0)
    assert low.level == level
    assert low.valid[0].tolist() == [0, 0, side, side]
    assert int(low.centres.max()) < side


def test_non_finite_pixels_are_found_counted_and_masked(shot: Shot) -> None:
    spoiled = picture(1003)
    spoiled[10:12, 5:8, 1] = np.nan
    spoiled[40, 40] = -np.inf
    write_frame(shot.folder / "plate.1003.exr", spoiled, ("R", "G", "B"))
    with pytest.raises(DatasetError, match=r"plate\.1003\.exr: 7 pixels are NaN or infinite, the first at x 5, y 10"):
        load(shot)
    data = load(shot, non_finite="Mask")
    assert torch.isfinite(data.input_bank).all()
    assert data.mask_bank is not None
    assert (data.mask_bank[2, ..., 0] == 0).sum() == 7
    assert (data.mask_bank[[0, 1, 3]] == 1).all()
    assert data.warnings


def test_a_mask_sequence_weights_its_pair(shot: Shot, tmp_path: Path) -> None:
    for frame in FRAMES:
        write_frame(shot.folder / f"mask.{frame}.exr", picture(frame, channels=1), ("A",))
    data = load(shot, mask=str(shot.folder / "mask.%04d.exr"))
    assert data.mask_bank is not None
    np.testing.assert_allclose(data.mask_bank[1].numpy(), picture(1002, channels=1), atol=1e-3)


def test_channels_start_from_the_input_by_name(shot: Shot) -> None:
    data = load(shot, input_channels="B,R", ground_truth_channels="R,G,B")
    assert data.residual == (1, -1, 0)
    assert data.target_encoding.mean[0] == data.input_encoding.mean[1]
    assert data.target_encoding.std[2] == data.input_encoding.std[0]


def test_the_centres_are_where_a_pair_differs(tmp_path: Path) -> None:
    def repaired(image: np.ndarray) -> np.ndarray:
        changed_image = image * 0.9
        changed_image[20:28, 40:44] = 0.2
        return changed_image.astype(np.float32)

    data = load(write_shot(tmp_path, effect=repaired))
    inside = ((data.centres >= torch.tensor([40, 20])) & (data.centres < torch.tensor([44, 28]))).all(dim=1)
    assert inside.float().mean() > 0.8


def test_pairs_that_do_not_differ_have_no_centres(tmp_path: Path) -> None:
    data = load(write_shot(tmp_path, effect=lambda image: image))
    assert data.centres.shape == (0, 2)
    assert data.centre_offsets.tolist() == [0] * 5


def test_an_affine_change_of_colour_is_no_difference() -> None:
    source = picture(1)
    target = source[..., [1, 0]] * 0.5 + 0.1
    target[30:34, 30:34] += 0.7
    difference = affine_residual(source, target.astype(np.float32))
    assert difference[:28].max() < 1e-3
    assert difference[31:33, 31:33].min() > 0.6


def test_reading_stops_at_once_on_request(shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops does not wait for the frames that nobody has begun to read."""
    many = find_frames([Pair(shot.input, shot.ground_truth)]) * 50
    real, read, stopped = frames.sequence.read_frame, [], threading.Event()

    def slow(*arguments: Any, **more: Any) -> Any:
        read.append(arguments[0])
        if len(read) > 20:
            stopped.wait(60)
        return real(*arguments, **more)

    def stop(what: str, done: int, count: int) -> None:
        stopped.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(frames.sequence, "read_frame", slow)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(many, Settings(), progress=stop)
    assert len(read) < 2 * len(many)


def shifted_shot(folder: Path, dx: int, extension: str = "exr") -> Shot:
    """Textured frames of 160 pixels whose Ground Truth lies ``dx`` pixels to the right, but for the last."""
    for frame in FRAMES:
        noise = np.random.default_rng(frame).random((160, 160, 3)).astype(np.float32)
        texture = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
        write_frame(folder / f"plate.{frame}.{extension}", texture, ("R", "G", "B"))
        moved = graded(np.roll(texture, 0 if frame == FRAMES[-1] else dx, 1))
        write_frame(folder / f"clean.{frame}.{extension}", moved, ("R", "G", "B"))
    return Shot(folder, str(folder / f"plate.%04d.{extension}"), str(folder / f"clean.%04d.{extension}"))


def test_a_ground_truth_that_lies_beside_its_input_is_moved_back_when_asked(tmp_path: Path) -> None:
    shot = shifted_shot(tmp_path, 2)
    left = load(shot)
    assert left.warnings == ()
    data = load(shot, align_ground_truth=True)
    assert [warning.split(":")[0] for warning in data.warnings] == [
        str(shot.folder / f"clean.{frame}.exr") for frame in FRAMES[:3]
    ]
    numbers = [re.findall(r"[+-][0-9.]+", warning.split(":")[1]) for warning in data.warnings]
    np.testing.assert_allclose(np.array(numbers, float), [[2, 0]] * 3, atol=0.05)
    assert data.valid.tolist() == [[2, 2, 158, 158]] * 3 + [[0, 0, 160, 160]]
    for index, (x0, y0, x1, y1) in enumerate(data.valid.tolist()):
        source = data.input_bank[index, y0:y1, x0:x1].float().numpy()
        target = data.target_bank[index, y0:y1, x0:x1].float().numpy()
        np.testing.assert_allclose(target, graded(source), atol=0.02)
    assert data.data_hash == left.data_hash


def test_a_matte_cannot_be_aligned_with_colour(shot: Shot) -> None:
    with pytest.raises(DatasetError, match="the same channels"):
        load(shot, align_ground_truth=True, ground_truth_channels="R")
