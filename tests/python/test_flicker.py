"""The flicker metric of the benchmarks, on frames with a known flicker."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.flicker import Frame, flicker, neighbours


def still_picture() -> np.ndarray:
    return np.random.default_rng(1).integers(20, 230, (40, 60, 3)).astype(np.uint8)


def test_a_constant_error_does_not_flicker() -> None:
    plate = still_picture()
    run = [Frame(plate, plate + 5, plate + 1) for _ in range(3)]
    assert flicker(pairwise(run)) == 0


def test_an_error_that_comes_and_goes_flickers_by_its_size() -> None:
    plate = still_picture()
    result = [plate, plate + 6, plate, plate + 6]
    assert flicker(pairwise(Frame(plate, m, plate) for m in result)) == pytest.approx(6)


def test_half_of_the_picture_counts_by_half() -> None:
    plate = still_picture()
    blinking = plate.copy()
    blinking[:, :30] += 8
    assert flicker([(Frame(plate, plate, plate), Frame(plate, blinking, plate))]) == pytest.approx(4)


def test_light_that_the_truth_changes_is_no_flicker() -> None:
    plate = still_picture()
    lit = plate + 1
    assert flicker([(Frame(plate, plate, plate), Frame(lit, lit, lit))]) == 0


def test_what_moves_is_left_out() -> None:
    before = np.full((40, 60, 3), 50, np.uint8)
    after = before.copy()
    after[:, :20] = 200
    result = after.copy()
    result[:, :20] = 120  # wrong by 80 where the plate moves, right elsewhere
    assert flicker([(Frame(before, before, before), Frame(after, result, after))]) == 0


def test_grain_of_the_plate_counts_as_still_and_nothing_still_has_no_flicker() -> None:
    random = np.random.default_rng(2)
    grainy = [np.full((60, 60, 3), 100.0) + random.normal(0, 2.0, (60, 60, 3)) for _ in range(2)]
    clean = np.full((60, 60, 3), 100.0)
    # Passing the plate on as it is flickers as its grain does: the mean of |N(0, 2 sqrt 2)| is 2 sqrt 2 sqrt(2 / pi).
    found = flicker(pairwise(Frame(g, g, clean) for g in grainy))
    assert found == pytest.approx(4 / np.sqrt(np.pi), rel=0.05)
    bright = clean + 50
    assert np.isnan(flicker([(Frame(clean, clean, clean), Frame(bright, bright, bright))]))


def test_frames_beside_a_gap_are_no_neighbours() -> None:
    assert neighbours([1, 2, 4, 5, 6, 9]) == [(1, 2), (4, 5), (5, 6)]
