"""The loss curves as a picture: where losses lie, what the knobs do, strange losses, many runs, many threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat.plots.graph import ShownRun, draw_loss_curves, shown_run
from copycat.plots.live import Watch
from copycat.runs import Run, SummaryWriter
from copycat.settings.tables import ProgressSettings
from copycat.worker.sheets import as_host_values, fit_sheet
from fake_trainer import picture as contact_sheet
from matplotlib.colors import to_rgb


def rgb(colour: str) -> np.ndarray:
    return np.array(to_rgb(colour))


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
    graph = picture[40:490]  # without legend and tick labels
    middles = np.array([rows_of(graph, run.info.colour, column).mean() for column in columns])
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


def test_names_that_are_no_unicode_are_drawn() -> None:
    sentence = "There is no run in /mnt/dis\udcd8 yet"
    picture = draw_loss_curves([], ProgressSettings(), 270, 480, sentence)
    assert picture.max() > 0.5


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


def test_a_single_peak_among_many_steps_is_drawn(tmp_path: Path) -> None:
    losses = np.full(200_000, 0.2)
    losses[150_000] = 1.0
    run = make(tmp_path, "r", losses.tolist())
    picture = draw_loss_curves([run], ProgressSettings(smoothness=0), 540, 960)
    flat = rows_of(picture, run.info.colour, 300)
    peaks = [x for x in range(100, 940) if len(rows_of(picture, run.info.colour, x)) > 200]
    assert len(flat) < 10
    assert len(peaks) in (1, 2, 3)


def test_threads_draw_the_same_picture(tmp_path: Path) -> None:
    runs = [make(tmp_path, name, [1 / step for step in range(1, 300)], psnr={100: 30.0, 200: 31.0}) for name in "abc"]
    alone = draw_loss_curves(runs, ProgressSettings(), 180, 320)
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: draw_loss_curves(runs, ProgressSettings(), 180, 320), range(8)))
    for picture in drawn:
        np.testing.assert_array_equal(picture, alone)


def test_a_worker_that_draws_nothing_does_not_import_matplotlib() -> None:
    program = "import sys, copycat.worker.server, copycat.plots.graph; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_sheet_is_fitted_into_the_middle(tmp_path: Path) -> None:
    sheet = tmp_path / "r_1.png"
    sheet.write_bytes(contact_sheet(90, 90, 5))
    shown = np.array([[(60 * row + 30 * column + 5) % 256 for column in range(3)] for row in range(3)], np.float32)
    for height, width in ((300, 500), (45, 200), (200, 45)):
        fitted = fit_sheet(sheet, height, width)
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        assert (fitted[:top] == 0).all()
        assert (fitted[:, :left] == 0).all()
        inside = fitted[top : top + side, left : left + side]
        middles = (np.array([1, 3, 5]) * side) // 6
        np.testing.assert_allclose(inside[np.ix_(middles, middles)][..., 0] * 255, shown, atol=1.0)
    assert (fit_sheet(None, 7, 9) == 0).all()
