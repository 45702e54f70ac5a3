"""Mattes: which Ground Truths are taken for one, what is then an error, and where results stay."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Train, picture
from copycat import ops
from copycat.data.encodings import matte_limits, mattes
from copycat.inference.render import infer
from copycat.model import cat
from copycat.sequence import read_frame, write_frame
from copycat.training.losses import Loss

PLAIN = ops.Encoding((0.0,), (0.3,), (0.4,))
WHOLE = torch.tensor([[0, 0, 32, 32]], dtype=torch.int32)


def disc() -> np.ndarray:
    """[32, 32, 1], 1 in a disc and 0 around it."""
    rows, columns = np.mgrid[:32, :32]
    return np.clip((10 - np.hypot(rows - 16, columns - 16)) / 2, 0, 1)[..., None].astype(np.float32)


RAMP = np.linspace(0, 1, 32, dtype=np.float32).reshape(1, 32, 1).repeat(32, axis=0)


@pytest.mark.parametrize(
    ("pixels", "log_scale", "found"),
    [
        (disc(), 0.0, True),
        (disc() * 0.999 + 0.0005, 0.0, True),  # lossy files
        (RAMP, 0.0, False),
        (disc() * 1.2, 0.0, False),  # values above 1
        (disc() - 0.1, 0.0, False),  # and below 0
        (disc(), 20.0, False),  # scene-linear light that happens to be dark
    ],
)
def test_a_matte_is_recognised_by_its_values(pixels: np.ndarray, log_scale: float, found: bool) -> None:
    bank = torch.from_numpy(pixels[None])
    encoding = ops.Encoding((log_scale,), (0.3,), (0.4,))
    assert mattes(bank, WHOLE, encoding, "Auto") == ((True,) if found else ())
    assert mattes(bank, WHOLE, encoding, "On") == (True,)
    assert mattes(bank, WHOLE, encoding, "Off") == ()


def test_each_channel_is_looked_at_and_only_where_there_are_data() -> None:
    bank = torch.from_numpy(np.concatenate([RAMP, disc()], axis=-1)[None])
    two = ops.Encoding((0.0,) * 2, (0.3,) * 2, (0.4,) * 2)
    assert mattes(bank, WHOLE, two, "Auto") == (False, True)
    bank[:, 20:] = 7.0
    assert mattes(bank, WHOLE, two, "Auto") == ()
    assert mattes(bank, torch.tensor([[0, 0, 32, 20]], dtype=torch.int32), two, "Auto") == (False, True)


def error(output: float, target: float, encoding: ops.Encoding) -> float:
    """The mean absolute error that a loss shows, in units of the encoding's standard deviation."""
    decoded, expected = (ops.normalize(torch.full((1, 1, 4, 4), x), encoding) for x in (output, target))
    shown = Loss(1.0, 0.0, matte_limits=matte_limits(encoding))(decoded, expected, torch.ones(1, 1, 1, 1), None)[1]
    return float(shown[1]) * encoding.std[0]


def test_what_reaches_beyond_a_matte_is_no_error() -> None:
    matte = ops.Encoding(PLAIN.log_scale, PLAIN.mean, PLAIN.std, (True,))
    for output, target in ((1.5, 1.0), (-0.5, 0.0), (1.2, 0.998), (-0.2, 0.002)):
        assert error(output, target, matte) == 0
        assert error(output, target, PLAIN) == pytest.approx(abs(output - target), rel=1e-5)
    for output, target in ((1.5, 0.0), (-0.5, 1.0), (0.9, 1.0), (0.1, 0.0), (0.7, 0.5), (1.5, 0.5)):
        assert error(output, target, matte) == pytest.approx(abs(output - target), rel=1e-5)


def test_limits_follow_the_encoding_and_leave_other_channels_alone() -> None:
    encoding = ops.Encoding((0.0, 20.0, 0.0), (0.3, 1.0, 0.0), (0.4, 0.5, 1.0), (True, True, False))
    limits = matte_limits(encoding)
    assert limits is not None
    low, high = (limit.flatten().tolist() for limit in limits)
    assert low == pytest.approx([(1 / 255 - 0.3) / 0.4, (math.log1p(20 / 255) - 1) / 0.5, -math.inf])
    assert high == pytest.approx([(254 / 255 - 0.3) / 0.4, (math.log1p(20 * 254 / 255) - 1) / 0.5, math.inf])
    assert matte_limits(PLAIN) is None


def test_results_stay_within_0_and_1() -> None:
    encoding = ops.Encoding((0.0,) * 2, (0.3,) * 2, (0.4,) * 2, (True, False))
    decoded = ops.denormalize(torch.tensor([-5.0, 0.5, 5.0]).view(1, 1, 1, 3).expand(1, 2, 1, 3).contiguous(), encoding)
    assert decoded[0, 0, 0].tolist() == pytest.approx([0, 0.5, 1])
    assert decoded[0, 1, 0].tolist() == pytest.approx([-1.7, 0.5, 2.3])


def test_a_model_remembers_that_it_makes_a_matte(train: Train, tmp_path: Path) -> None:
    for frame in (1001, 1002):
        image = picture(frame)
        write_frame(tmp_path / f"plate.{frame}.exr", image, ("R", "G", "B"))
        write_frame(tmp_path / f"key.{frame}.exr", (image[..., :1] > 0.5).astype(np.float32), ("A",))
    paths = (str(tmp_path / "plate.%04d.exr"), str(tmp_path / "key.%04d.exr"))
    for asked, found in (("Auto", (True,)), ("Off", ())):
        result = train(*paths, epochs=40, ground_truth_channels="A", matte=asked)
        header = cat.read_header(result.checkpoint or "")
        assert header.target_encoding.matte == found
        assert cat.ModelHeader.from_json(header.to_json()) == header
        infer(result.checkpoint or "", paths[0], tmp_path / "out.%04d.exr")
        decoded = read_frame(tmp_path / "out.1001.exr", ["A"]).pixels
        assert (decoded.min() >= 0 and decoded.max() <= 1) == bool(found)
