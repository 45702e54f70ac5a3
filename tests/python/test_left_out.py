"""Trainings on frames without all their pixels or partners, through the command line: refused, or said and left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMES, Outcome, Shot, losses, picture, summary
from copycat.runs import find_run, read_info
from copycat.sequence import read_frame, write_frame
from test_bad_input import sentence

Copycat = Callable[..., Outcome]


@pytest.fixture
def train_shot(copycat: Copycat, shot: Shot, tmp_path: Path) -> Callable[..., Outcome]:
    """Trains on the shot through the command line."""
    small = ("--data-directory", tmp_path / "runs", "--model-size", "Small", "--crop-size", 32, "--epochs", 4)
    return lambda *more: copycat("train", shot.input, shot.ground_truth, *small, *more)


@pytest.fixture
def refused(train_shot: Callable[..., Outcome]) -> Callable[..., str]:
    """Trains through the command line, which must refuse; returns the sentence."""
    return lambda *more: sentence(train_shot(*more))


@pytest.fixture
def trained(train_shot: Callable[..., Outcome], tmp_path: Path) -> Callable[..., list[str]]:
    """Trains through the command line, which must not refuse; returns the run's warnings."""

    def call(*more: object) -> list[str]:
        status, out, err = train_shot(*more)
        assert status == 0, err
        run = find_run(tmp_path / "runs")
        assert all(math.isfinite(loss) for loss in losses(run))
        warnings = [str(sentence) for sentence in read_info(run).header["warnings"]]
        for warning in warnings:
            assert f"warning: {warning}" in out
        return warnings

    return call


def test_a_mask_with_nan_is_refused_and_a_negative_one_is_clamped(
    refused: Callable[..., str], trained: Callable[..., list[str]], shot: Shot
) -> None:
    mask = np.ones((64, 64, 1), np.float32)
    mask[7, 8] = np.nan
    write_frame(shot.folder / "mask.exr", mask, ("A",), dtype="float")
    said = refused("--mask", shot.folder / "mask.exr")
    assert f"{shot.folder}/mask.exr: 1 pixel is NaN or infinite, the first at x 8, y 7" in said
    (warning,) = trained("--mask", shot.folder / "mask.exr", "--non-finite", "Mask")
    assert warning.startswith(f"{shot.folder}/mask.exr: 1 pixel is NaN or infinite")
    mask[7, 8] = -2
    write_frame(shot.folder / "mask.exr", mask, ("A",), dtype="float")
    (warning,) = trained("--mask", shot.folder / "mask.exr")
    assert warning.startswith(f"{shot.folder}/mask.exr: the mask is negative in 1 pixel, down to -2")


@pytest.mark.parametrize("background", [np.inf, 1e38])
def test_depth_with_an_infinite_background_trains(
    trained: Callable[..., list[str]], shot: Shot, background: float
) -> None:
    for frame in FRAMES:
        plate = np.concatenate([picture(frame), 3 + picture(frame, channels=1)], axis=-1)
        plate[:30, :, 3] = background
        write_frame(shot.folder / f"plate.{frame}.exr", plate, ("R", "G", "B", "Z"), dtype="float")
    (warning,) = trained("--input-channels", "R,G,B,Z", "--non-finite", "Mask")
    assert re.search(r"1920 pixels are .*; the Input has more in frames 1002-1004, 7680 in all", warning)


def test_fewer_pairs_than_lie_there_are_said(trained: Callable[..., list[str]], shot: Shot) -> None:
    (shot.folder / "plate.1002.exr").unlink()
    (warning,) = trained()
    assert warning == f"{shot.ground_truth}: frame 1002 is without an Input in {shot.input} and left out"
    assert trained("--frames", "1001,1003-1004") == []
    (shot.folder / "clean.1003.exr").unlink()
    (warning,) = trained("--frames", "1001,1003-1004")
    assert warning == (
        f"{shot.folder}/clean.1003.exr: frame 1003 of the Ground Truth is missing; it is taken in when it is there"
    )


def test_validation_frames_and_preview_with_bad_pixels(
    trained: Callable[..., list[str]], shot: Shot, tmp_path: Path
) -> None:
    for name, where in (("plate", (3, 4)), ("clean", (9, 10))):
        pixels = picture(1001)
        pixels[where] = np.inf
        write_frame(shot.folder / f"other_{name}.1001.exr", pixels, ("R", "G", "B"))
    warnings = trained(
        "--validation-input", shot.folder / "other_plate.1001.exr",
        "--validation-ground-truth", shot.folder / "other_clean.1001.exr",
        "--preview", shot.folder / "other_plate.1001.exr", "--image-interval", 2, "--checkpoint-interval", 2,
    )  # fmt: skip
    assert len(warnings) == 3  # once each
    first, second = (w for w in warnings if w.startswith(f"{shot.folder}/other_plate.1001.exr: 1 pixel is NaN"))
    assert "the first at x 4, y 3" in first
    assert "the first at x 4, y 3" in second
    (truth,) = (w for w in warnings if "other_clean" in w)
    assert "1 pixel is NaN or infinite, the first at x 10, y 9 from the top left; left out of the validation" in truth
    values = [record["psnr"] for record in summary(find_run(tmp_path / "runs")) if "psnr" in record]
    assert len(values) == 2
    assert all(map(math.isfinite, values))


def test_validation_frames_of_other_sizes(refused: Callable[..., str], shot: Shot) -> None:
    write_frame(shot.folder / "other.1001.exr", picture(1001, (48, 64)), ("R", "G", "B"))
    said = refused(
        "--validation-input", shot.folder / "plate.1001.exr",
        "--validation-ground-truth", shot.folder / "other.1001.exr",
    )  # fmt: skip
    assert "other.1001.exr: the Ground Truth is 48x64, its Input plate.1001.exr is 64x64" in said


def test_a_tight_matte_does_not_train_to_1_everywhere(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    import OpenImageIO as oiio  # noqa: N813

    for frame in FRAMES:
        spec = oiio.ImageSpec(16, 16, 1, "half")
        spec.channelnames = ("A",)
        spec.x, spec.y, spec.full_width, spec.full_height = 20, 30, 64, 64
        out = oiio.ImageOutput.create("exr")
        assert out.open(str(shot.folder / f"key.{frame}.exr"), spec)
        out.write_image(np.ones((16, 16, 1), np.float32))
        out.close()
    status, _, err = copycat(
        "train", shot.input, shot.folder / "key.%04d.exr", "--data-directory", tmp_path / "runs", "--run-name", "key",
        "--model-size", "Small", "--crop-size", 32, "--epochs", 40, "--ground-truth-channels", "A",
    )  # fmt: skip
    assert status == 0, err
    status, _, err = copycat("infer", tmp_path / "runs" / "key", shot.input, tmp_path / "out.%04d.exr")
    assert status == 0, err
    assert read_frame(tmp_path / "out.1001.exr", ["A"]).pixels.mean() < 0.5
