"""Frame ranges, padding patterns and the frames on disk."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from copycat.errors import CopycatError
from copycat.sequence import ImageSequence, SequenceError, format_frames, parse_frames
from hypothesis import given, settings
from hypothesis import strategies as st

FRAMES = st.integers(-99999, 999999)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001-1005", [1001, 1002, 1003, 1004, 1005]),
        ("1001-1011x5", [1001, 1006, 1011]),
        ("1001,1012,1024", [1001, 1012, 1024]),
        ("5,1-3,2", [1, 2, 3, 5]),
        ("-3--1", [-3, -2, -1]),
        ("-1-1", [-1, 0, 1]),
        ("7", [7]),
        (" 1 - 3 , 9 ", [1, 2, 3, 9]),
        ("3-1", [1, 2, 3]),
    ],
)
def test_frame_ranges_are_read(text: str, frames: list[int]) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize(
    "text", ["", "abc", "1-", "1..3", "1-10x0", "1.5", "1-3x0.5", "1-2000000000", "#", "1001 1002", "1-3 5"]
)
def test_a_bad_range_is_named(text: str) -> None:
    with pytest.raises(SequenceError, match="is no list of frames") as error:
        parse_frames(text)
    assert repr(text) in str(error.value)
    assert isinstance(error.value, CopycatError)


@settings(deadline=None)
@given(st.text("0123456789-,x: .y", max_size=12).filter(lambda text: not re.search(r"[0-9]{5}", text.replace(" ", ""))))
def test_any_text_is_a_range_or_a_clear_error(text: str) -> None:
    frames = []
    with contextlib.suppress(SequenceError):
        frames = parse_frames(text)
        assert frames
    assert frames == sorted(set(frames))


@settings(deadline=None)
@given(st.sets(FRAMES, min_size=1, max_size=60))
def test_formatted_frames_read_back(frames: set[int]) -> None:
    assert parse_frames(format_frames(list(frames))) == sorted(frames)


@settings(deadline=None)
@given(st.integers(-1000, 1000), st.integers(3, 300), st.integers(1, 9))
def test_an_even_run_is_formatted_as_one_range(start: int, count: int, step: int) -> None:
    frames = [start + i * step for i in range(count)]
    assert "," not in format_frames(frames)
    assert parse_frames(format_frames(frames)) == frames


def test_no_frames_are_formatted_as_nothing() -> None:
    assert format_frames([]) == ""


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("plate.%04d.exr", "plate.0007.exr"),
        ("plate.####.exr", "plate.0007.exr"),
        ("plate.@@@@.exr", "plate.0007.exr"),
        ("plate.$F4.exr", "plate.0007.exr"),
        ("plate.$F.exr", "plate.7.exr"),
        ("plate.%d.exr", "plate.7.exr"),
        ("plate.#.exr", "plate.7.exr"),
        ("plate_######.tif", "plate_000007.tif"),
        ("v2.50%/sh#10_%03d.png", "sh#10_007.png"),
        ("%04d.exr", "0007.exr"),
        ("a(b)[c]+.%04d.exr", "a(b)[c]+.0007.exr"),
    ],
)
def test_every_padding_names_its_files(tmp_path: Path, pattern: str, name: str) -> None:
    sequence = ImageSequence.parse(tmp_path / pattern)
    path = sequence.path(7)
    assert path.name == name
    assert str(sequence) == str(tmp_path / pattern)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert sequence.frames() == [7]
    assert not sequence.single


@settings(max_examples=40, deadline=None)
@given(
    st.sets(FRAMES, min_size=1, max_size=20),
    st.sampled_from(["p.%04d.exr", "p.#.exr", "p.@@@@@@@@.exr", "p.%d.exr", "p.$F5.x.exr"]),
)
def test_files_that_path_names_are_found(tmp_path_factory: pytest.TempPathFactory, frames: set[int], name: str) -> None:
    folder = tmp_path_factory.mktemp("frames")
    sequence = ImageSequence.parse(folder / name)
    for frame in frames:
        sequence.path(frame).touch()
    touch(folder, "p.exr", "q.0001.exr", "p.0001.png", ".p.0001.exr", "p.a.exr")
    assert sequence.frames() == sorted(frames)


def test_other_padding_is_another_sequence(tmp_path: Path) -> None:
    touch(tmp_path, "p.1.exr", "p.0002.exr", "p.10000.exr", "p.00003.exr")
    assert ImageSequence.parse(tmp_path / "p.%04d.exr").frames() == [2, 10000]
    assert ImageSequence.parse(tmp_path / "p.%d.exr").frames() == [1, 10000]


def test_a_pattern_without_files_is_named(tmp_path: Path) -> None:
    for pattern in (tmp_path / "p.%04d.exr", tmp_path / "nowhere" / "p.%04d.exr", tmp_path / "still.exr"):
        with pytest.raises(SequenceError, match="no file matches") as error:
            ImageSequence.parse(pattern).frames()
        assert str(pattern) in str(error.value)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("plate.1001.exr", 1001),
        ("plate_0003.png", 3),
        ("plate-12.png", 12),
        ("plate.-005.exr", -5),
        ("0042.exr", 42),
        ("plate1001.exr", 1001),
        ("shot_v2.exr", 1),
        ("still.exr", 1),
        ("clip2.exr", 1),
    ],
)
def test_a_single_file_is_one_frame(tmp_path: Path, name: str, frame: int) -> None:
    touch(tmp_path, name)
    sequence = ImageSequence.parse(tmp_path / name)
    assert sequence.single
    assert sequence.frames() == [frame]
    assert sequence.path(frame) == sequence.path(frame + 1) == tmp_path / name


def test_a_directory_holds_one_sequence(tmp_path: Path) -> None:
    touch(tmp_path, "plate.0998.exr", "plate.1001.exr", "notes_2.txt", ".plate.1002.exr", "still.exr")
    sequence = ImageSequence.parse(str(tmp_path))
    assert sequence.frames() == [998, 1001]
    assert sequence.path(12) == tmp_path / "plate.0012.exr"
    assert str(sequence) == str(tmp_path)


def test_a_directory_of_unpadded_frames(tmp_path: Path) -> None:
    touch(tmp_path, *(f"f.{i}.png" for i in (8, 9, 10, 100)))
    assert ImageSequence.parse(tmp_path).frames() == [8, 9, 10, 100]


def test_a_directory_with_two_sequences_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="holds none"):
        ImageSequence.parse(tmp_path)
    touch(tmp_path, "a.0001.exr", "b.0001.exr")
    with pytest.raises(SequenceError, match=r"holds a\.#\.exr, b\.#\.exr"):
        ImageSequence.parse(tmp_path)


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(SequenceError, match="no image sequence"):
        ImageSequence.parse("")
