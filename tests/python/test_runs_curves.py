"""Smoothing against its formula step by step; thinning keeps every peak, the ends and the window."""

from __future__ import annotations

import numpy as np
import pytest
from copycat.plots.curves import Curve, smooth, thin
from copycat.runs import Run, RunHistory, SummaryWriter
from fake_trainer import header, step_record
from hypothesis import given, settings
from hypothesis import strategies as st


def slow_smooth(values: np.ndarray, w: float) -> np.ndarray:
    out, state = [], 0.0
    for n, value in enumerate(values, 1):
        state = w * state + (1 - w) * value
        out.append(state / (1 - w**n))
    return np.array(out)


@pytest.mark.parametrize("w", [1e-9, 0.01, 0.3, 0.6, 0.9, 0.99, 0.999, 0.999999])
@pytest.mark.parametrize("count", [1, 2, 7, 1000, 5000])
def test_smooth_is_the_formula(w: float, count: int) -> None:
    values = np.abs(np.random.default_rng(count).normal(1, 0.5, count))
    np.testing.assert_allclose(smooth(values, w), slow_smooth(values, w), rtol=1e-8)


def test_smooth_at_its_ends() -> None:
    values = np.array([1.0, 3.0, 8.0])
    np.testing.assert_array_equal(smooth(values, 0), values)
    np.testing.assert_allclose(smooth(values, 1), [1, 2, 4])
    assert len(smooth(np.array([]), 0.6)) == 0
    np.testing.assert_allclose(smooth(np.full(3000, 0.25), 0.6), 0.25)
    assert np.isfinite(smooth(np.ones(1_000_000), 0.6)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 200), st.data())
def test_thin_keeps_the_extremes_and_the_order(count: int, buckets: int, data: st.DataObject) -> None:
    steps = np.cumsum(np.random.default_rng(count).integers(1, 4, count)).astype(float)
    values = np.random.default_rng(count + 1).normal(size=count)
    first = data.draw(st.floats(-10, float(steps[-1])))
    last = data.draw(st.floats(first, float(steps[-1]) + 10))
    chosen = thin(steps, values, first, last, buckets)
    assert len(chosen) <= 2 * buckets + 4
    assert (np.diff(chosen) > 0).all()
    inside = np.flatnonzero((steps >= first) & (steps <= last))
    if len(inside):
        assert chosen[0] <= inside[0]
        assert chosen[-1] >= inside[-1]
        assert values[chosen].max() >= values[inside].max()
        assert values[chosen].min() <= values[inside].min()


def test_a_curve_leaves_out_what_is_not_finite_and_knows_its_stages(tmp_path) -> None:
    run = Run(tmp_path, "r")
    writer = SummaryWriter(run)
    writer.append(header(9), *(step_record(step, 9, 0.5) for step in range(1, 5)))
    writer.append({"step": 5, "loss": float("nan"), "level": 2, "time": 2.5})
    writer.append(*(step_record(step, 9, 0.5) for step in range(6, 10)))
    writer.close()
    history = RunHistory(run)
    history.update()
    curve = Curve.of(history)
    assert curve.steps.tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert curve.stage_starts() == [(4.0, 2), (7.0, 1)]
    assert curve.steps_per_second() == pytest.approx(2.0)
