"""The measures of DAVIS on regions whose scores can be worked out, and the benchmark on a small sequence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import davis
from benchmarks.regions import boundary_accuracy, region_similarity


def square(left: int, side: int = 40, size: tuple[int, int] = (100, 120)) -> np.ndarray:
    region = np.zeros(size, bool)
    region[30 : 30 + side, left : left + side] = True
    return region


def test_region_similarity_is_intersection_over_union() -> None:
    assert region_similarity(square(20), square(20)) == 1
    assert region_similarity(square(20), square(40)) == pytest.approx(1 / 3)
    assert region_similarity(square(20), square(70)) == 0
    empty = np.zeros((100, 120), bool)
    assert region_similarity(empty, empty) == 1
    assert region_similarity(square(20), empty) == 0


def test_boundaries_agree_within_a_share_of_the_diagonal() -> None:
    assert boundary_accuracy(square(20), square(20)) == 1
    assert boundary_accuracy(square(20), square(22)) == 1  # 0.8 % of the diagonal are two pixels
    assert boundary_accuracy(square(20), square(23)) < 0.8
    assert boundary_accuracy(square(10, 20), square(80, 20)) == 0
    empty = np.zeros((100, 120), bool)
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(square(20), empty) == boundary_accuracy(empty, square(20)) == 0


def test_a_hole_costs_precision_alone() -> None:
    truth, found = square(20), square(20)
    found[45:55, 35:45] = False
    edges = 4 * 40, 4 * 10
    precision = edges[0] / sum(edges)
    assert boundary_accuracy(found, truth) == pytest.approx(2 * precision / (precision + 1), abs=0.01)


@pytest.mark.parametrize(
    ("count", "frames"), [(1, [3]), (2, [3, 12]), (4, [3, 6, 9, 12]), (5, [3, 5, 7, 10, 12]), (10, list(range(3, 13)))]
)
def test_painted_frames_are_evenly_spaced(count: int, frames: list[int]) -> None:
    assert davis.painted_frames(list(range(3, 13)), count) == frames


def test_a_sequence_is_trained_on_rendered_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plates, truths = (tmp_path / kind / "480p/disc" for kind in ("JPEGImages", "Annotations"))
    for folder in (plates, truths):
        folder.mkdir(parents=True)
    for frame in range(4):
        truth = np.zeros((64, 96), np.uint8)
        cv2.circle(truth, (24 + 12 * frame, 32), 14, 255, -1)
        plate = np.where(truth[..., None] > 0, (40, 200, 220), (120, 60, 40)).astype(np.uint8)
        cv2.imwrite(str(plates / f"{frame:05d}.jpg"), plate)
        cv2.imwrite(str(truths / f"{frame:05d}.png"), truth)
    result = tmp_path / "davis.json"
    words = ["davis", str(tmp_path), "--painted", "2", "--steps", "150", "--threads", "1", "--json", str(result)]
    monkeypatch.setattr(sys, "argv", [*words, "--knobs", "--model-size Small --crop-size 32"])
    davis.main()
    rows = json.loads(result.read_text())["rows"]
    assert [row["sequence"] for row in rows] == ["disc", "mean"]
    assert rows[0]["j"] > 80
    assert rows[0]["error"] < 0.1
