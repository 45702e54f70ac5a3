"""What the check of a data set finds, and where it must stay silent."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat.checks.compare import common_colour, grain
from copycat.checks.dataset import inspect_dataset
from copycat.checks.findings import CheckReport
from copycat.data.alignment import agreed_shift, block_shifts, luminance, moved
from copycat.sequence import write_frame
from copycat.settings.tables import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

RGB = ("R", "G", "B")
Effect = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pair:
    input: str
    ground_truth: str
    mask: str = ""


def blurred(picture: np.ndarray, sigma: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """A Gaussian blur and a shift, exact and periodic, by the Fourier transform."""
    fy = np.fft.fftfreq(picture.shape[0])[:, None, None]
    fx = np.fft.fftfreq(picture.shape[1])[None, :, None]
    response = np.exp(-2 * (np.pi * sigma) ** 2 * (fx**2 + fy**2) - 2j * np.pi * (fx * dx + fy * dy))
    return np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * response, axes=(0, 1)).real.astype(np.float32)


@functools.cache
def plate(seed: int = 0, height: int = 272, width: int = 400) -> np.ndarray:
    """A picture with edges, texture and a little grain, values about 0.1 to 0.9."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 0.4, np.float32)
    for _ in range(60):
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(8, 70, 2)
        picture[y : y + h, x : x + w] = rng.uniform(0.15, 0.85, 3)
    picture = blurred(picture, 0.8) + 0.15 * blurred(rng.normal(size=picture.shape).astype(np.float32), 2.0)
    picture = np.clip(picture + rng.normal(0, 0.002, picture.shape).astype(np.float32), 0.02, 0.98)
    picture.flags.writeable = False
    return picture


def write_pairs(folder: Path, effect: Effect, frames: range = range(1001, 1004), **options: Any) -> Pair:
    for frame in frames:
        picture = plate(frame)
        write_frame(folder / f"in.{frame}.exr", picture, RGB, dtype="float", compression="none")
        result = effect(picture)
        write_frame(folder / f"out.{frame}.exr", result, RGB, dtype="float", compression="none")
    return Pair(str(folder / "in.####.exr"), str(folder / "out.####.exr"), **options)


def check(*pairs: Pair, **options: Any) -> CheckReport:
    pixels = options.pop("pixels", True)
    return inspect_dataset(pairs, Settings(**{"crop_size": 64, **options}), pixels=pixels)


def sentences(report: CheckReport, severity: str) -> list[str]:
    return [finding.sentence for finding in report.findings if finding.severity == severity]


def painted(picture: np.ndarray) -> np.ndarray:
    result = picture.copy()
    result[60:160, 100:220] = plate(77)[:100, :120]
    return result


def defocused(picture: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[-8:9, -8:9]
    disc = np.zeros(picture.shape[:2])
    disc[:17, :17] = x**2 + y**2 <= 40
    disc = np.roll(disc / disc.sum(), (-8, -8), (0, 1))
    spectrum = np.fft.fft2(picture, axes=(0, 1)) * np.fft.fft2(disc)[..., None]
    return np.fft.ifft2(spectrum, axes=(0, 1)).real.astype(np.float32)


def graded(picture: np.ndarray) -> np.ndarray:
    return (picture * np.float32([1.2, 1.0, 0.8]) + np.float32(0.02)).astype(np.float32)


def half_warped(picture: np.ndarray) -> np.ndarray:
    result = picture.copy()
    result[:, :180] = blurred(picture, 0, 3, 1)[:, :180]
    return result


HONEST: dict[str, Effect] = {
    "paint": painted,
    "small paint": lambda p: np.where(np.arange(p.size).reshape(p.shape) == 5, 0, p),
    "grade": graded,
    "gamma": lambda p: p**0.6,
    "exposure": lambda p: p * 4,
    "defocus": defocused,
    "blur": lambda p: blurred(p, 1.5),
    "sharpen": lambda p: np.clip(2 * p - blurred(p, 1.5), 0, None),
    "grain": lambda p: p + np.random.default_rng(5).normal(0, 0.03, p.shape).astype(np.float32),
    "warp of one half": half_warped,
    "something else": lambda p: p[::-1, ::-1],
}


@pytest.mark.parametrize("name", HONEST)
def test_no_effect_on_purpose_is_called_a_mistake(tmp_path: Path, name: str) -> None:
    report = check(write_pairs(tmp_path, HONEST[name]))
    assert report.pairs == 3
    assert sentences(report, "error") == sentences(report, "warning") == []


def test_a_clean_data_set_has_no_findings(tmp_path: Path) -> None:
    assert check(write_pairs(tmp_path, painted)).findings == []


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-0.25, 0.25), (1.0, -2.0), (17.0, 6.0)])
@pytest.mark.parametrize("effect", ["none", "grade", "paint", "blur"])
def test_a_shifted_ground_truth_is_found(tmp_path: Path, shift: tuple[float, float], effect: str) -> None:
    change = HONEST.get(effect, lambda p: p)
    report = check(write_pairs(tmp_path, lambda p: blurred(change(p), 0, *shift)))
    (warning,) = sentences(report, "warning")
    assert "out.####.exr" in warning
    found = re.search(r"by ([+-][0-9.]+) pixels in x and ([+-][0-9.]+) in y", warning)
    assert found
    dx, dy = map(float, found.groups())
    assert (dx, dy) == pytest.approx(shift, abs=0.06 + 0.01 * max(map(abs, shift)))


def test_a_single_shifted_frame_is_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    write_frame(tmp_path / "out.1002.exr", blurred(painted(plate(1002)), 0, 0.7, -0.4), RGB, dtype="float")
    (warning,) = sentences(check(pair), "warning")
    found = re.search(r": 1002 by ([+-][0-9.]+), ([+-][0-9.]+); --align-ground-truth", warning)
    assert found
    assert tuple(map(float, found.groups())) == pytest.approx((0.7, -0.4), abs=0.07)


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.7, 0.0), (-0.3, 0.5), (3.25, -2.0), (-4.0, 1.75)])
def test_a_picture_is_moved_by_fractions_of_a_pixel(dx: float, dy: float) -> None:
    smooth = blurred(plate(3), 1.0)
    found = moved(smooth, dx, dy)
    expected = blurred(smooth, 0, dx, dy)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[8:-8, 8:-8], expected[8:-8, 8:-8], atol=0.012)
    assert found.min() >= smooth.min()
    assert found.max() <= smooth.max()


@settings(max_examples=12, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20), st.integers(0, 1000))
def test_a_shift_is_measured_to_a_fraction_of_a_pixel(dx: float, dy: float, seed: int) -> None:
    picture = plate(seed)
    shift = agreed_shift(block_shifts(luminance(picture), luminance(blurred(picture, 0, dx, dy).clip(0, 1))))
    if np.hypot(dx, dy) < 0.15:
        assert shift is None
    elif np.hypot(dx, dy) > 0.25:
        assert shift is not None
        assert (shift.dx, shift.dy) == pytest.approx((dx, dy), abs=0.06 + 0.01 * max(abs(dx), abs(dy)))


def test_pictures_without_detail_have_no_shift() -> None:
    flat = np.full((128, 128), 0.5, np.float32)
    assert agreed_shift(block_shifts(flat, flat)) is None
    assert block_shifts(flat[:20, :20], flat[:20, :20]) == []


def test_a_colour_change_of_the_whole_picture_is_noted(tmp_path: Path) -> None:
    (note,) = sentences(check(write_pairs(tmp_path, lambda p: painted(graded(p)))), "note")
    assert "gain 1.200, 1.000, 0.800; offset 0.020, 0.020, 0.020" in note


def test_paint_does_not_disturb_the_colour_fit() -> None:
    rng = np.random.default_rng(0)
    source = rng.random((500, 3), np.float32)
    target = source.copy()
    target[:120] = rng.random((120, 3))
    fit = common_colour(source, target)
    assert fit.size < 1e-3
    assert fit.gain == pytest.approx((1, 1, 1), abs=1e-3)


def test_other_grain_is_noted(tmp_path: Path) -> None:
    (note,) = sentences(check(write_pairs(tmp_path, HONEST["grain"])), "note")
    assert "has more grain than the Input" in note


@pytest.mark.parametrize("deviation", [0.005, 0.02, 0.1])
def test_grain_is_measured(deviation: float) -> None:
    ramp = np.linspace(0, 1, 300, dtype=np.float32) * np.ones((200, 1), np.float32)
    noise = np.random.default_rng(1).normal(0, deviation, ramp.shape).astype(np.float32)
    assert grain(ramp + noise) == pytest.approx(deviation, rel=0.1)
    assert grain(ramp) < 1e-5


def test_identical_pairs_are_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, lambda p: p)
    (warning,) = sentences(check(pair), "warning")
    assert "frames 1001-1003 are the same as in" in warning
    write_frame(tmp_path / "out.1002.exr", painted(plate(1002)), RGB, dtype="float", compression="none")
    report = check(pair)
    assert sentences(report, "warning") == []
    assert "frames 1001,1003 are the same as in" in sentences(report, "note")[0]


def test_missing_frames_are_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted, range(1001, 1006))
    (tmp_path / "out.1002.exr").unlink()
    (tmp_path / "in.1004.exr").unlink()
    report = check(pair)
    assert report.pairs == 3
    assert sentences(report, "error") == []
    assert "frame 1004 is without an Input" in sentences(report, "warning")[0]
    report = check(pair, training_frames="1001-1004,1009", watch_training_frames=False)
    errors = sentences(report, "error")
    assert errors == [
        f"{tmp_path}/in.1004.exr: frames 1004,1009 of the Input are missing",
        f"{tmp_path}/out.1002.exr: frames 1002,1009 of the Ground Truth are missing",
    ]
    assert report.pairs == 2


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        (Pair("{0}/no.####.exr", "{0}/out.####.exr"), {}, "no file matches"),
        (Pair("{0}/in.####.exr", "{0}/out.####.exr"), {"training_frames": "1-"}, "'1-' is no list of frames"),
        (Pair("{0}/in.####.exr", "{0}/out.####.exr"), {"input_channels": "rgba"}, "no channel or layer 'rgba'"),
        (Pair("{0}/in.####.exr", "{0}/out.####.exr"), {"ground_truth_channels": "Z"}, "no channel or layer 'Z'"),
        (Pair("{0}/in.####.exr", "{0}/out.####.exr"), {"mask_channel": "m"}, "has no channel 'm'; it has R, G, B"),
        (Pair("{0}/in.####.exr", "{0}/out.####.exr", "{0}/m.####.exr"), {}, "no file matches"),
    ],
)
def test_what_a_training_would_stop_at(tmp_path: Path, pair: Pair, options: dict[str, str], message: str) -> None:
    write_pairs(tmp_path, painted, range(1001, 1003))
    folder = str(tmp_path)
    here = Pair(*(text.replace("{0}", folder) for text in (pair.input, pair.ground_truth, pair.mask)))
    errors = sentences(check(here, **options), "error")
    assert errors
    assert all(message in error for error in errors)


def test_frames_without_a_partner(tmp_path: Path) -> None:
    write_pairs(tmp_path, painted, range(1, 3))
    for frame in (1, 2):
        (tmp_path / f"in.{frame}.exr").rename(tmp_path / f"in.{frame + 10}.exr")
    (error,) = sentences(check(Pair(str(tmp_path / "in.%d.exr"), str(tmp_path / "out.%d.exr"))), "error")
    assert "have no frame in common" in error


def test_two_single_files_are_a_pair(tmp_path: Path) -> None:
    write_pairs(tmp_path, painted)
    report = check(Pair(str(tmp_path / "in.1001.exr"), str(tmp_path / "out.1001.exr")), training_frames="5")
    assert (report.pairs, report.findings) == (1, [])


def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    write_frame(tmp_path / "out.1002.exr", plate(1, 100, 200), RGB)
    report = check(pair)
    (error,) = sentences(report, "error")
    assert "out.1002.exr: the Ground Truth is 200x100, its Input in.1002.exr is 400x272" in error
    (tmp_path / "in.1002.exr").unlink()
    write_frame(tmp_path / "in.1002.exr", plate(1, 100, 200), RGB)
    assert "different sizes (200 x 100, 400 x 272)" in sentences(check(pair), "note")[0]


def test_a_channel_that_one_file_lacks_is_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    write_frame(tmp_path / "in.1003.exr", plate(3)[..., :2], ("R", "G"))
    (error,) = sentences(check(pair), "error")
    assert "in.1003.exr has no channel 'B'; it has R, G" in error


def test_truncated_and_foreign_files_are_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted, range(1001, 1005))
    broken = tmp_path / "in.1002.exr"
    broken.write_bytes(broken.read_bytes()[:50_000])
    (tmp_path / "out.1003.exr").write_text("no image")
    errors = sentences(check(pair), "error")
    assert len(errors) == 2
    assert any("in.1002.exr cannot be read" in error for error in errors)
    assert any("out.1003.exr cannot be read" in error for error in errors)
    assert len(sentences(check(pair, pixels=False), "error")) == 1


def test_pixels_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    picture = plate(1002).copy()
    picture[100, 40, 1], picture[101, 50] = np.nan, np.inf
    write_frame(tmp_path / "in.1002.exr", picture, RGB, dtype="float", compression="none")
    (error,) = sentences(check(pair), "error")
    assert "in.1002.exr: 2 pixels are NaN or infinite, the first at x 40, y 100 from the top left" in error
    assert sentences(check(pair, non_finite="Mask"), "error") == []
    assert len(sentences(check(pair, non_finite="Mask"), "warning")) == 1


def test_frames_of_one_colour_are_named(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    flat = np.full((272, 400, 3), 0.25, np.float32)
    write_frame(tmp_path / "in.1002.exr", flat, RGB)
    write_frame(tmp_path / "out.1003.exr", flat, RGB)
    report = check(pair)
    assert ["in.####.exr: frame 1002 is of one colour only" in s for s in sentences(report, "warning")] == [True]
    assert ["out.####.exr: frame 1003 is of one colour only" in s for s in sentences(report, "note")] == [True]


def test_a_mask_is_looked_at(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted, mask=str(tmp_path / "mask.####.png"))
    for frame in (1001, 1002):
        write_frame(tmp_path / f"mask.{frame}.png", np.full((272, 400, 1), frame == 1001, np.float32), ["Y"])
    report = check(pair)
    assert report.pairs == 2
    missing, empty = sentences(report, "warning")
    assert "mask.####.png: frame 1003 is missing" in missing
    assert "mask.####.png: frame 1002 is 0 all over in the mask" in empty
    write_frame(tmp_path / "mask.1001.png", np.ones((20, 20, 1), np.float32), ["Y"])
    assert "mask.1001.png: the mask is 20x20, its Input in.1001.exr is 400x272" in sentences(check(pair), "error")[0]


def test_a_display_referred_ground_truth_of_a_linear_input(tmp_path: Path) -> None:
    write_frame(tmp_path / "in.exr", plate(), RGB)
    write_frame(tmp_path / "out.png", plate(), RGB)
    (warning,) = sentences(check(Pair(str(tmp_path / "in.exr"), str(tmp_path / "out.png"))), "warning")
    assert "out.png: is not scene-linear (uint8 png), while its Input is scene-linear (half openexr)" in warning


def test_data_windows_that_hardly_meet(tmp_path: Path) -> None:
    import OpenImageIO as oiio  # noqa: N813

    for name, x in (("in.exr", 0), ("out.exr", 60)):
        spec = oiio.ImageSpec(70, 128, 3, "half")
        spec.x, spec.full_x, spec.full_width, spec.full_height = x, 0, 130, 128
        output = oiio.ImageOutput.create(str(tmp_path / name))
        assert output.open(str(tmp_path / name), spec)
        assert output.write_image(plate(1, 128, 70))
        output.close()
    (error,) = sentences(check(Pair(str(tmp_path / "in.exr"), str(tmp_path / "out.exr"))), "error")
    assert "out.exr: its data window hardly meets" in error


def test_sizes_and_numbers_are_held_against_the_settings(tmp_path: Path) -> None:
    pair = write_pairs(tmp_path, painted)
    assert (
        "frames of 400 x 272 are smaller than the crop size 512" in sentences(check(pair, crop_size=512), "warning")[0]
    )
    assert "at a quarter of the resolution" in sentences(check(pair, crop_size=128), "note")[0]
    assert sentences(check(pair, crop_size=128, use_multi_resolution_training=False), "note") == []
    many = [pair] * 34
    assert "102 pairs are more than 100" in sentences(check(*many, pixels=False), "note")[0]
    assert sentences(check(*many, pixels=False, use_multi_resolution_training=False), "note") == []


def test_frames_too_small_to_train_on(tmp_path: Path) -> None:
    for name in ("in.exr", "out.exr"):
        write_frame(tmp_path / name, plate(1, 12, 40), RGB)
    (error,) = sentences(check(Pair(str(tmp_path / "in.exr"), str(tmp_path / "out.exr"))), "error")
    assert "in.exr: 40x12 is too small to train on; 16x16 is the least" in error


def test_frames_that_memory_cannot_hold_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = write_pairs(tmp_path, painted)
    write_frame(tmp_path / "in.1002.exr", plate(1, 32, 32), RGB)
    write_frame(tmp_path / "out.1002.exr", plate(2, 32, 32), RGB)
    monkeypatch.setattr("copycat.checks.dataset.free_memory", lambda: 1_000_000)
    report = check(pair)
    errors = sentences(report, "error")
    assert [error.partition(":")[0] for error in errors] == [str(tmp_path / f"in.{n}.exr") for n in (1001, 1003)]
    assert "400x272 needs 0.0 GB of memory to be checked, and 0.0 GB are free" in errors[0]


def test_one_bad_pair_does_not_hide_another(tmp_path: Path) -> None:
    good = write_pairs(tmp_path, lambda p: blurred(p, 0, 1, 0))
    report = check(Pair("nowhere.####.exr", good.ground_truth), good)
    assert [finding.severity for finding in report.findings] == ["error", "warning"]
    assert len(report.errors) == 1
    assert report.pairs == 3
