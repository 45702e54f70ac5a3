"""How pictures are shown: few and many channels, the sRGB curve, OpenColorIO's views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from conftest import Shot
from copycat.sequence import read_frame
from copycat.sequence.colour import ViewError, display, from_integers, from_srgb, srgb, through_view, to_integers
from copycat.training.start import Result, train


def test_display_of_few_and_many_channels() -> None:
    pixels = np.array([-0.5, 0.0, 0.5, 2.0, np.nan], np.float32).reshape(1, 5, 1)
    matte = display(pixels, linear=True, channels=("A",))
    assert matte.shape == (1, 5, 3)
    np.testing.assert_allclose(matte[0, :, 0], [0, 0, 0.5, 1, 0], atol=1e-6)
    colour = display(pixels.repeat(5, -1), linear=True, channels=("R", "G", "B", "A", "Z"))
    np.testing.assert_allclose(colour[0, :, 1], [0, 0, 0.735357, 1, 0], atol=1e-5)
    shown = display(pixels.repeat(3, -1), linear=False, channels=("R", "G", "B"))
    np.testing.assert_allclose(shown[0, :, 2], [0, 0, 0.5, 1, 0], atol=1e-6)


def test_srgb_is_the_standards() -> None:
    np.testing.assert_allclose(srgb(np.array([0.0, 0.0031308, 0.18, 1.0])), [0, 0.04045, 0.46135, 1], atol=1e-4)
    linear = np.linspace(0, 4, 1000)
    np.testing.assert_allclose(from_srgb(srgb(linear)), linear, atol=1e-7)
    assert from_srgb(np.array([-0.1292]))[0] == pytest.approx(-0.01)


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 0), (np.uint16, 0), (np.uint16, 10), (np.uint16, 12)])
def test_integers_come_back_and_what_they_cannot_hold_is_clamped(dtype: type, bits: int) -> None:
    largest = np.iinfo(dtype).max
    levels = np.arange((1 << bits) if bits else largest + 1) / ((1 << bits) - 1 if bits else largest)
    stored = to_integers(levels, dtype, bits)
    assert stored.dtype == dtype
    assert len(np.unique(stored)) == len(levels)
    np.testing.assert_array_equal(to_integers(from_integers(stored), dtype, bits), stored)
    limits = np.array([np.nan, -np.inf, -1, np.inf, 2], np.float16)
    assert to_integers(limits, dtype, bits).tolist() == [0, 0, 0, largest, largest]
    half = np.float16([0.25])
    assert from_integers(half) is half


def test_a_view_without_a_tone_curve_is_the_srgb_curve() -> None:
    grey = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 4, 3)
    grey[...] = grey[..., :1]  # of greys: the view's primaries are not those of the built-in scene_linear
    np.testing.assert_allclose(through_view(grey, "sRGB - Display/Un-tone-mapped"), srgb(grey), atol=1e-4)
    np.testing.assert_array_equal(
        through_view(grey, "Un-tone-mapped"), through_view(grey, "sRGB - Display/Un-tone-mapped")
    )


def film_like_view() -> str:
    """The newest rendering for an SDR display that OpenColorIO's own configuration has."""
    views = oiio.ColorConfig("ocio://default").getViewNames("sRGB - Display")
    return next(str(view) for view in ("ACES 2.0 - SDR 100 nits (Rec.709)", "ACES 1.0 - SDR Video") if view in views)


def test_display_through_a_view_rolls_off_what_srgb_clips() -> None:
    bright = np.full((2, 1, 4, 3), 2.0, np.float16)
    view = f"sRGB - Display/{film_like_view()}"
    shown = display(bright, linear=True, channels=("R", "G", "B"), view=view)
    assert shown.shape == (2, 1, 4, 3)
    assert 0.6 < shown.min() <= shown.max() < 0.95
    assert display(bright, linear=True, channels=("R", "G", "B")).min() == 1
    assert display(bright, linear=False, channels=("R", "G", "B"), view=view).min() == 1


def test_sheets_go_through_the_view_that_was_asked_for(train: Callable[..., Result]) -> None:
    plain, viewed = (train(epochs=1, ocio_view=view).run for view in ("", film_like_view()))
    sheets = [read_frame(run.contact_sheet(1), ["R", "G", "B"]).pixels for run in (plain, viewed)]
    assert np.abs(sheets[0] - sheets[1]).max() > 0.05


@pytest.mark.parametrize(
    ("view", "configuration", "named"),
    [
        ("sRGB - Display/Nope", "", r"OCIO View 'sRGB - Display/Nope' is not available in ocio://default: .*Nope"),
        ("a\udcff", "", r"OCIO View 'a\\udcff' is not available in ocio://default"),
        ("Film", "/nowhere/config.ocio", r"OCIO View 'Film' is not available in /nowhere/config.ocio: "),
    ],
)
def test_a_missing_view_is_refused_before_a_run_is_created(
    shot: Shot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str, configuration: str, named: str
) -> None:
    monkeypatch.setenv("OCIO", configuration)
    with pytest.raises(ViewError, match=named):
        train(shot.input, shot.ground_truth, data_directory=tmp_path / "runs", ocio_view=view)
    assert not (tmp_path / "runs").exists()
