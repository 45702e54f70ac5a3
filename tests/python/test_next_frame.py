"""Which frame to paint next: the measure, what counts as painted, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FRAMES, Outcome, Shot, Train, picture, random_model, write_shot
from copycat.inference.model import load
from copycat.inference.suggest import SuggestionError, coverage_order, features, suggest, trained_frames
from copycat.sequence import ImageSequence, SequenceError, write_frame
from copycat.sequence.pairs import Pair
from hypothesis import given
from hypothesis import strategies as st

RGB = ("R", "G", "B")
CPU = torch.device("cpu")


def test_the_first_frame_is_the_one_that_brings_all_nearest_to_a_painted_one() -> None:
    # Frames on a line; 0 is painted. 10 is odd, but 4 stands for 3, 4 and 5.
    frames = torch.tensor([[0.0], [3.0], [4.0], [5.0], [10.0]])
    order = coverage_order(frames, torch.tensor([[0.0]]))
    assert [index for index, _ in order] == [2, 4, 1, 3, 0]
    # With 4: 3, 4, 5, 10 come nearer by 2, 4, 4, 4. Then 10 by 6; 3 and 5 by 1; the painted one by nothing.
    assert [score for _, score in order] == pytest.approx([14 / 5, 6 / 5, 1 / 5, 1 / 5, 0])


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=70), st.floats(-100, 100, width=32))
def test_every_frame_is_ranked_once_and_scores_fall(places: list[float], painted: float) -> None:
    frames = torch.tensor(places)[:, None]
    order = coverage_order(frames, torch.tensor([[painted]]))
    assert sorted(index for index, _ in order) == list(range(len(places)))
    scores = [score for _, score in order]
    assert all(before >= after - 1e-4 for before, after in pairwise(scores))
    assert sum(scores[:50]) <= float((frames - painted).abs().mean()) + 1e-3


def test_the_features_are_means_of_cells_of_32_pixels(tmp_path: Path, tiny: None) -> None:
    model = load(random_model(tmp_path / "random.cat"), CPU)
    pixels = picture(3, (96, 64))
    found = features(model, pixels)
    width = model.network.row.widths[-1]
    assert found.shape == (6, width)
    changed = pixels.copy()
    changed[:32, :32] = 0
    assert not torch.equal(features(model, changed)[0], found[0])
    model(pixels)  # and nothing is left behind in the network
    assert not model.network.middle._forward_hooks


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

    def painted(plate: str, **options: object) -> set[int]:
        found = suggest(result.checkpoint or "", plate, use_gpu_if_available=False, **options)
        return {one.frame for one in found if one.painted}

    assert painted(shot.input) == {1001, 1003}
    assert painted(shot.input, frames="1002-1004") == {1003}
    assert painted(shot.input, ground_truth_frames="1002") == {1002}
    assert painted(shot.input, ground_truth_frames=[1004]) == {1004}
    copy = write_shot(tmp_path / "copy")
    assert painted(copy.input) == set()  # another shot may have the same numbers
    for path in shot.folder.iterdir():
        path.unlink()
    assert painted(copy.input) == {1001, 1003}


def test_painted_frames_of_other_shots_count_too(train: Train, shot: Shot, tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other", frames=(1002, 1003))
    result = train(pairs=[Pair(shot.input, shot.ground_truth), Pair(other.input, other.ground_truth)])
    model = load(result.checkpoint or "", CPU)
    painted, paths = trained_frames(model, ImageSequence.parse(other.input))
    assert painted == {1002, 1003}
    assert len(paths) == 6
    copy = write_shot(tmp_path / "copy", frames=FRAMES[:1])
    (found,) = suggest(model, copy.input)
    assert not found.painted
    assert found.score == pytest.approx(0, abs=1e-2)


def test_frames_that_a_host_handed_over_are_the_plates(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(training_frames="1002", run_name="handed")
    provenance = result.run.provenance
    said = json.loads(provenance.read_text())
    handed = tmp_path / "runs/handed_input.1002.exr"
    handed.write_bytes(Path(said["frames"][0]["input"]).read_bytes())
    said["frames"][0]["input"] = str(handed)
    provenance.write_text(json.dumps(said))
    model = load(result.checkpoint or "", CPU)
    source = ImageSequence.parse(shot.input)
    assert trained_frames(model, source) == ({1002}, [source.path(1002)])


def test_a_model_without_its_run_needs_the_painted_frames(tmp_path: Path, shot: Shot, tiny: None) -> None:
    path = random_model(tmp_path / "alone.cat")
    with pytest.raises(SuggestionError, match=r"alone\.cat"):
        suggest(path, shot.input, use_gpu_if_available=False)
    with pytest.raises(SequenceError, match="1009"):
        suggest(path, shot.input, ground_truth_frames="1009", use_gpu_if_available=False)
    found = suggest(path, shot.input, ground_truth_frames="1001", use_gpu_if_available=False)
    assert found[-1].frame == 1001
    assert found[-1].score < 0.1 * found[0].score


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
