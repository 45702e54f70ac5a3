"""Which frame to paint next: the measure, what counts as painted, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FRAMES, Outcome, Shot, Train, picture, random_model, write_shot
from copycat import cat, inference
from copycat.dataset import Pair
from copycat.next_frame import mirror_difference, suggest
from copycat.sequence import SequenceError, write_frame

RGB = ("R", "G", "B")
CPU = torch.device("cpu")


def test_an_untrained_model_is_as_sure_of_a_frame_as_of_its_mirror_image(tmp_path: Path, tiny: None) -> None:
    path = random_model(tmp_path / "untrained.cat")
    header, _ = cat.load(path)
    cat.save(path, header, header.network().state_dict())  # passes the Input through
    assert mirror_difference(inference.load(path, CPU), picture(1)) == pytest.approx(0, abs=1e-6)


def test_the_score_is_the_mean_difference_to_the_mirrored_result_of_the_mirrored_frame(
    tmp_path: Path, tiny: None
) -> None:
    model = inference.load(random_model(tmp_path / "random.cat"), CPU)
    pixels = picture(3, (80, 48))
    difference = model(pixels) - model(np.fliplr(pixels).copy())[:, ::-1]
    score = mirror_difference(model, pixels)
    assert score == pytest.approx(float(np.abs(difference).mean()), rel=1e-4)
    assert score > 1e-3


def test_a_highlight_does_not_outweigh_the_picture(tmp_path: Path, tiny: None) -> None:
    """The difference of scene-linear results is taken as it is seen."""
    model = inference.load(random_model(tmp_path / "log.cat", log_scale=20.0), CPU)
    pixels = picture(3) * 50
    difference = model(pixels) - model(np.fliplr(pixels).copy())[:, ::-1]
    assert mirror_difference(model, pixels) < 0.1 * float(np.abs(difference).mean())


def test_a_frame_unlike_those_painted_comes_first(train: Train, shot: Shot) -> None:
    strange = np.random.default_rng(5).random((64, 64, 3)).astype(np.float32)
    write_frame(shot.folder / "plate.1005.exr", strange, RGB)
    result = train(epochs=40)
    assert result.checkpoint is not None
    found = suggest(result.checkpoint, shot.input, use_gpu_if_available=False)
    assert [one.frame for one in found if not one.painted] == [1005]
    assert found[0].frame == 1005
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_the_painted_frames_are_those_of_the_run(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(training_frames="1001,1003")
    assert result.checkpoint is not None

    def painted(plate: str, **options: object) -> set[int]:
        found = suggest(result.checkpoint or "", plate, use_gpu_if_available=False, **options)
        return {one.frame for one in found if one.painted}

    assert painted(shot.input) == {1001, 1003}
    assert painted(shot.input, frames="1002-1004") == {1003}
    assert painted(shot.input, ground_truth_frames="1002") == {1002}
    assert painted(shot.input, ground_truth_frames=[1004]) == {1004}
    moved = write_shot(tmp_path / "moved")
    assert painted(moved.input) == {1001, 1003}


def test_of_several_shots_only_the_plates_own_frames_are_painted(train: Train, shot: Shot, tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other", frames=(1002, 1003))
    result = train(pairs=[Pair(shot.input, shot.ground_truth), Pair(other.input, other.ground_truth)])
    found = suggest(result.checkpoint or "", other.input, frames=[1002, 1003], use_gpu_if_available=False)
    assert all(one.painted for one in found)
    plate = write_shot(tmp_path / "third", frames=FRAMES[:1])
    assert not any(one.painted for one in suggest(result.checkpoint or "", plate.input, use_gpu_if_available=False))


def test_a_model_without_its_run_says_that_it_does_not_know(tmp_path: Path, shot: Shot, tiny: None) -> None:
    said: list[str] = []
    path = random_model(tmp_path / "alone.cat")
    found = suggest(path, shot.input, warn=said.append, use_gpu_if_available=False)
    assert [one.painted for one in found] == [False] * 4
    assert len(said) == 1
    assert "alone.cat" in said[0]
    with pytest.raises(SequenceError, match="1009"):
        suggest(path, shot.input, frames="1009", use_gpu_if_available=False)


def test_the_command_prints_a_table_and_json(train: Train, shot: Shot, copycat: Callable[..., Outcome]) -> None:
    result = train(training_frames="1001,1003")
    options = (result.checkpoint, shot.input, "--no-use-gpu-if-available")
    status, out, _ = copycat("suggest", *options, "--json")
    rows = json.loads(out)
    assert status == 0
    assert {row["frame"]: row["painted"] for row in rows} == {1001: True, 1002: False, 1003: True, 1004: False}
    status, out, _ = copycat("suggest", *options)
    assert status == 0
    lines = [line.split() for line in out.splitlines() if "[Frame" not in line]
    assert lines[0] == ["Rank", "Frame", "Score"]
    best = next(row for row in rows if not row["painted"])
    assert ["1", str(best["frame"]), f"{best['score']:.5f}"] in lines
    assert sum(line[-1] == "painted" for line in lines) == 2
