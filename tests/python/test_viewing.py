"""How pictures are shown: few and many channels, the sRGB curve, OpenColorIO's views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shot
from copycat.sequence import read_frame
from copycat.sequence.viewing import ViewError, display, srgb, through_view
from copycat.training.start import Result, train


def test_display_of_few_and_many_channels() -> None:
    pixels = torch.tensor([-0.5, 0.0, 0.5, 2.0, float("nan")]).view(1, 1, 5)
    matte = display(pixels, linear=True, channels=("A",))
    assert matte.shape == (1, 5, 3)
    np.testing.assert_allclose(matte[0, :, 0], [0, 0, 0.5, 1, 0], atol=1e-6)
    colour = display(pixels.repeat(5, 1, 1), linear=True, channels=("R", "G", "B", "A", "Z"))
    np.testing.assert_allclose(colour[0, :, 1], [0, 0, 0.735357, 1, 0], atol=1e-5)
    shown = display(pixels.repeat(3, 1, 1), linear=False, channels=("R", "G", "B"))
    np.testing.assert_allclose(shown[0, :, 2], [0, 0, 0.5, 1, 0], atol=1e-6)


def test_srgb_is_the_standards() -> None:
    np.testing.assert_allclose(srgb(np.array([0.0, 0.0031308, 0.18, 1.0])), [0, 0.04045, 0.46135, 1], atol=1e-4)


def test_a_view_without_a_tone_curve_is_the_srgb_curve() -> None:
    grey = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 4, 3)
    grey[...] = grey[..., :1]  # of greys: the view's primaries are not those of the built-in scene_linear
    np.testing.assert_allclose(through_view(grey, "sRGB - Display/Un-tone-mapped"), srgb(grey), atol=1e-4)
    np.testing.assert_array_equal(
        through_view(grey, "Un-tone-mapped"), through_view(grey, "sRGB - Display/Un-tone-mapped")
    )


def test_display_through_a_view_rolls_off_what_srgb_clips() -> None:
    bright = torch.full((2, 3, 1, 4), 2.0)
    view = "sRGB - Display/ACES 2.0 - SDR 100 nits (Rec.709)"
    shown = display(bright, linear=True, channels=("R", "G", "B"), view=view)
    assert shown.shape == (2, 1, 4, 3)
    assert 0.6 < shown.min() <= shown.max() < 0.95
    assert display(bright, linear=True, channels=("R", "G", "B")).min() == 1
    assert display(bright, linear=False, channels=("R", "G", "B"), view=view).min() == 1


def test_sheets_go_through_the_view_that_was_asked_for(train: Callable[..., Result]) -> None:
    plain, viewed = (train(epochs=1, ocio_view=view).run for view in ("", "ACES 2.0 - SDR 100 nits (Rec.709)"))
    sheets = [read_frame(run.contact_sheet(1), ["R", "G", "B"]).pixels for run in (plain, viewed)]
    assert np.abs(sheets[0] - sheets[1]).max() > 0.05


@pytest.mark.parametrize(
    ("view", "configuration", "named"),
    [
        ("sRGB - Display/Nope", "", r"OCIO View 'sRGB - Display/Nope' cannot be had from ocio://default: .*Nope"),
        ("Film", "/nowhere/config.ocio", r"OCIO View 'Film' cannot be had from /nowhere/config.ocio: "),
    ],
)
def test_a_view_that_is_not_there_is_refused_before_a_run_is_made(
    shot: Shot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str, configuration: str, named: str
) -> None:
    monkeypatch.setenv("OCIO", configuration)
    with pytest.raises(ViewError, match=named):
        train(shot.input, shot.ground_truth, data_directory=tmp_path / "runs", ocio_view=view)
    assert not (tmp_path / "runs").exists()
