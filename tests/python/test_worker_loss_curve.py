"""The loss curves as a picture: strokes against a slow reference, axes and ticks, and what the knobs do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat.plots.canvas import Canvas, rgb, text_mask, text_width
from copycat.plots.graph import ShownRun, draw_loss_curves, linear_axis, log_axis, short, shown_run
from copycat.plots.live import Watch
from copycat.runs import Run, SummaryWriter
from copycat.settings.tables import ProgressSettings
from copycat.worker.sheets import as_host_values
from hypothesis import example, given, settings
from hypothesis import strategies as st

BLACK, WHITE = "#000000", "#ffffff"


def distance_to_polyline(x: np.ndarray, y: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    distance = np.full(x.shape, np.inf)
    for (x1, y1), (x2, y2) in zip(points, points[1:] or points, strict=False):
        length = (x2 - x1) ** 2 + (y2 - y1) ** 2
        along = np.clip(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0, 1) if length else 0
        distance = np.minimum(distance, np.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1)))
    return distance


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-8, 48), st.floats(-8, 38)), min_size=1, max_size=8),
    st.floats(0.6, 7.0),
    st.floats(0.1, 1.0),
)
def test_a_curve_covers_what_a_round_pen_covers(
    points: list[tuple[float, float]], thickness: float, opacity: float
) -> None:
    points.sort()
    canvas = Canvas(30, 40, BLACK)
    canvas.curve([x for x, _ in points], [y for _, y in points], WHITE, thickness, opacity)
    fine = 8
    ys, xs = (np.mgrid[: 30 * fine, : 40 * fine] + 0.5) / fine
    covered = distance_to_polyline(xs, ys, points) <= thickness / 2
    expected = covered.reshape(30, fine, 40, fine).mean(axis=(1, 3)) * opacity
    # Four slices to a column: an end of the pen may be off by a part of one.
    np.testing.assert_allclose(canvas.pixels[..., 0], expected, atol=0.4 * opacity)
    assert abs(canvas.pixels[..., 0] - expected).mean() < 0.02


def test_a_million_points_leave_no_peak_out() -> None:
    canvas = Canvas(50, 60, BLACK)
    y = np.full(1_000_000, 40.0)
    y[777_777] = 10.0
    canvas.curve(np.linspace(0, 60, len(y)), y, WHITE, 1.0)
    peak = canvas.pixels[12:39, :, 0]
    assert peak[:, 45:48].sum(axis=1).min() > 0.3
    assert peak.sum() == pytest.approx(peak[:, 45:48].sum())


def test_dots_dashes_boxes_and_what_lies_outside() -> None:
    canvas = Canvas(20, 40, BLACK)
    canvas.dots([5.0, 30.0], [10.0, 10.0], WHITE, 6.0)
    assert canvas.pixels[..., 0].sum() == pytest.approx(2 * math.pi * 9, rel=0.06)
    assert (canvas.pixels[:, 10:25] == 0).all()
    dashed = Canvas(20, 40, BLACK)
    dashed.curve([0.0, 40.0], [10.0, 10.0], WHITE, 2.0, dash=5.0)
    assert dashed.pixels[10, 2, 0] == 1
    assert dashed.pixels[10, 7, 0] == 0
    assert dashed.pixels[10, 12, 0] == 1
    canvas.box(-5, -5, 3, 2, WHITE)
    assert (canvas.pixels[:2, :3] == 1).all()
    before = canvas.pixels.copy()
    canvas.curve([-30.0, -20.0], [3.0, 5.0], WHITE, 2.0)
    canvas.curve([50.0, 60.0], [3.0, 5.0], WHITE, 2.0)
    canvas.curve([0.0, 40.0], [-30.0, -30.0], WHITE, 2.0)
    canvas.curve([], [], WHITE, 2.0)
    canvas.text(-200, 5, "outside", 12, WHITE)
    canvas.text(10, 500, "outside", 12, WHITE, "center")
    np.testing.assert_array_equal(canvas.pixels, before)


def test_text_stands_where_it_is_put() -> None:
    width = text_width("Loss 0.25", 20)
    assert 60 < width < 120
    assert text_mask("", 20).sum() == 0
    for align, left in (("left", 100), ("center", 100 - width // 2), ("right", 100 - width)):
        canvas = Canvas(60, 300, BLACK)
        canvas.text(100, 30, "Loss 0.25", 20, WHITE, align)
        rows, columns = np.nonzero(canvas.pixels[..., 0] > 0.5)
        assert left - 1 <= columns.min() < left + 4
        assert left + width - 4 < columns.max() <= left + width
        assert abs((rows.min() + rows.max()) / 2 - 30) < 1.5
    upright = Canvas(300, 60, BLACK)
    upright.text(30, 150, "Loss 0.25", 20, WHITE, upright=True)
    rows, columns = np.nonzero(upright.pixels[..., 0] > 0.5)
    assert rows.max() - rows.min() > width - 8
    assert abs((columns.min() + columns.max()) / 2 - 30) < 1.5


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.integers(2, 12), st.booleans())
@example(0.0, 5e-324, 2, False)
@example(5e-324, 0.0, 2, True)
def test_a_linear_axis_holds_its_values(low: float, span: float, ticks: int, tight: bool) -> None:
    axis = linear_axis(low, low + span, ticks, tight)
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low <= low + slack
    assert axis.high >= low + span - slack
    assert axis.ticks == sorted(set(axis.ticks))
    assert len(axis.ticks) <= ticks + 3
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    if not tight:
        assert len(axis.ticks) >= 2
    assert axis.place(np.array([axis.low, axis.high])).tolist() == pytest.approx([0, 1])


@given(st.floats(-300, 300), st.floats(0, 300), st.integers(2, 14))
def test_a_logarithmic_axis_holds_its_values(power: float, decades: float, ticks: int) -> None:
    low, high = 10.0**power, 10.0 ** min(power + decades, 300)
    axis = log_axis(low, high, ticks)
    assert 0 < axis.low <= max(low, 1e-300) * 1.002
    assert axis.high >= high * 0.998
    assert axis.ticks == sorted(set(axis.ticks))
    assert len(axis.ticks) <= ticks + 1
    ends = axis.place(np.array([axis.low, axis.high]))
    assert ends.tolist() == pytest.approx([0, 1])


def test_the_ticks_of_a_loss() -> None:
    assert linear_axis(0.013, 0.21, 4).ticks == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25])
    assert linear_axis(0, 10000, 5, tight=True).ticks == [0, 2000, 4000, 6000, 8000, 10000]
    assert log_axis(0.012, 0.3, 8).ticks == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    assert log_axis(1e-7, 0.3, 8).ticks == pytest.approx([10.0**i for i in range(-7, 0)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (0.30000000000000004, "0.3"), (2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (38, "38"),
     (9500, "9500"), (15000, "15k"), (1_500_000, "1.5M"), (-0.5, "-0.5")],
)  # fmt: skip
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


def make(directory: Path, name: str, losses: list[float], *, psnr: dict[int, Any] | None = None) -> ShownRun:
    writer = SummaryWriter(Run(directory, name))
    writer.append({"run": {"totalSteps": len(losses), "pairs": 1, "batch": 1}})
    for step, loss in enumerate(losses, 1):
        writer.append({"step": step, "loss": loss, "level": 1, "time": step * 0.1})
        if psnr and step in psnr:
            writer.append({"step": step, "psnr": psnr[step]})
    writer.close()
    watch = Watch(directory)
    watch.scan()
    row, curve = watch.row(name), watch.curve(name)
    assert row is not None
    assert curve is not None
    return shown_run(row, curve, watch.history(name))


def rows_of(picture: np.ndarray, colour: str, column: int) -> np.ndarray:
    """The rows of a column that bear a run's own colour, or most of it."""
    return np.flatnonzero(np.abs(picture[:, column] - rgb(colour)).max(axis=1) < 0.35)


def test_losses_lie_where_the_axis_says(tmp_path: Path) -> None:
    losses = [0.1 + 0.8 * 0.99**step for step in range(1000)]
    run = make(tmp_path, "r", losses)
    linear = draw_loss_curves([run], ProgressSettings(smoothness=0), 540, 960)
    logarithmic = draw_loss_curves([run], ProgressSettings(smoothness=0, log_scale=True), 540, 960)
    fractions = []
    for picture in (linear, logarithmic):
        inside = [column for column in range(120, 900, 60) if len(rows_of(picture, run.info.colour, column))]
        assert len(inside) == 13
        middles = np.array([rows_of(picture, run.info.colour, column).mean() for column in inside])
        assert (np.diff(middles) >= 0).all()  # the loss falls
        fractions.append((middles - middles.min()) / (middles.max() - middles.min()))
    assert np.abs(fractions[0] - fractions[1]).max() > 0.05
    powers = [0.9 * 10.0 ** (-3 * step / 1000) for step in range(1000)]  # a straight line on a logarithmic axis
    run = make(tmp_path, "powers", powers)
    picture = draw_loss_curves([run], ProgressSettings(smoothness=0, log_scale=True), 540, 960)
    columns = np.arange(150, 900, 50)
    middles = np.array([rows_of(picture, run.info.colour, column).mean() for column in columns])
    line = np.polyval(np.polyfit(columns, middles, 1), columns)
    assert np.abs(middles - line).max() < 1.0


def test_the_knobs(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    run = make(tmp_path, "r", (0.5 + 0.3 * rng.random(3000)).tolist(), psnr={500: 30.0, 1500: None, 2500: 34.0})

    def picture(**knobs: Any) -> np.ndarray:
        return draw_loss_curves([run], ProgressSettings(**knobs), 540, 960)

    raw = picture(smoothness=0, show_validation=False)
    smooth = picture(smoothness=0.99, show_original=False, show_validation=False)
    columns = range(150, 900, 50)
    assert np.mean([len(rows_of(raw, run.info.colour, x)) for x in columns]) > 100
    assert np.mean([len(rows_of(smooth, run.info.colour, x)) for x in columns]) < 40
    behind = picture(smoothness=0.99, show_validation=False)
    assert np.abs(behind - smooth).max() > 0.1
    for x in columns:  # the raw curve is behind, and paler
        assert len(rows_of(behind, run.info.colour, x)) < 40
    validated = picture(smoothness=0.99, show_original=False)
    assert np.abs(validated - smooth).max() > 0.3
    assert run.validation[1].tolist() == [30.0, 34.0]
    np.testing.assert_array_equal(
        picture(smoothness=0.99, show_original=False, live_updates=True), validated
    )  # it says what is read, not what is drawn


@pytest.mark.parametrize("log_scale", [False, True])
@pytest.mark.parametrize(
    "losses", [[0.3], [0.3] * 5, [0.0] * 4, [-1.0, 0.0, 2.0], [1e-320, 1.0], [1e299, 1e-299], [float("nan")] * 3]
)
def test_strange_losses_still_make_a_picture(tmp_path: Path, losses: list[float], log_scale: bool) -> None:
    run = make(tmp_path, "r", losses)
    for height, width in ((270, 480), (20, 30), (1, 1), (1, 400), (400, 1)):
        drawn = draw_loss_curves([run], ProgressSettings(log_scale=log_scale), height, width)
        assert drawn.shape == (height, width, 3)
        assert np.isfinite(drawn).all()
        assert drawn.min() >= 0
        assert drawn.max() <= 1


def test_many_runs_leave_room_for_the_graph(tmp_path: Path) -> None:
    one = make(tmp_path, "r", [0.5, 0.4, 0.3])
    picture = draw_loss_curves([one] * 200, ProgressSettings(), 270, 480)
    assert (
        sum(len(rows_of(picture, one.info.colour, x)) > 0 for x in range(60, 460)) > 280
    )  # the first step is at a third
    assert len(rows_of(picture[120:], one.info.colour, 300)) > 0


def test_a_message_where_there_is_nothing_to_draw() -> None:
    sentence = "There is no run in /mnt/show/" + "sequence/" * 30 + " yet: start a training"
    picture = draw_loss_curves([], ProgressSettings(), 540, 960, sentence)
    rows, columns = np.nonzero(picture.min(axis=2) > 0.5)
    assert len(rows) > 500
    assert columns.min() > 10
    assert columns.max() < 950


def test_display_values_become_the_host_s() -> None:
    shown = np.full((2, 3, 3), 0.5, np.float32)
    linear = as_host_values(shown, np.dtype(np.float32), ("R", "G", "B", "A"))
    assert linear[0, 0].tolist() == pytest.approx([0.21404, 0.21404, 0.21404, 1.0], abs=1e-4)
    assert as_host_values(shown, np.dtype(np.uint8), ("R", "G", "B"))[1, 2].tolist() == [0.5] * 3
    assert as_host_values(shown, np.dtype(np.float16), ("A",)).tolist() == [[[1.0]] * 3] * 2
