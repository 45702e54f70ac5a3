"""A training that looks over its frames first: the same findings as `copycat check`, and every frame read once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FRAMES, Shot, graded, picture, summary
from copycat import sequence
from copycat.checks.dataset import inspect_dataset
from copycat.sequence import write_frame
from copycat.sequence.pairs import DatasetError, Pair
from copycat.settings.tables import Settings
from copycat.training.start import Result
from test_check import blurred, painted, write_pairs

Train = Callable[..., Result]
RGB = ("R", "G", "B")


@pytest.fixture
def verify(train: Train) -> Callable[..., list[str]]:
    """Trains a step or two with Verify Inputs; what the run's summary warns of."""

    def call(*patterns: str, **knobs: Any) -> list[str]:
        run = train(*patterns, epochs=1, verify_inputs=True, use_multi_resolution_training=False, **knobs).run
        (warnings,) = (record["run"]["warnings"] for record in summary(run) if "run" in record)
        return list(warnings)

    return call


def test_it_warns_of_what_the_check_warns_of(verify: Callable[..., list[str]], tmp_path: Path) -> None:
    moved = write_pairs(tmp_path / "moved", lambda p: blurred(painted(p), 0, 2.25, -1))
    same = write_pairs(tmp_path / "same", lambda p: p)
    flat = write_pairs(tmp_path / "flat", lambda p: np.zeros_like(p))
    for frame in range(1001, 1004):
        write_frame(tmp_path / f"flat/mask.{frame}.exr", np.zeros((272, 400, 1), np.float32), ("A",))
        write_frame(tmp_path / f"flat/in.{frame}.exr", np.full((272, 400, 3), 0.5, np.float32), RGB)
    pairs = [Pair(one.input, one.ground_truth) for one in (moved, same)]
    pairs.append(Pair(flat.input, flat.ground_truth, str(tmp_path / "flat/mask.####.exr")))
    # The first two have no mask of their own: all of their pixels count.
    found = {finding.sentence for finding in inspect_dataset(pairs, Settings(crop_size=32)).warnings}
    assert {word for word in ("shifted", "pixel for pixel", "of one colour", "in the mask") if word in str(found)} == {
        "shifted",
        "pixel for pixel",
        "of one colour",
        "in the mask",
    }
    assert len(found) == 4
    messages: list[str] = []
    assert set(verify(pairs=pairs, progress=lambda report: messages.append(report.message))) == found
    assert found <= {message.removeprefix("warning: ") for message in messages}


def test_half_files_are_looked_at_as_they_are_kept(verify: Callable[..., list[str]], tmp_path: Path) -> None:
    for frame in (1, 2):
        pixels = np.tile(picture(frame, (128, 128)), (2, 2, 1))
        write_frame(tmp_path / f"in.{frame}.exr", pixels, RGB, dtype="half")
        write_frame(tmp_path / f"out.{frame}.exr", graded(np.roll(pixels, 3, axis=1)), RGB, dtype="half")
    patterns = str(tmp_path / "in.#.exr"), str(tmp_path / "out.#.exr")
    (warning,) = verify(*patterns)
    assert re.search(r"shifted against the Input by \+(2\.9|3\.0)\d pixels in x", warning)
    (moved_back,) = {sentence.split(": ")[1][:13] for sentence in verify(*patterns, align_ground_truth=True)}
    assert moved_back == "moved back by"


def test_without_it_nothing_is_looked_at_and_with_it_no_frame_is_read_twice(
    verify: Callable[..., list[str]], train: Train, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = sequence.read_frame

    def noted(path: Path, *arguments: Any, **more: Any) -> Any:
        read.append(Path(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(sequence, "read_frame", noted)
    for frame in FRAMES:  # the same as the Input, pixel for pixel
        write_frame(shot.folder / f"clean.{frame}.exr", picture(frame), RGB)
    run = train(epochs=1).run
    assert [record["run"]["warnings"] for record in summary(run) if "run" in record] == [[]]
    (warning,) = verify()
    assert warning == f"{shot.ground_truth}: frames 1001-1004 are the same as in {shot.input}, pixel for pixel"
    assert sorted(read) == sorted(2 * [shot.folder / f"{name}.{f}.exr" for name in ("plate", "clean") for f in FRAMES])


def test_an_error_stops_it_with_its_sentence_before_a_run_is_created(train: Train, shot: Shot, tmp_path: Path) -> None:
    write_frame(shot.folder / "clean.1002.exr", picture(1002, (64, 32)), RGB)
    with pytest.raises(DatasetError, match=r"clean\.1002\.exr: the Ground Truth is 64x32, its Input .* is 64x64$"):
        train(verify_inputs=True)
    write_frame(shot.folder / "clean.1003.exr", picture(1002, (64, 32)), RGB)
    with pytest.raises(DatasetError, match=r"\(and 1 more, which copycat check lists\)"):
        train(verify_inputs=True)
    assert not (tmp_path / "runs").exists()


def test_pixels_that_are_not_finite_stop_it(train: Train, shot: Shot) -> None:
    spoiled = picture(1002)
    spoiled[3, 4] = np.nan
    write_frame(shot.folder / "clean.1002.exr", spoiled, RGB)
    with pytest.raises(DatasetError, match=r"clean\.1002\.exr: 1 pixel is NaN"):
        train(verify_inputs=True)
