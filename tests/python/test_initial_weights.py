"""The weights that the package ships: what their files are, and what they give before any training."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch
from copycat import ops
from copycat.model import cat
from copycat.model import starting_point as weights
from copycat.model.network import ROWS
from copycat.sequence.colour import from_srgb, srgb
from copycat.settings.tables import Settings
from safetensors import safe_open

from benchmarks.initial_weights import steps
from benchmarks.initial_weights_page import painted
from tools import pretrain

_WORKS = ("Deblur", "Upscale", "Human Matting")
_MEGABYTE = 1_000_000
_LARGEST = {"Small": 1.3, "Medium": 2.8, "Large": 5.2}  # megabytes of a file
SHIPPED = [(work, size) for work in _WORKS for size in ROWS if weights.path(work, size).exists()]


def start(work: str, size: str) -> weights.StartingPoint:
    found = weights.starting_point(Settings(initial_weights=work, model_size=size))
    assert found is not None
    return found


def picture() -> np.ndarray:
    """A photograph that no weights were trained on, [256, 320, 3] RGB in 0..1."""
    path = Path(skimage.__file__).parent / "data/motorcycle_left.png"
    return cv2.imread(str(path))[100:356, 150:470, ::-1].astype(np.float32) / 255


def applied(work: str, size: str, image: np.ndarray) -> np.ndarray:
    """The network before any training, on [H, W, 3] display values, as a data set of this one frame starts it."""
    model = start(work, size)
    mean, std = image.mean((0, 1)), image.std((0, 1))
    own = ops.Encoding((0.0,) * 3, tuple(map(float, mean)), tuple(map(float, std)))
    network = model.header.network()
    network.load_state_dict(model.weights_for(("R", "G", "B"), ("R", "G", "B"), None, own))
    with torch.no_grad():
        result = network(torch.from_numpy(((image - mean) / std).transpose(2, 0, 1)[None]).float())
    return result[0].numpy().transpose(1, 2, 0) * std + mean


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((image - truth) ** 2)))


def in_linear_light(change: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """A change of display values as a lens makes it."""
    changed = np.maximum(change(from_srgb(image).astype(np.float32)), 0)
    return srgb(changed).clip(0, 1).astype(np.float32)


def test_the_shipped_files_are_small() -> None:
    files = list(weights._SHIPPED.glob("*.cat"))
    assert len(files) == len(SHIPPED)  # each is one that the knob can name
    assert sum(path.stat().st_size for path in files) < 40 * _MEGABYTE


@pytest.mark.parametrize(("work", "size"), SHIPPED)
def test_a_shipped_file_is_bfloat16_and_listed(work: str, size: str) -> None:
    path = weights.path(work, size)
    assert path.stat().st_size < _LARGEST[size] * _MEGABYTE
    with safe_open(path, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    header = cat.read_header(path)
    assert header.row == ROWS[size]
    assert header.channels_out == (("A",) if work == "Human Matting" else ("R", "G", "B"))
    # Files of before 2026-11-29 have no sources in their header.
    assert list(header.sources) in ([], list(pretrain.sources(work.lower().replace(" ", "_"))))
    assert f"`{path.name}`" in (weights._SHIPPED / "README.md").read_text()


def test_every_source_has_a_licence() -> None:
    with pretrain.SOURCES.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert all(row["file"] and row["licence"] and row["source"] for row in rows)
    assert all(set(row["works"].split(", ")) <= set(pretrain.WORKS) for row in rows)


@pytest.mark.parametrize("size", [size for work, size in SHIPPED if work == "Deblur"])
def test_deblur_sharpens_before_any_training(size: str) -> None:
    sharp = picture()
    soft = in_linear_light(lambda x: cv2.GaussianBlur(x, (0, 0), 2), sharp)
    assert psnr(applied("Deblur", size, soft), sharp) > psnr(soft, sharp) + 0.5


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [size for work, size in SHIPPED if work == "Upscale"])
def test_upscale_is_better_than_bicubic_before_any_training(size: str, factor: int) -> None:
    sharp = picture()

    def shrunk_and_enlarged(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, sharp.shape[1::-1], interpolation=cv2.INTER_CUBIC)

    soft = in_linear_light(shrunk_and_enlarged, sharp)
    assert psnr(applied("Upscale", size, soft), sharp) > psnr(soft, sharp) + 0.4


@pytest.mark.parametrize("size", [size for work, size in SHIPPED if work == "Human Matting"])
def test_human_matting_tells_a_person_from_the_room_before_any_training(size: str) -> None:
    portrait = cv2.imread(str(Path(skimage.__file__).parent / "data/astronaut.png"))  # trained on it, among others
    truth = cv2.resize(painted(portrait), (208, 208), interpolation=cv2.INTER_AREA)
    small = cv2.resize(portrait, (208, 208), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255
    mean, std = small.mean((0, 1)), small.std((0, 1))
    model = start("Human Matting", size)
    network = model.header.network()
    # The encoding of a matte's data set is its own.
    encoding = ops.Encoding((0.0,), (0.6,), (0.4,), (True,))
    network.load_state_dict(model.weights_for(("R", "G", "B"), ("A",), None, encoding))
    with torch.no_grad():
        image = torch.from_numpy(((small - mean) / std).transpose(2, 0, 1)[None]).float()
        matte = (network(image)[0, 0].numpy() * 0.4 + 0.6).clip(0, 1)
    nobody = np.abs(truth).mean()
    everybody = np.abs(1 - truth).mean()
    assert np.abs(matte - truth).mean() < {"Small": 0.5, "Medium": 0.65, "Large": 0.65}[size] * min(nobody, everybody)


def test_the_portrait_of_the_page_is_painted() -> None:
    matte = painted(cv2.imread(str(Path(skimage.__file__).parent / "data/astronaut.png")))
    assert matte[60:160, 190:240].mean() > 0.99  # the face
    assert matte[:250, 350:].mean() < 0.01  # the rocket
    assert 0.4 < matte.mean() < 0.7


def test_a_budget_without_time_for_a_step_is_one_step() -> None:
    assert [steps(budget) for budget in (0, 14, 45, 175)] == [1, 1, 115, 596]
