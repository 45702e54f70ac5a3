"""Frame ranges, padding patterns and the frames on disk."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from copycat.errors import CopycatError
from copycat.sequence import ImageSequence, SequenceError, format_frames, missing_frames, parse_frames
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


@pytest.mark.parametrize("pattern", ["p.%04d.exr", "p.####.exr", "p.%d.exr", "p.$F6.exr"])
@pytest.mark.parametrize(
    "names", [("p.998.exr", "p.999.exr", "p.1000.exr"), ("p.0998.exr", "p.00999.exr", "p.1000.exr", "p.-0005.exr")]
)
def test_a_number_of_any_width_is_found(tmp_path: Path, pattern: str, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    sequence = ImageSequence.parse(tmp_path / pattern)
    assert sequence.frames() == sorted(int(name.split(".")[1]) for name in names)
    assert sorted(path.name for path in sequence.files()) == sorted(names)
    assert sequence.left_out == ""


def test_a_sequence_beside_one_of_another_padding_is_not_mixed_with_it(tmp_path: Path) -> None:
    touch(tmp_path, "p.1.exr", "p.2.exr", "p.3.exr", "p.0001.exr", "p.0002.exr", "p.10000.exr")
    padded, bare = (ImageSequence.parse(tmp_path / name) for name in ("p.%04d.exr", "p.%d.exr"))
    assert padded.frames() == [1, 2, 10000]
    assert [path.name for path in padded.files()] == ["p.0001.exr", "p.0002.exr", "p.10000.exr"]
    assert re.search(r"p\.%04d\.exr: left out p\.1\.exr and 2 more, whose frame numbers", padded.left_out)
    assert bare.frames() == [1, 2, 3, 10000]
    assert "left out p.0001.exr and 1 more" in bare.left_out
    (tmp_path / "p.10000.exr").unlink()
    with pytest.raises(SequenceError, match=r"holds p\.####\.exr \(1-2\), p\.#\.exr \(1-3\)"):
        ImageSequence.parse(tmp_path / "p.%03d.exr").frames()


def test_an_output_has_the_names_of_its_pattern_whatever_lies_there(tmp_path: Path) -> None:
    touch(tmp_path, "p.998.exr", "q1.exr")
    assert ImageSequence.parse(tmp_path / "p.%04d.exr").path(998).name == "p.0998.exr"
    assert ImageSequence.parse(tmp_path / "q@2x.1001.exr").path(1001).name == "q@2x.1001.exr"
    assert ImageSequence.parse(tmp_path / "100%done.%d.exr").path(7).name == "100%done.7.exr"


@pytest.mark.parametrize(
    ("name", "frame", "others"),
    [
        ("plate@2x.1001.exr", 1001, ()),
        ("shot#12.exr", 1, ()),
        ("100%done.exr", 1, ()),
        ("take #.exr", 1, ()),
        ("a.%04d.exr", 1, ()),
        ("cost$F4.exr", 1, ()),
        ("plate@2x.1001.exr", 1001, ("plate12x.1001.exr",)),
        ("50%.[1001]{a}*?.exr", 1, ()),
        ("\udcff.1001.exr", 1001, ()),
        ("new\nline.0001.exr", 1, ()),
    ],
)
def test_a_file_that_exists_is_no_pattern(tmp_path: Path, name: str, frame: int, others: tuple[str, ...]) -> None:
    touch(tmp_path, name, *others)
    sequence = ImageSequence.parse(tmp_path / name)
    assert sequence.single
    assert sequence.frames() == [frame]
    assert sequence.files() == [tmp_path / name]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("plate@2x.%04d.exr", ("plate@2x.1001.exr", "plate@2x.1002.exr")),
        ("shot#12_####.exr", ("shot#12_0001.exr",)),
        ("img%dL.png", ("img1L.png", "img2L.png")),
        ("a#b.exr", ("a1b.exr", "a2b.exr")),
        ("\udcff.%d.exr", ("\udcff.1.exr", "\udcff.2.exr")),
        ("p.####.exr", ("p.####.exr", "p.0001.exr")),
    ],
)
def test_the_padding_is_where_the_files_have_their_numbers(
    tmp_path: Path, pattern: str, names: tuple[str, ...]
) -> None:
    touch(tmp_path, *names)
    sequence = ImageSequence.parse(tmp_path / pattern)
    assert not sequence.single
    assert [path.name for path in sequence.files()] == [name for name in names if name != pattern]


def test_what_lies_in_the_folder_is_said_where_nothing_matches(tmp_path: Path) -> None:
    for pattern in ("plate.%04d.exr", "still.exr"):
        with pytest.raises(SequenceError, match=r"no file matches .*holds no image$"):
            ImageSequence.parse(tmp_path / pattern).frames()
    touch(tmp_path, "plate_1001.exr", "plate_1002.exr", "plate_1004.exr", "still.png", "notes.txt", "b\udcff.7.tif")
    with pytest.raises(
        SequenceError, match=r"holds b\\udcff\.#\.tif \(7\), plate_####\.exr \(1001-1002,1004\), still\.png$"
    ):
        ImageSequence.parse(tmp_path / "plate.%04d.exr").frames()
    touch(tmp_path, *(f"{letter}.exr" for letter in "cdefgh"))
    with pytest.raises(SequenceError, match=r"holds .*, c\.exr, d\.exr, e\.exr and 5 more$"):
        ImageSequence.parse(tmp_path / "plate.exr").frames()
    with pytest.raises(SequenceError, match=r"the directory .*nowhere does not exist"):
        ImageSequence.parse(tmp_path / "nowhere" / "p.%04d.exr").frames()


@pytest.mark.parametrize(
    ("frames", "missing"),
    [([1, 2, 4], [3]), ([1001, 1006, 1016], [1011]), ([5], []), ([], []), ([-2, 2, 0, 0], []), ([3, 1, 7], [5])],
)
def test_gaps_are_found_in_the_step_of_the_sequence(frames: list[int], missing: list[int]) -> None:
    assert missing_frames(frames) == missing


@pytest.mark.parametrize("text", ["", "a\0b.%04d.exr", "a.%0999999999d.exr", "~", "/"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SequenceError):
        ImageSequence.parse(text)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/p.exr", "a" * 300 + ".%04d.exr", "a" * 5000])
def test_names_that_cannot_be_looked_up_match_nothing(name: str) -> None:
    with pytest.raises(SequenceError, match="no file matches"):
        ImageSequence.parse(name).frames()


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


@pytest.mark.parametrize(
    "names",
    [
        ("f.8.png", "f.9.png", "f.10.png", "f.100.png"),
        ("img1.png", "img2.png", "img10.png"),
        ("g.0998.PNG", "g.999.PNG", "g.1000.PNG"),
        ("7.tif", "8.tif"),
    ],
)
def test_a_directory_of_frames_of_any_form(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names, "shot_v1.exr", "shot_v2.exr", "still.exr", "clip2.exr")
    sequence = ImageSequence.parse(tmp_path)
    assert sorted(path.name for path in sequence.files()) == sorted(names)


def test_a_directory_with_two_sequences_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="holds none"):
        ImageSequence.parse(tmp_path)
    touch(tmp_path, "a.0001.exr", "b.0001.exr")
    with pytest.raises(SequenceError, match=r"holds a\.####\.exr \(1\), b\.####\.exr \(1\)"):
        ImageSequence.parse(tmp_path)


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(SequenceError, match="no image sequence"):
        ImageSequence.parse("")
