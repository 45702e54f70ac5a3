"""A data set that lives: frames that appear, change and go while a training runs, and exact resumes around a change.

Over 400 lines: what a change leaves as it was, and what it does not, knob by knob.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moving_camera
import numpy as np
import pytest
import torch
from conftest import Shot, Train, graded, picture, summary, write_shot
from copycat.data import banks, dataset
from copycat.data.dataset import load_dataset
from copycat.model import cat
from copycat.runs import Run, find_run, read_provenance
from copycat.runs.unpainted import note_unpainted
from copycat.sequence import write_frame
from copycat.sequence.pairs import Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training import checkpoint, crops, frame_watch, living_data
from copycat.training.composites import Composites
from copycat.training.start import resume
from painting import Painter, changes, erase, names, paint, until
from test_composites import write_discs

RUNS = "runs"
LONG = {"epochs": 100_000, "checkpoint_interval": 100_000, "image_interval": 100_000}


# -- appear, change, go ---------------------------------------------------------------------------------------------


def test_frames_that_appear_change_and_go_are_taken_in(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {
        5: lambda: paint(shot, 1005),
        10: lambda: paint(shot, 1002, effect=lambda image: image * 0.5),
        15: lambda: erase(shot, 1001),
    }
    result = train(epochs=20, after_frame_render=painter)
    assert (result.ended, result.step) == ("finished", 20)
    assert [(line["step"], line["frames"]) for line in changes(result.run)] == [
        (6, {"added": names(1005), "changed": [], "removed": [], "pairs": 5}),
        (11, {"added": [], "changed": names(1002), "removed": [], "pairs": 5}),
        (16, {"added": [], "changed": [], "removed": names(1001), "pairs": 4}),
    ]
    headers = [line["run"] for line in summary(result.run) if "run" in line]
    assert [(one["pairs"], one["batch"], one["totalSteps"]) for one in headers] == [
        (4, 4, 20),
        (5, 5, 20),
        (5, 5, 20),
        (4, 4, 20),
    ]
    stored = read_provenance(result.run)["frames"]
    assert [frame["frame"] for frame in stored] == [1002, 1003, 1004, 1005]


def test_the_change_is_the_data_set_of_the_same_files(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {2: lambda: paint(shot, 1005), 5: lambda: erase(shot, 1002)}
    seen: list[dataset.Dataset] = []

    def keep(facts: Any) -> None:
        painter(facts)
        seen.append(painter.watches[0]._data)  # type: ignore[arg-type]

    train(epochs=8, after_frame_render=keep)
    data = seen[-1]
    fresh = load_dataset(data.pairs, Settings(), encodings=(data.input_encoding, data.target_encoding))
    assert [pair.frame for pair in data.pairs] == [1001, 1003, 1004, 1005]
    assert data.data_hash == fresh.data_hash
    assert torch.equal(data.input_bank, fresh.input_bank)
    assert torch.equal(data.target_bank, fresh.target_bank)
    assert torch.equal(data.centres, fresh.centres)
    assert torch.equal(data.centre_offsets, fresh.centre_offsets)


def test_a_change_is_taken_within_five_seconds(train: Train, shot: Shot) -> None:
    """At the product's own intervals, without a stand-in."""
    painted: list[float] = []

    def act(facts: Any) -> None:
        if facts["frame"] == 3:
            paint(shot, 1005)
            painted.append(time.monotonic())
        time.sleep(0.05)

    def stop(report: Any) -> None:
        if "clean.1005.exr is new" in report.message:
            painted.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(**LONG, after_frame_render=act, progress=stop)
    assert painted[1] - painted[0] < 5


def test_a_frame_that_is_written_again_with_the_same_pixels_changes_nothing(
    train: Train, shot: Shot, painter: Painter
) -> None:
    painter.waits = False
    painter.acts = {2: lambda: (paint(shot, 1002), time.sleep(0.5))}
    assert changes(train(epochs=6, after_frame_render=painter).run) == []


def test_switched_off_it_watches_nothing(train: Train, shot: Shot, painter: Painter) -> None:
    painter.waits = False
    painter.acts = {2: lambda: (paint(shot, 1005), time.sleep(0.5))}
    assert changes(train(epochs=6, watch_training_frames=False, after_frame_render=painter).run) == []


def test_training_frames_decide_what_is_taken_in(train: Train, shot: Shot, painter: Painter) -> None:
    painter.waits = False
    painter.acts = {2: lambda: (paint(shot, 1005), time.sleep(0.5))}
    result = train(training_frames="1001-1004", epochs=6, after_frame_render=painter)
    assert changes(result.run) == []


def test_a_copy_of_the_plate_is_taken_in_once_it_is_painted(train: Train, shot: Shot, painter: Painter) -> None:
    """As the page lays it for the artist; a new training leaves it out too."""
    clean = shot.folder / "clean.1005.exr"

    def lay() -> None:
        paint(shot, 1006)
        write_frame(shot.folder / "plate.1005.exr", picture(1005), ("R", "G", "B"))
        copy = shot.folder / ".copy.exr"
        shutil.copy(shot.folder / "plate.1005.exr", copy)
        note_unpainted(find_run(shot.folder.parent / RUNS), clean, copy)
        copy.rename(clean)

    painter.acts = {3: lay, 6: lambda: paint(shot, 1005)}
    result = train(epochs=9, after_frame_render=painter)
    assert [line["frames"]["added"] for line in changes(result.run)] == [names(1006), names(1005)]

    painter.acts = {}
    clean.unlink()
    (shot.folder / "clean.1006.exr").unlink()
    lay()
    again = train(epochs=2, after_frame_render=painter)
    assert [frame["frame"] for frame in read_provenance(again.run)["frames"]] == [1001, 1002, 1003, 1004, 1006]


# -- what cannot be taken in ----------------------------------------------------------------------------------------


def test_a_half_written_frame_is_waited_for(train: Train, shot: Shot, painter: Painter, tmp_path: Path) -> None:
    whole = write_shot(tmp_path / "elsewhere", (1005,)).folder / "clean.1005.exr"
    data = whole.read_bytes()

    def begin() -> None:
        shutil.copy(whole.with_name("plate.1005.exr"), shot.folder)
        (shot.folder / "clean.1005.exr").write_bytes(data[: len(data) // 2])
        time.sleep(0.5)  # many looks
        assert painter.watches[0].take() == (None, [])

    def complete() -> None:
        (shot.folder / "clean.1005.exr").write_bytes(data)

    painter.acts = {4: complete}
    begun: list[int] = []

    def act(facts: Any) -> None:
        if facts["frame"] == 2 and not begun:
            begun.append(1)
            begin()
        painter(facts)

    result = train(epochs=8, after_frame_render=act)
    assert [line["step"] for line in changes(result.run)] == [5]
    assert not any("warning" in line for line in summary(result.run))


def test_a_frame_that_stays_unreadable_is_named_once(
    train: Train, shot: Shot, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_watch, "_PATIENCE_SECONDS", 0.1)
    painter.waits = False

    def spoil() -> None:
        paint(shot, 1005, 1006)
        (shot.folder / "clean.1005.exr").write_bytes(b"no image")
        until(lambda: painter.watches[0]._ready)

    def reported() -> bool:
        return any(sight.reported for sight in list(painter.watches[0]._sights.values()))

    painter.acts = {2: spoil, 5: lambda: until(reported)}
    run = train(epochs=8, after_frame_render=painter).run
    warnings = [line["warning"] for line in summary(run) if "warning" in line]
    assert len(warnings) == 1
    assert "clean.1005.exr" in warnings[0]
    assert warnings[0].endswith("the training goes on without this frame")
    assert [line["frames"]["added"] for line in changes(run)] == [names(1006)]  # it holds up no other


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda image: np.full_like(image, np.nan), r"clean\.1005\.exr: 4096 pixels are NaN"),
        (lambda image: image * 5000, r"clean\.1005\.exr: the values of channel R are far from those"),
    ],
)
def test_a_frame_that_does_not_fit_is_named(
    train: Train, shot: Shot, painter: Painter, spoil: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    painter.waits = False

    def act() -> None:
        paint(shot, 1005, effect=spoil)
        until(lambda: painter.watches[0]._sentences or painter.watches[0]._ready)

    painter.acts = {2: act}
    run = train(epochs=8, after_frame_render=painter).run
    warnings = [line["warning"] for line in summary(run) if "warning" in line]
    assert len(warnings) == 1
    assert re.search(sentence, warnings[0])


def test_the_last_frames_cannot_go(train: Train, shot: Shot, painter: Painter) -> None:
    painter.waits = False
    painter.acts = {2: lambda: ([erase(shot, frame) for frame in (1001, 1002, 1003, 1004)], time.sleep(0.6))}
    result = train(epochs=6, after_frame_render=painter)
    assert (result.ended, changes(result.run)) == ("finished", [])


def test_a_manual_batch_keeps_its_frames(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {2: lambda: erase(shot, 1001)}
    run = train(epochs=8, batch_size=4, after_frame_render=painter).run
    assert changes(run) == []
    warnings = [line["warning"] for line in summary(run) if "warning" in line]
    assert warnings == [
        "Batch Size 4 is larger than the data set of 3 pairs; use at most that, or set Batch Size to Auto; the "
        "training goes on with the frames that it has"
    ]


# -- the plan, the validation, the clean plate ----------------------------------------------------------------------


def test_the_plan_stays(train: Train, shot: Shot, painter: Painter) -> None:
    """With Batch Size 2, ten epochs of four pairs are 20 steps; five pairs would be 25."""
    painter.acts = {5: lambda: paint(shot, 1005)}
    result = train(epochs=10, batch_size=2, after_frame_render=painter)
    assert result.step == 20
    assert changes(result.run)[0]["frames"]["pairs"] == 5


def test_a_time_limit_stays(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {3: lambda: paint(shot, 1005)}
    began = time.monotonic()
    result = train(minutes=0.05, after_frame_render=painter)
    assert result.ended == "finished"
    assert len(changes(result.run)) == 1
    assert 2.5 < time.monotonic() - began < 10


def test_held_out_frames_stay_held_out(train: Train, shot: Shot, painter: Painter, tmp_path: Path) -> None:
    """The Ground Truth of the validation lies beside the others; later its plate does too."""
    plate = write_shot(tmp_path / "held out", (1009,)).folder / "plate.1009.exr"
    shutil.copy(plate.with_name("clean.1009.exr"), shot.folder)
    validation = {
        "validation_input": str(plate),
        "validation_ground_truth": str(shot.folder / "clean.1009.exr"),
    }
    painter.acts = {3: lambda: (shutil.copy(plate, shot.folder), paint(shot, 1005))}
    run = train(epochs=8, checkpoint_interval=4, after_frame_render=painter, **validation).run
    assert [line["frames"]["added"] for line in changes(run)] == [names(1005)]
    assert [line["step"] for line in summary(run) if "psnr" in line] == [4, 8]


def test_the_clean_plate_is_made_of_the_frames_that_are_there(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {3: lambda: paint(shot, 1005, effect=lambda image: image * 0 + 1)}
    result = train(epochs=8, clean_plate="On", after_frame_render=painter)
    _, weights = cat.load(result.checkpoint)  # type: ignore[arg-type]
    frames = find_frames([Pair(shot.input, shot.ground_truth)])
    header = cat.read_header(result.checkpoint)  # type: ignore[arg-type]
    encodings = header.input_encoding, header.target_encoding
    fresh = load_dataset(frames, Settings(), encodings=encodings, plate="still")
    assert fresh.clean_plate is not None
    assert torch.equal(weights["clean_plate"].movedim(1, -1), fresh.clean_plate)


def test_a_clean_plate_that_moves_is_made_of_the_frames_that_are_there(
    train: Train, painter: Painter, tmp_path: Path
) -> None:
    """The model that is left has the new painted frame, and the plates that a run of all five begins with."""
    moved = moving_camera.write_shot(tmp_path / "moving", frames=5)
    fifth = tmp_path / "moving/clean.0004.exr"
    away = fifth.rename(tmp_path / "painted later.exr")
    painter.acts = {2: lambda: away.rename(fifth)}
    result = train(moved.input, moved.ground_truth, epochs=5, clean_plate="Moving", after_frame_render=painter)
    assert [line["frames"]["added"] for line in changes(result.run)] == [["clean.0004.exr"]]
    assert result.checkpoint
    header = cat.read_header(result.checkpoint)
    kept = cat.load_painted(result.checkpoint, header)
    assert kept
    encodings = header.input_encoding, header.target_encoding
    fresh = load_dataset(find_frames([moved]), Settings(), encodings=encodings, plate="moving")
    assert fresh.painted
    assert len(kept.frames) == len(fresh.painted.frames) == 5
    data = painter.watches[0]._data
    assert data
    assert data.clean_plate is not None
    assert fresh.clean_plate is not None
    assert torch.equal(data.clean_plate, fresh.clean_plate)


def test_composites_are_those_of_the_frames_that_are_there(
    train: Train, painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Auto makes them of one painted frame, and none once there are two."""
    paths = write_discs(tmp_path, (30, 50, 60))
    for frame in (1002, 1003):
        (tmp_path / f"matte.{frame}.exr").rename(tmp_path / f"later.{frame}.exr")

    def draw(frame: int) -> None:
        (tmp_path / f"later.{frame}.exr").rename(tmp_path / f"matte.{frame}.exr")

    made: list[tuple[int, int]] = []
    real = Composites.renew

    def count(one: Composites, step: int) -> None:
        made.append((step, len(one.data)))
        real(one, step)

    monkeypatch.setattr(Composites, "renew", count)
    knobs = {"ground_truth_channels": "A", "epochs": 9, "after_frame_render": painter}
    painter.acts = {3: lambda: draw(1002)}
    assert len(changes(train(*paths, run_name="auto", **knobs).run)) == 1
    assert made == [(step, 1) for step in range(4)]
    made.clear()
    painter.acts = {3: lambda: draw(1003)}
    train(*paths, run_name="on", composites="On", **knobs)
    assert made == [(step, 2 if step < 4 else 3) for step in range(9)]


def test_validation_reads_its_files_anew(train: Train, shot: Shot, painter: Painter, tmp_path: Path) -> None:
    """A truth that is painted over counts from the next validation on, and is no change of the data set."""
    held = write_shot(tmp_path / "held out", (1009,))
    painter.acts = {3: lambda: paint(shot, 1005), 5: lambda: paint(held, 1009, effect=lambda image: 1 - image)}

    def act(facts: Any) -> None:
        painter.waits = facts["frame"] != 5
        painter(facts)

    validation = {"validation_input": held.input, "validation_ground_truth": held.ground_truth}
    run = train(epochs=8, checkpoint_interval=4, after_frame_render=act, **validation).run
    assert len(changes(run)) == 1
    before, after = (line["psnr"] for line in summary(run) if "psnr" in line)
    assert before > after + 3


# -- the crops ------------------------------------------------------------------------------------------------------


def test_crops_of_a_new_frame_come_more_often_for_a_while(
    train: Train, shot: Shot, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(living_data, "RECENT_STEPS", 6)
    drawn: list[tuple[int, ...]] = []
    real = crops.Sampler.crops

    def count(sampler: crops.Sampler, *arguments: Any) -> Any:
        drawn.append(tuple(part.count for part in sampler._parts))
        return real(sampler, *arguments)

    monkeypatch.setattr(crops.Sampler, "crops", count)
    painter.acts = {5: lambda: paint(shot, 1005)}
    train(epochs=20, after_frame_render=painter)
    assert drawn == [(4,)] * 6 + [(2, 3)] * 6 + [(5,)] * 8


def test_a_share_of_the_crops_is_that_of_the_recent_frames_alone() -> None:
    assert [crops.recent_crops(batch) for batch in (1, 2, 3, 5, 16)] == [0, 1, 1, 2, 6]


def test_a_part_of_a_data_set_has_its_frames_centres_and_weights(shot: Shot) -> None:
    data = load_dataset(find_frames([Pair(shot.input, shot.ground_truth)]), Settings())
    part = data.part([3, 1])
    assert [pair.frame for pair in part.pairs] == [1004, 1002]
    assert torch.equal(part.input_bank, data.input_bank[[3, 1]])
    starts = data.centre_offsets.tolist()
    assert torch.equal(
        part.centres, torch.cat([data.centres[starts[3] : starts[4]], data.centres[starts[1] : starts[2]]])
    )
    assert part.centre_offsets.tolist() == [0, starts[4] - starts[3], starts[4] - starts[3] + starts[2] - starts[1]]


# -- resuming around a change ---------------------------------------------------------------------------------------


def copied(run: Run, folder: Path) -> Path:
    """The run's files as a `kill -9` at this moment leaves them."""
    folder.mkdir()
    for path in run.directory.iterdir():
        if path.suffix != ".lock" and path.is_file():
            shutil.copy(path, folder)
    return folder


def vectors(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(find_run(directory).resume_state).vectors


@pytest.mark.parametrize("killed_after", [3, 6, 9, 14])
def test_a_resume_makes_the_same_steps(
    train: Train, shot: Shot, painter: Painter, tmp_path: Path, killed_after: int
) -> None:
    """Killed before the change that is taken after step 6, right after it, and when some more steps are made."""
    painter.acts = {5: lambda: paint(shot, 1005)}
    directory = tmp_path / "killed"

    def act(facts: Any) -> None:
        painter(facts)
        if facts["frame"] == killed_after:
            copied(find_run(tmp_path / RUNS), directory)

    result = train(epochs=20, checkpoint_interval=2, after_frame_render=act)
    left = find_run(directory)
    if killed_after < 6:
        erase(shot, 1005)
        (shot.folder / "plate.1005.exr").unlink()
        painter.acts = {5: lambda: paint(shot, 1005)}
    resumed = resume(directory, left.name, after_frame_render=painter)
    assert resumed.step == 20
    assert [line["step"] for line in changes(resumed.run)] == [6]
    expected = vectors(result.run.directory)
    for name, vector in vectors(directory).items():
        assert torch.equal(vector, expected[name]), name


def test_a_change_is_in_the_resume_state_before_the_next_step(train: Train, shot: Shot, painter: Painter) -> None:
    painter.acts = {5: lambda: paint(shot, 1005)}
    found: list[tuple[int, int]] = []

    def act(facts: Any) -> None:
        if facts["frame"] == 7:
            state = checkpoint.load(find_run(shot.folder.parent / RUNS).resume_state)
            found.append((state.position.step, len(state.fingerprints)))
        painter(facts)

    train(epochs=10, checkpoint_interval=100, after_frame_render=act)
    assert found == [(6, 5)]


def test_a_frame_that_went_while_nobody_trained_is_a_change(train: Train, shot: Shot, tmp_path: Path) -> None:
    train(epochs=4)
    erase(shot, 1003)
    resumed = resume(tmp_path / RUNS, epochs=8)
    gone = {"added": [], "changed": [], "removed": names(1003), "pairs": 3}
    assert changes(resumed.run) == [{"step": 4, "frames": gone}]
    assert [frame["frame"] for frame in read_provenance(resumed.run)["frames"]] == [1001, 1002, 1004]


def test_a_frame_that_came_while_nobody_trained_is_taken_in(
    train: Train, shot: Shot, painter: Painter, tmp_path: Path
) -> None:
    train(epochs=4)
    paint(shot, 1005)
    painter.waits = False
    painter.acts = {5: lambda: until(lambda: painter.watches[1]._ready or len(painter.watches[1]._data) == 5)}
    resumed = resume(tmp_path / RUNS, epochs=8, after_frame_render=painter)
    assert [line["frames"]["added"] for line in changes(resumed.run)] == [names(1005)]


def test_the_frames_follow_a_rename(train: Train, tmp_path: Path, painter: Painter) -> None:
    """Frames that a host handed over lie beside the run's files, and are renamed with them."""
    from copycat.runs import Request, send_request

    directory = tmp_path / "host"
    directory.mkdir()

    def hand_over(name: str, frame: int) -> None:
        for clip, image in (("input", picture(frame)), ("groundTruth", graded(picture(frame)))):
            write_frame(directory / f"{name}_{clip}.{frame:04d}.exr", image, ("R", "G", "B"))

    for frame in (1, 2, 3):
        hand_over("first", frame)
    patterns = [str(directory / f"first_{clip}.####.exr") for clip in ("input", "groundTruth")]

    def rename() -> None:
        send_request(Run(directory, "first"), Request("rename", "second"))

    def act(facts: Any) -> None:
        if facts["frame"] == 2:
            rename()
        painter(facts)

    painter.acts = {6: lambda: hand_over("second", 4)}
    result = train(*patterns, data_directory=str(directory), run_name="first", epochs=12, after_frame_render=act)
    assert result.run.name == "second"
    assert [line["frames"] for line in changes(result.run)] == [
        {"added": ["second_groundTruth.0004.exr"], "changed": [], "removed": [], "pairs": 4}
    ]


# -- banks ----------------------------------------------------------------------------------------------------------


def test_a_frame_of_another_depth_reads_all_frames_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for frame in (1, 2):
        for name in ("plate", "clean"):
            write_frame(tmp_path / f"{name}.{frame}.png", picture(frame), ("R", "G", "B"), dtype="uint8")
    frames = find_frames([Pair(str(tmp_path / "plate.#.png"), str(tmp_path / "clean.#.png"))])
    before = load_dataset(frames, Settings())
    for name in ("plate", "clean"):
        write_frame(tmp_path / f"{name}.2.png", picture(2), ("R", "G", "B"), dtype="uint16")
    encodings = before.input_encoding, before.target_encoding
    after = load_dataset(frames, Settings(), encodings=encodings, before=before, kept={0: 0})
    fresh = load_dataset(frames, Settings(), encodings=encodings)
    assert after.input_bank.dtype == fresh.input_bank.dtype != before.input_bank.dtype
    assert torch.equal(after.input_bank, fresh.input_bank)
    assert torch.equal(after.centres, fresh.centres)
    assert after.data_hash == fresh.data_hash
    assert isinstance(after.banks, banks.FrameBanks)
    assert after.banks.fingerprints == fresh.banks.fingerprints  # type: ignore[union-attr]


def test_living_data_is_described_in_one_sentence() -> None:
    difference = living_data.Difference(("a.exr", "b.exr"), (), ("c.exr",), 1)
    assert difference.sentence == "a.exr and 1 more is new, c.exr is gone: training on 1 pair"
