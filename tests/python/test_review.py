"""How far to trust each frame: the signals, what counts as painted, the files, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import FRAMES, Outcome, Shot, Train, picture, random_model, write_shot
from copycat import ops
from copycat.data.encodings import encode
from copycat.inference import signals
from copycat.inference.model import load
from copycat.inference.painted import run_of, trained_frames
from copycat.inference.render import FrameReport
from copycat.inference.review import ReviewError, doubts_of, review
from copycat.inference.signals import Chatter, Look, busiest_window, look, unlikeness
from copycat.model import cat
from copycat.sequence import ImageSequence, SequenceError, write_frame
from copycat.sequence.pairs import Pair
from copycat.settings.knob import SettingsError
from copycat.shot_view.shot import Shot as ShotOfRun

RGB = ("R", "G", "B")
CPU = torch.device("cpu")


@pytest.fixture
def with_a_strange_frame(shot: Shot) -> Shot:
    """The shot with a plate frame 1005 of noise that nobody painted, and a usual one, 1006."""
    strange = np.random.default_rng(5).random((64, 64, 3)).astype(np.float32)
    write_frame(shot.folder / "plate.1005.exr", strange, RGB)
    write_frame(shot.folder / "plate.1006.exr", picture(1004), RGB)
    return shot


def test_the_window_is_where_the_result_varies_and_off_the_networks_grid() -> None:
    change = np.full((240, 360, 3), 0.5, np.float32)  # a grade alone is no work
    change[160:, 260:] += np.random.default_rng(1).random((80, 100, 3)).astype(np.float32)
    rows, columns = busiest_window(change[::2, ::2], (240, 360))
    assert (rows.stop, columns.stop) == (240, 360)
    assert (rows.start % 16, columns.start % 16) == (5, 3)
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (240 * 360)
    assert 0.3 < share < 0.4
    rows, columns = busiest_window(change[::-2, ::-2], (240, 360))
    assert (rows.start, columns.start) == (5, 3)
    assert busiest_window(change[:64:2, :80:2], (64, 80)) == (slice(5, 64), slice(3, 80))


@pytest.mark.parametrize("scale", [(20.0, 20.0, 20.0), (20.0, 0.0, 20.0), (0.0, 0.0, 0.0)])
def test_values_are_encoded_as_everywhere_else(scale: tuple[float, ...]) -> None:
    values = np.random.default_rng(1).normal(0, 3, (20, 30, 3)).astype(np.float32)[:, ::2]
    values[0, 0] = (1e12, -1e12, 0)
    encoding = ops.Encoding(scale, (0.0,) * 3, (1.0,) * 3)
    np.testing.assert_allclose(signals._encoded(values, encoding), encode(values, encoding), rtol=1e-5)


def test_a_result_that_depends_on_the_grid_disagrees(tmp_path: Path, tiny: None) -> None:
    model = load(random_model(tmp_path / "m.cat"), CPU)
    assert look(model, picture(1, (96, 96))).disagreement > 1e-3
    with torch.no_grad():
        model.network.tail.weight.zero_()
        model.network.tail.bias.zero_()  # type: ignore[union-attr]
    assert look(model, picture(1, (96, 96))).disagreement == pytest.approx(0, abs=1e-6)
    assert not model.network.middle._forward_hooks


def test_a_matte_between_0_and_1_is_undecided(tmp_path: Path, tiny: None) -> None:
    header, weights = cat.load(random_model(tmp_path / "m.cat", channels_out=("A",)))
    encoding = replace(header.target_encoding, mean=(0.5,), matte=(True,))
    for name, bias in (("unsure", 0.0), ("sure", 10.0)):
        flat = {key: torch.zeros_like(value) for key, value in weights.items()}
        flat["tail.bias"] += bias
        cat.save(tmp_path / f"{name}.cat", replace(header, target_encoding=encoding), flat)
    found = {name: look(load(tmp_path / f"{name}.cat", CPU), picture(1)).indecision for name in ("unsure", "sure")}
    assert found == pytest.approx({"unsure": 0.25, "sure": 0})
    assert math.isnan(look(load(tmp_path / "m.cat", CPU), picture(1)).indecision)


def test_doubt_is_the_mean_ratio_to_the_painted_frames() -> None:
    signals = np.array([[1, 2, 1, np.nan], [3, 4, 1, np.nan], [4, 6, 8, np.nan], [2, 1, np.nan, np.nan]])
    # Usual are 2, 3 and 1; an unlikeness below the usual counts as usual.
    assert doubts_of(signals, [0, 1]) == pytest.approx([0.5 ** (1 / 3), 2 ** (1 / 3), 32 ** (1 / 3), 1])
    assert doubts_of(signals, [3])[2] == pytest.approx((2 * 6 * 8) ** (1 / 3))  # no painted frame has a chatter


def test_unlikeness_is_the_distance_to_another_painted_frame() -> None:
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    spread = float(torch.cat([first, second]).std())
    found = unlikeness([first, torch.tensor([[2.0], [8.0]]), second], [first, second])
    assert found == pytest.approx([1 / spread, (0 + 3) / 2 / spread, (1 + 3) / 2 / spread], rel=1e-3)
    alone = unlikeness([first, torch.tensor([[0.0], [2.0]])], [first])
    assert alone == pytest.approx([2 / float(first.std()), 0], rel=1e-3, abs=1e-6)


def test_chatter_is_what_the_motion_of_the_plate_does_not_explain(tmp_path: Path, tiny: None) -> None:
    chatter = Chatter(load(random_model(tmp_path / "m.cat"), CPU))
    noise = np.random.default_rng(2).random((120, 160, 3)).astype(np.float32)
    before = cv2.GaussianBlur(noise, (0, 0), 3)
    before = (before - before.min()) / np.ptp(before)
    after = np.roll(before, 4, axis=1)

    plates = (before, after)

    def between(results: tuple[np.ndarray, np.ndarray]) -> float:
        looks = [Look(0.0, 0.0, torch.zeros(1, 1), p, r) for p, r in zip(plates, results, strict=True)]
        return chatter.between(*looks)

    assert between((before, after)) == pytest.approx(1, rel=1e-3)  # the result is the plate
    assert between((before, after + 0.2)) > 10
    assert between((0 * before, 0 * after)) < 0.3
    plates = (before, after[:100])
    assert math.isnan(between((before, after[:100])))


def test_the_strange_frame_is_the_worst_and_shot_view_shows_it(train: Train, with_a_strange_frame: Shot) -> None:
    result = train(epochs=40, run_name="r")
    found = review(result.checkpoint or "", with_a_strange_frame.input, use_gpu_if_available=False)
    assert [one.frame for one in found.frames] == [1001, 1002, 1003, 1004, 1005, 1006]
    assert [one.frame for one in found.frames if one.painted] == list(FRAMES)
    assert [one.frame for one in found.worst] == [1005, 1006]
    assert found.worst[0].doubtful
    assert ShotOfRun.of(result.run).lanes().doubtful == tuple(one.frame for one in found.frames if one.doubtful)
    assert found.sheet == result.run.review_sheet
    sheet = cv2.imread(str(found.sheet))
    assert sheet.shape[1] > 2 * 2 * 64
    written = json.loads(result.run.review.read_text())
    assert written == found.to_json()
    assert {result.run.review, result.run.review_sheet} <= set(result.run.files())


def test_a_review_of_another_plate_is_not_shown(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(run_name="r")
    other = write_shot(tmp_path / "other", frames=(1001, 1002, 1009))
    review(result.checkpoint or "", other.input, use_gpu_if_available=False)
    assert not result.run.review.exists()
    assert not result.run.review_sheet.exists()
    result.run.review.write_text(json.dumps({"input": other.input, "doubtful": [1001]}))
    assert ShotOfRun.of(result.run).lanes().doubtful is None
    result.run.review.write_text(json.dumps({"input": shot.input, "doubtful": [1001]}))
    assert ShotOfRun.of(result.run).lanes().doubtful == (1001,)


def test_a_run_that_cannot_be_written_is_a_warning(train: Train, with_a_strange_frame: Shot, tmp_path: Path) -> None:
    result = train(run_name="r")
    result.run.review.mkdir()
    said: list[str] = []
    options = {"json": tmp_path / "new/review.json", "use_gpu_if_available": False}
    found = review(result.checkpoint or "", with_a_strange_frame.input, warn=said.append, **options)
    assert json.loads((tmp_path / "new/review.json").read_text()) == found.to_json()
    assert [".review: cannot be written" in sentence for sentence in said] == [True]


def test_an_interrupted_review_leaves_the_last_one(train: Train, with_a_strange_frame: Shot) -> None:
    result = train(run_name="r")
    model = load(result.checkpoint or "", CPU)
    review(model, with_a_strange_frame.input)
    before = [path.read_bytes() for path in (result.run.review, result.run.review_sheet)]

    def interrupt(report: FrameReport) -> None:
        if report.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        review(model, with_a_strange_frame.input, progress=interrupt)
    torn = with_a_strange_frame.folder / "plate.1005.exr"
    torn.write_bytes(torn.read_bytes()[:900])
    with pytest.raises(SequenceError, match=r"plate\.1005\.exr"):
        review(model, with_a_strange_frame.input)
    assert [path.read_bytes() for path in (result.run.review, result.run.review_sheet)] == before


def test_the_painted_frames_are_those_of_the_run(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(training_frames="1001,1003")

    def painted(plate: str, **options: object) -> set[int]:
        found = review(result.checkpoint or "", plate, use_gpu_if_available=False, **options)
        return {one.frame for one in found.frames if one.painted}

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
    painted, others = trained_frames(result.run, ImageSequence.parse(other.input))
    assert (painted, len(others)) == ({1002, 1003}, 4)
    copy = write_shot(tmp_path / "copy", frames=FRAMES[:1])
    (found,) = review(result.checkpoint or "", copy.input, use_gpu_if_available=False).frames
    assert not found.painted
    assert found.unlikeness == pytest.approx(0, abs=1e-2)
    assert found.chatter is None


def test_frames_that_a_host_handed_over_are_the_plates(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(training_frames="1002", run_name="handed")
    said = json.loads(result.run.provenance.read_text())
    handed = tmp_path / "runs/handed_input.1002.exr"
    handed.write_bytes(Path(said["frames"][0]["input"]).read_bytes())
    said["frames"][0]["input"] = str(handed)
    result.run.provenance.write_text(json.dumps(said))
    run = run_of(load(result.checkpoint or "", CPU))
    assert run == result.run
    assert trained_frames(result.run, ImageSequence.parse(shot.input)) == ({1002}, [])


def test_a_model_without_its_run_needs_the_painted_frames(tmp_path: Path, shot: Shot, tiny: None) -> None:
    path = random_model(tmp_path / "alone.cat")
    options = {"use_gpu_if_available": False}
    with pytest.raises(ReviewError, match=r"alone\.cat"):
        review(path, shot.input, **options)
    with pytest.raises(SequenceError, match="1009"):
        review(path, shot.input, ground_truth_frames="1009", **options)
    with pytest.raises(ReviewError, match=r"worst\.jpg: the contact sheet is a PNG"):
        review(path, shot.input, ground_truth_frames="1001", sheet="worst.jpg", **options)
    with pytest.raises(SettingsError, match=r"unknown knob 'tile_overlap'; the knobs of review are .*tile_size"):
        review(path, shot.input, tile_overlap=1)
    for name in ("json", "sheet"):
        plate = tmp_path / f"plate.{FRAMES[0]}.png"
        plate.write_bytes((shot.folder / f"plate.{FRAMES[0]}.exr").read_bytes())
        with pytest.raises(SequenceError, match=r"plate\.1001\.png: the output would overwrite"):
            review(path, tmp_path / "plate.%04d.png", ground_truth_frames=1001, **{name: plate}, **options)
    found = review(path, shot.input, ground_truth_frames="1001", **options)
    assert len(found.worst) == 3
    assert (found.sheet, [p.name for p in tmp_path.glob("*review*")]) == (None, [])
    found = review(path, shot.input, ground_truth_frames="1001", sheet=tmp_path / "new/worst.png", **options)
    assert (tmp_path / "new/worst.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_with_a_clean_plate_sees_the_window_in_its_place(tmp_path: Path, tiny: None) -> None:
    shot = write_shot(tmp_path / "shot", size=(112, 96))
    header, _ = cat.load(random_model(tmp_path / "m.cat"))
    header = replace(header, plate_size=(96, 112))
    cat.save(tmp_path / "plate.cat", header, header.network().state_dict())
    found = review(tmp_path / "plate.cat", shot.input, ground_truth_frames="1001", use_gpu_if_available=False)
    assert all(math.isfinite(one.doubt) for one in found.frames)


def test_pixels_that_are_not_finite_are_no_doubt(tmp_path: Path, shot: Shot, tiny: None) -> None:
    model = load(random_model(tmp_path / "m.cat"), CPU)
    clean = {one.frame: one for one in review(model, shot.input, ground_truth_frames="1001").frames}
    spoiled = picture(1002)
    spoiled[20, 30], spoiled[40, 10] = math.nan, 3e38
    write_frame(shot.folder / "plate.1002.exr", spoiled, RGB, dtype="float")
    said: list[str] = []
    found = review(model, shot.input, ground_truth_frames="1001", warn=said.append).frames
    assert [one.doubt for one in found] == pytest.approx([clean[one.frame].doubt for one in found], rel=0.25)
    assert len(said) == 1
    assert "plate.1002.exr: 2 pixels" in said[0]


def test_the_command_prints_the_worst_frames_and_fails_over_a_doubt(
    train: Train, with_a_strange_frame: Shot, copycat: Callable[..., Outcome], tmp_path: Path
) -> None:
    result = train(epochs=40)
    command = ("review", result.checkpoint, with_a_strange_frame.input, "--no-use-gpu-if-available")
    status, out, _ = copycat(*command, "--json", tmp_path / "review.json")
    assert status == 0
    rows = [line.split() for line in out.splitlines() if "[Frame" not in line]
    assert rows[0] == ["Frame", "Doubt", "Disagreement", "Unlikeness", "Chatter", "Indecision"]
    found = json.loads((tmp_path / "review.json").read_text())
    worst = max((one for one in found["frames"] if not one["painted"]), key=lambda one: one["doubt"])
    assert rows[1][:2] == ["1005", f"{worst['doubt']:.2f}"]
    assert "Frames: 6, of them 4 painted" in out
    assert f"{result.run.name}_review.png" in out
    status, _, err = copycat(*command, "--fail-over", worst["doubt"] - 0.01)
    assert (status, "frame 1005: its doubt is" in err) == (3, True)
    status, _, err = copycat(*command, "--fail-over", worst["doubt"] + 0.01)
    assert (status, err) == (0, "")
    status, _, err = copycat("review", "no.cat", with_a_strange_frame.input, "--fail-over", 1)
    assert status == 1
