"""NaN, infinite and huge pixels: the network does not see them, they come back, and one sentence counts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Outcome, Shot, picture, random_model
from copycat import ops
from copycat.inference.model import Model
from copycat.inference.render import infer
from copycat.inference.review import review
from copycat.model import cat
from copycat.model.bad_pixels import BadPixels
from copycat.sequence import read_frame, write_frame

CPU = torch.device("cpu")
BAD = [math.nan, math.inf, -math.inf, 3e38, -1e38]


@pytest.fixture(params=[0.0, 20.0], ids=["as in the file", "signed log"])
def model(request: pytest.FixtureRequest, tmp_path: Path, tiny: None) -> Model:
    return Model(
        random_model(tmp_path / "m.cat", ("R", "G", "B", "Z"), ("R", "G", "B", "A"), log_scale=request.param), CPU
    )


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("tile_size", [0, 256])
def test_a_bad_pixel_stays_one_pixel(model: Model, value: float, tile_size: int) -> None:
    image = picture(1, (300, 280), 4)
    clean = model(image, tile_size=tile_size)
    spoiled = image.copy()
    spoiled[100, 120, 1] = value
    said: list[str] = []
    result = model(spoiled, tile_size=tile_size, warn=said.append)
    np.testing.assert_equal(result[100, 120, 1], np.float32(value))
    result[100, 120, 1] = clean[100, 120, 1]
    assert np.isfinite(result).all()
    change = np.abs(clean - image).mean()
    assert np.abs(result - clean).max() < 20 * change  # nothing breaks out
    far = np.ones(result.shape[:2], bool)
    far[40:160, 60:180] = False
    np.testing.assert_allclose(result[far], clean[far], atol=1e-4)
    assert said == [
        "1 pixel is NaN, infinite or too large, the first at x 120, y 100 from the top left; the network sees their "
        "neighbours there, and the result keeps them"
    ]


def test_a_channel_that_is_no_output_is_only_hidden(model: Model) -> None:
    image = picture(1, (64, 64), 4)
    image[:, 32:, 3] = np.inf  # the background of a depth channel
    result = model(image)
    assert np.isfinite(result).all()


def test_a_frame_without_a_good_pixel(model: Model) -> None:
    result = model(np.full((40, 50, 4), np.nan, np.float32))
    assert np.isnan(result[..., :3]).all()
    assert np.isfinite(result[..., 3]).all()


@pytest.mark.parametrize("layout", ["torch", "batch", "in place"])
def test_every_way_in(model: Model, layout: str) -> None:
    image = picture(1, (64, 48), 4)
    image[5, 7] = np.nan
    expected = model(image)
    planes = torch.from_numpy(image.copy()).movedim(-1, 0)
    if layout == "batch":
        result = model(torch.stack([planes, planes]))[1]
    else:
        out = planes if layout == "in place" else None
        result = model(planes, out=out)
    np.testing.assert_allclose(result.movedim(0, -1).numpy(), expected, atol=1e-5)


def test_neighbours_fill_and_zero_is_what_a_masked_training_saw() -> None:
    image = torch.full((1, 9, 9), 2.0)
    image[0, 4, 4] = math.nan
    image[0, :, 7:] = math.inf
    bad = BadPixels.find(image, ops.Encoding.identity(1))
    assert bad is not None
    assert (bad.filled(image, zero=False) == 2).all()
    zeroed = bad.filled(image, zero=True)
    assert zeroed.eq(0).sum() == 1 + 2 * 9
    assert BadPixels.find(torch.full((1, 9, 9), 65504.0), ops.Encoding.identity(1)) is None


def test_a_model_that_was_trained_with_masked_pixels_sees_zero(model: Model) -> None:
    header, weights = cat.load(model.path)
    text = header.to_json().replace('"settings": {}', '"settings": {"nonFinite": "Mask"}')
    model.path.write_bytes(safetensors.torch.save(weights, {"copycat": text}))
    masked = Model(model.path, CPU)
    image = picture(1, (64, 64), 4)
    image[:, 40:, 3] = np.inf
    zero = image.copy()
    zero[:, 40:, 3] = 0
    said: list[str] = []
    np.testing.assert_array_equal(masked(image, warn=said.append), masked(zero))
    assert "the network sees 0 there" in said[0]


def test_a_sequence_names_the_frame(shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]) -> None:
    path = random_model(tmp_path / "m.cat")
    spoiled = picture(1002)
    spoiled[3, 4] = np.nan
    write_frame(shot.folder / "plate.1002.exr", spoiled, ("R", "G", "B"), dtype="float")
    said: list[str] = []
    infer(path, shot.input, tmp_path / "out.%04d.exr", warn=said.append, use_gpu_if_available=False)
    assert [sentence[:42] for sentence in said] == ["frame 1002: 1 pixel is NaN, infinite or to"]
    result = read_frame(tmp_path / "out.1002.exr", ("R", "G", "B")).pixels
    assert np.isnan(result).sum() == 3
    _, out, _ = copycat("infer", path, shot.input, tmp_path / "again.%04d.exr")
    assert "warning: frame 1002: 1 pixel is NaN" in out
    said.clear()
    found = review(path, shot.input, ground_truth_frames=1001, warn=said.append, use_gpu_if_available=False)
    assert all(math.isfinite(one.doubt) for one in found.frames)
    assert len(said) == 1
    assert "plate.1002.exr: 1 pixel is NaN" in said[0]
