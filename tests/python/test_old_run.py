"""A run that an earlier version wrote: its model renders the same, its resume state goes on.

``old_run`` is a run of a network two channels wide, stopped by SIGTERM at step 7 of 10, with its frames handed over by
a host. Its ``.json`` holds absolute paths of a Data Directory that is gone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import losses, summary
from copycat.inference.render import infer
from copycat.runs import Run, find_run
from copycat.sequence import read_frame
from copycat.training.start import resume

OLD = Path(__file__).with_name("old_run")
# The losses of the uninterrupted run with the version that wrote it.
LOSSES_AFTERWARDS = [0.02006549, 0.01974897, 0.01995352]


@pytest.fixture
def old(tmp_path: Path) -> Run:
    """A copy of the old run."""
    shutil.copytree(OLD, tmp_path / "runs")
    return find_run(tmp_path / "runs")


def test_an_old_model_renders_what_it_rendered(old: Run, tmp_path: Path, one_thread: None) -> None:
    plate = old.file("_input.####.exr")
    (path_out,) = infer(old.checkpoint(7), plate, tmp_path / "out.####.exr", frames="1001", use_gpu_if_available=False)
    pixels, before = (read_frame(path, "RGB").pixels for path in (path_out, old.directory / "rendered.1001.exr"))
    assert np.abs(before - read_frame(old.file("_input.1001.exr"), "RGB").pixels).max() > 0.02
    np.testing.assert_allclose(pixels, before, atol=2e-3)  # halves


def test_an_old_run_goes_on(old: Run, one_thread: None) -> None:
    result = resume(old.directory)
    assert (result.ended, result.step, result.run.name) == ("finished", 10, "old")
    assert [line["step"] for line in summary(old) if "loss" in line] == list(range(1, 11))
    assert losses(old)[7:] == pytest.approx(LOSSES_AFTERWARDS, rel=0.02)
