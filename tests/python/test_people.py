"""The pictures of people that Human Matting is trained on: the table, and what the tool makes of a picture."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools import people, pretrain

_OPEN = {"CC0-1.0", "CC0", "CC BY 2.0", "CC BY 4.0", "CC BY-SA 3.0", "BSD-3-Clause", "No known copyright restrictions"}


def test_every_picture_has_an_open_licence_and_is_in_the_list_of_sources() -> None:
    table = people.read_table()
    assert len({picture.name for picture in table}) == len(table)
    for picture in table:
        assert picture.use in ("backdrop", "photo", "cut-out", "both")
        assert picture.source in people.SOURCES
        assert (picture.matte == "") == (picture.use == "backdrop")
        assert picture.licence in _OPEN or picture.licence.startswith(
            ("CC0 ", "PD/CC0", "BSD/", "Kodak: released", "CC BY ")
        )
    with pretrain.SOURCES.open(newline="") as lines:
        named = [row["file"] for row in csv.DictReader(lines, delimiter="\t") if "human_matting" in row["works"]]
    assert len(named) == len(table)
    assert {Path(name).stem for name in named} == {
        Path(picture.path).stem if picture.use == "backdrop" and picture.source in ("coco", "photos") else picture.name
        for picture in table
    }
    assert len(list(pretrain.sources("human_matting"))) == len(table)
    assert not {picture.path for picture in table} & {"budgie_roman-colosseum.jpg"}  # behind the dancer of the tests


def test_a_cut_out_is_the_person_without_the_background(tmp_path: Path) -> None:
    pixels = np.full((60, 80, 4), (0, 200, 0, 0), np.uint8)
    pixels[20:50, 30:45] = (10, 20, 220, 255)
    (tmp_path / "in/scratch").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/scratch/a.png"), pixels)
    picture = people.Picture("a", "cut-out", "CC0", "scratch", "a.png", 0, 0.0, "own")
    people.make(picture, tmp_path / "in", tmp_path / "out", {})
    assert people.files(picture, tmp_path / "out") == [tmp_path / "out/cut-outs/a.png"]
    written = cv2.imread(str(tmp_path / "out/cut-outs/a.png"), cv2.IMREAD_UNCHANGED)
    assert written.shape == (30, 15, 4)
    assert (written[..., 3] == 255).all()
    assert np.abs(written[..., :3].astype(int) - (10, 20, 220)).max() < 3


def test_a_turned_backdrop_loses_its_black_corners(tmp_path: Path) -> None:
    upright = np.random.default_rng(1).integers(60, 255, (300, 400, 3), np.uint8)
    matrix = cv2.getRotationMatrix2D((200, 150), 20, 1)
    (tmp_path / "in/open-images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/open-images/a.png"), cv2.warpAffine(upright, matrix, (400, 300)))
    picture = people.Picture("a", "backdrop", "CC BY 2.0", "open-images", "a.png", 0, -20.0, "")
    people.make(picture, tmp_path / "in", tmp_path / "out", {})
    written = cv2.imread(str(tmp_path / "out/backdrops/a.jpg"))
    assert written.shape[0] * written.shape[1] > 0.35 * 300 * 400
    assert (written.max(2) < 25).mean() < 0.01


def test_specks_of_a_label_are_dropped() -> None:
    label = np.zeros((100, 100), np.float32)
    label[20:80, 30:60] = 1
    label[5:9, 90:94] = 1
    label[40:60, 75:95] = 0.8  # a second person
    kept = people.without_specks(label)
    assert kept[6, 91] == 0
    assert kept[50, 45] == 1
    assert kept[50, 85] == pytest.approx(0.8)


def test_a_photograph_gets_the_label_of_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "refined", lambda image, label: label)
    monkeypatch.setattr(people, "cut_out", lambda image, alpha, binary: np.dstack([image, people._to8(alpha)]))
    (tmp_path / "in/coco").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in/coco/7.jpg"), np.full((50, 1400, 3), 90, np.uint8))
    picture = people.Picture("coco_7", "both", "CC BY 2.0", "coco", "7.jpg", 0, 0.0, "modnet")

    def label(image: np.ndarray) -> np.ndarray:
        assert image.shape == (23, 640, 3)
        left = np.zeros((23, 640), np.float32)
        left[:, :320] = 1
        return left

    people.make(picture, tmp_path / "in", tmp_path / "out", {"modnet": label})
    mask = cv2.imread(str(tmp_path / "out/masks/coco_7.png"), cv2.IMREAD_GRAYSCALE)
    assert (mask[:, :310] == 255).all()
    assert (mask[:, 330:] == 0).all()
    assert all(path.exists() for path in people.files(picture, tmp_path / "out"))
