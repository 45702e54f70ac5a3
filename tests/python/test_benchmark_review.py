"""How the benchmark says whether doubt and true error agree."""

from __future__ import annotations

import pytest

from benchmarks.review import area_under_curve, rank_correlation


def test_ranks_count_and_not_values() -> None:
    assert rank_correlation([1, 2, 3, 40], [0.1, 0.2, 5, 6]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 40], [6, 5, 0.2, 0.1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


def test_the_area_is_how_often_a_bad_frame_has_the_higher_score() -> None:
    errors = [9.0, 8.0, *([1.0] * 18)]  # two of twenty are the worst tenth
    assert area_under_curve([5, 4, *range(-18, 0)], errors) == 1
    assert area_under_curve([5, -30, *range(-18, 0)], errors) == pytest.approx(0.5)
    assert area_under_curve([0] * 20, errors) == pytest.approx(0.5)
