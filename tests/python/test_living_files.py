"""A data set that lives: ranges of frames to come, movies, and file systems whose sizes and times say nothing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FRAMES, Shot, Train, graded, picture, summary
from copycat.checks.dataset import inspect_dataset
from copycat.errors import CopycatError
from copycat.runs import Run, read_provenance
from copycat.sequence import write_frame
from copycat.sequence.pairs import Pair
from copycat.settings.tables import Settings
from copycat.training import file_stamps, frame_watch
from copycat.training.file_stamps import PIECE_BYTES, FileStamps
from copycat.training.start import resume
from painting import Painter, changes, erase, names, paint, until

SIDE = 64


def warnings_of(run: Run) -> list[str]:
    header = next(line["run"] for line in summary(run) if "run" in line)
    return [*header["warnings"], *(line["warning"] for line in summary(run) if "warning" in line)]


# -- ranges of frames to come -----------------------------------------------------------------------------------------


def test_a_range_may_name_frames_that_are_painted_later(train: Train, shot: Shot, painter: Painter) -> None:
    paint(shot, 1005, 1006)
    erase(shot, 1005)
    erase(shot, 1006)
    painter.acts = {3: lambda: paint(shot, 1005, 1007)}
    run = train(training_frames="1001-1006", epochs=8, verify_inputs=True, after_frame_render=painter).run
    assert [line["frames"]["added"] for line in changes(run)] == [names(1005)]
    (sentence,) = [one for one in warnings_of(run) if "Ground Truth" in one]
    assert sentence.endswith(
        "clean.1005.exr: frames 1005-1006 of the Ground Truth are missing; each is taken in when it is there"
    )


@pytest.mark.parametrize(
    ("frames", "watches", "sentence"),
    [
        ("1001-10o4", True, "'1001-10o4' is no list of frames"),
        ("1001-1004,10011", True, "plate.10011.exr: frame 10011 of the Input is missing"),
        ("1005-1006", True, "clean.1005.exr: frames 1005-1006 of the Ground Truth are missing"),
        ("1001-1005", False, "clean.1005.exr: frame 1005 of the Ground Truth is missing"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(
    train: Train, shot: Shot, frames: str, watches: bool, sentence: str
) -> None:
    paint(shot, 1005, 1006)
    erase(shot, 1005)
    erase(shot, 1006)
    with pytest.raises(CopycatError, match=re.escape(sentence) + r"[^;]*$|no list"):
        train(training_frames=frames, watch_training_frames=watches)
    settings = Settings(training_frames=frames, watch_training_frames=watches)
    errors = inspect_dataset([Pair(shot.input, shot.ground_truth)], settings, pixels=False).errors
    assert any(sentence in one.sentence for one in errors)


# -- movies -----------------------------------------------------------------------------------------------------------


def plates(count: int) -> list[np.ndarray]:
    return [(255 * picture(frame, (SIDE, SIDE))).astype(np.uint8) for frame in range(count)]


def truths(count: int, **others: np.ndarray) -> list[np.ndarray]:
    found = [(255 * graded(plate / np.float32(255))).astype(np.uint8) for plate in plates(count)]
    for frame, pixels in others.items():
        found[int(frame[1:])] = pixels
    return found


def export(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Writes a movie, frames from 1, in place of the one that is there, as an editor does."""
    av = pytest.importorskip("av")
    fresh = path.with_name(f".{path.name}")
    with av.open(str(fresh), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "bgr0"
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    fresh.replace(path)


@pytest.fixture
def movies(tmp_path: Path) -> tuple[Path, Path]:
    plate, truth = tmp_path / "plate.mov", tmp_path / "truth.mov"
    export(plate, plates(6))
    export(truth, truths(4))
    return plate, truth


def test_movies_are_taken_in_frame_by_frame(train: Train, movies: tuple[Path, Path], painter: Painter) -> None:
    """A truth that is exported anew: one frame differs, two are more, one is gone; then the plate with one darker."""
    plate, truth = movies
    dark = np.zeros((SIDE, SIDE, 3), np.uint8)
    painter.acts = {
        3: lambda: export(truth, truths(4, f1=dark)),
        6: lambda: export(truth, truths(6, f1=dark)),
        9: lambda: export(truth, truths(5, f1=dark)),
        12: lambda: export(plate, [one // 2 if index == 2 else one for index, one in enumerate(plates(6))]),
    }
    run = train(str(plate), str(truth), epochs=15, after_frame_render=painter).run

    def of(*frames: int) -> list[str]:
        return [f"truth.mov/{frame}" for frame in frames]

    assert [(line["step"], line["frames"]) for line in changes(run)] == [
        (4, {"added": [], "changed": of(2), "removed": [], "pairs": 4}),
        (7, {"added": of(5, 6), "changed": [], "removed": [], "pairs": 6}),
        (10, {"added": [], "changed": [], "removed": of(6), "pairs": 5}),
        (13, {"added": [], "changed": of(3), "removed": [], "pairs": 5}),
    ]


def test_a_movie_is_the_plate_of_painted_images(train: Train, tmp_path: Path, painter: Painter) -> None:
    plate = tmp_path / "plate.mov"
    export(plate, plates(6))

    def draw(*frames: int) -> None:
        for frame in frames:
            write_frame(tmp_path / f"clean.{frame:04d}.png", truths(6)[frame - 1] / np.float32(255), ("R", "G", "B"))

    draw(1, 3, 5)
    painter.acts = {3: lambda: draw(6)}
    run = train(str(plate), str(tmp_path / "clean.%04d.png"), epochs=6, after_frame_render=painter).run
    assert [line["frames"]["added"] for line in changes(run)] == [["clean.0006.png"]]


def test_a_movie_that_is_being_written_is_waited_for_and_then_named(
    train: Train, movies: tuple[Path, Path], painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate, truth = movies
    monkeypatch.setattr(frame_watch, "_PATIENCE_SECONDS", 0.2)
    painter.waits = False

    def spoil() -> None:
        truth.write_bytes(truth.read_bytes()[:100])
        until(lambda: painter.watches[0]._lost.reported)

    def complete() -> None:
        export(truth, truths(5))
        until(lambda: painter.watches[0]._ready)

    painter.acts = {2: spoil, 5: complete}
    run = train(str(plate), str(truth), epochs=9, after_frame_render=painter).run
    assert [line["frames"]["added"] for line in changes(run)] == [["truth.mov/5"]]
    (sentence,) = [line["warning"] for line in summary(run) if "warning" in line]
    assert re.search(r"truth\.mov cannot be read: .*; the training goes on with the frames that it has$", sentence)


def test_a_movie_that_became_shorter_while_nobody_trained_is_a_change(
    train: Train, movies: tuple[Path, Path], tmp_path: Path
) -> None:
    plate, truth = movies
    train(str(plate), str(truth), epochs=4)
    export(truth, truths(3))
    run = resume(tmp_path / "runs", epochs=8).run
    assert [line["frames"]["removed"] for line in changes(run)] == [["truth.mov/4"]]
    assert [frame["frame"] for frame in read_provenance(run)["frames"]] == [1, 2, 3]


# -- file systems whose times say nothing -----------------------------------------------------------------------------


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which every file has the same times."""
    monkeypatch.setattr(file_stamps, "_status", lambda found: (found.st_size, 0, 0))


def test_a_frame_of_the_same_size_and_times_is_taken_in(
    train: Train, shot: Shot, painter: Painter, timeless: None
) -> None:
    """Also where it is written slowly into a file that has its full size from the start."""

    def draw(frame: int, strength: float) -> bytes:
        path = shot.folder / f"clean.{frame}.tif"
        write_frame(path, picture(frame) * np.float32(strength), ("R", "G", "B"), dtype="uint8", compression="none")
        return path.read_bytes()

    for frame in FRAMES:
        draw(frame, 0.5)
    path = shot.folder / "clean.1002.tif"
    before = path.read_bytes()

    def write_slowly() -> None:
        compared = painter.watches[0]._files._contents
        until(lambda: path in compared and compared[path].pieces)
        after = draw(1002, 0.8)
        path.write_bytes(before)
        assert len(after) == len(before)
        assert after != before
        for end in (4000, 8000, len(after)):
            time.sleep(0.1)
            path.write_bytes(after[:end] + before[end:])

    def arrived() -> bool:
        watch = painter.watches[0]
        data = watch._ready[0].data if watch._ready else watch._data
        assert data is not None
        return bool(np.abs(data.target_bank[1].numpy() / 255 - picture(1002) * 0.8).max() < 1 / 255)

    painter.waits = False
    painter.acts = {3: write_slowly, 5: lambda: until(arrived)}
    run = train(shot.input, str(shot.folder / "clean.%04d.tif"), epochs=8, after_frame_render=painter).run
    assert {name for line in changes(run) for name in line["frames"]["changed"]} == {"clean.1002.tif"}


def test_times_that_change_by_themselves_change_nothing(train: Train, shot: Shot, painter: Painter) -> None:
    painter.waits = False

    def touch() -> None:
        for _ in range(20):
            for path in shot.folder.iterdir():
                os.utime(path)
            time.sleep(0.03)

    painter.acts = {2: touch, 4: lambda: time.sleep(0.3)}
    run = train(epochs=6, after_frame_render=painter).run
    assert changes(run) == []
    assert not any("warning" in line for line in summary(run))


def test_content_is_compared_in_turn_and_piece_by_piece(
    tmp_path: Path, timeless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamps, "_BYTES_PER_LOOK", 2 * PIECE_BYTES)
    large, small = tmp_path / "a", tmp_path / "b"
    large.write_bytes(bytes(5 * PIECE_BYTES))
    small.write_bytes(b"first")
    stamps = FileStamps()
    both = (large, small)
    read: list[int] = []

    def look(**options: Any) -> None:
        stamps.compare(both, **options)
        read.append(stamps._contents[large].offset // PIECE_BYTES)

    look()
    look()
    look()
    assert read == [2, 4, 0]
    before = {path: stamps.stamp(path) for path in both}
    small.write_bytes(b"other")
    look(urgent=[small])
    assert (stamps.stamp(large) == before[large], stamps.stamp(small) == before[small]) == (True, False)
    with large.open("r+b") as stream:
        stream.seek(4 * PIECE_BYTES + 7)
        stream.write(b"x")
    for _ in range(4):
        look()
    assert stamps.stamp(large) != before[large]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stamps = FileStamps()
    stamps.compare([pipe, tmp_path / "missing"])
    assert stamps.stamp(pipe) is not None
    assert stamps.stamp(tmp_path / "missing") is None
