"""Which files of Input, Ground Truth and mask are trained on together, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from copycat.sequence import SequenceError
from copycat.sequence.pairs import DatasetError, Match, Pair, find_frames, left_out, match_frames


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).touch()


def files(match: Match) -> list[tuple[str, ...]]:
    return [tuple(str(p) for p in (pair.input, pair.ground_truth, pair.mask) if p) for pair in match.pairs]


def said(match: Match) -> list[tuple[str, str]]:
    return [(problem.severity, problem.sentence) for problem in match.problems]


@pytest.mark.parametrize(
    ("there", "pair", "matched"),
    [
        # Two single files are a pair, whatever their numbers.
        ("in.1.exr out.7.exr", "in.1.exr out.7.exr", "in.1.exr+out.7.exr"),
        ("in.exr out.png", "in.exr out.png", "in.exr+out.png"),
        # A single file with a number is that frame of a sequence.
        ("in.1.exr in.2.exr out.2.exr", "in.#.exr out.2.exr", "in.2.exr+out.2.exr"),
        ("in.1.exr out.1.exr out.2.exr", "in.1.exr out.#.exr", "in.1.exr+out.1.exr"),
        ("in.0002.exr out.2.exr", "in.%04d.exr out.%d.exr", "in.0002.exr+out.2.exr"),
        # Numbers of any width.
        (
            "in.999.exr in.1000.exr out.0999.exr out.1000.exr",
            "in.%04d.exr out.%04d.exr",
            "in.999.exr+out.0999.exr in.1000.exr+out.1000.exr",
        ),
        # A single mask is every frame's, a sequence of masks goes by number.
        (
            "in.1.exr in.2.exr out.1.exr out.2.exr m.exr",
            "in.#.exr out.#.exr m.exr",
            "in.1.exr+out.1.exr+m.exr in.2.exr+out.2.exr+m.exr",
        ),
        ("in.1.exr out.1.exr m.0001.exr", "in.#.exr out.#.exr m.0001.exr", "in.1.exr+out.1.exr+m.0001.exr"),
        ("in.1.exr out.1.exr m.1009.exr", "in.#.exr out.#.exr m.1009.exr", "in.1.exr+out.1.exr+m.1009.exr"),
        ("in.exr out.exr m.exr", "in.exr out.exr m.exr", "in.exr+out.exr+m.exr"),
        ("in.7.exr out.9.exr m.7.exr", "in.7.exr out.9.exr m.#.exr", "in.7.exr+out.9.exr+m.7.exr"),
    ],
)
def test_partners(folder: Path, there: str, pair: str, matched: str) -> None:
    touch(*there.split())
    match = match_frames(Pair(*pair.split()))
    assert files(match) == [tuple(one.split("+")) for one in matched.split()]
    assert said(match) == []
    assert find_frames([Pair(*pair.split())]) == tuple(match.pairs)


@pytest.mark.parametrize(
    ("there", "pair", "frames", "sentence"),
    [
        ("in.1.exr out.2.exr", "in.#.exr out.#.exr", "all", "in.#.exr (1) and out.#.exr (2) have no frame in common"),
        ("in.1.exr in.3.exr out.2.exr", "in.#.exr out.2.exr", "", "in.#.exr (1,3) and out.2.exr (2) have no frame in"),
        (
            "in.1.exr out.exr",
            "in.#.exr out.exr",
            "all",
            "out.exr has no frame number that says which frame of in.#.exr",
        ),
        (
            "in.exr out.1.exr",
            "in.exr out.#.exr",
            "all",
            "in.exr has no frame number that says which frame of out.#.exr",
        ),
        (
            "in.1.exr in.2.exr out.1.exr",
            "in.#.exr out.#.exr",
            "1-2",
            "out.2.exr: frame 2 of the Ground Truth is missing",
        ),
        ("in.1.exr out.1.exr", "in.#.exr out.#.exr", "1,3-4", "in.3.exr: frames 3-4 of the Input are missing"),
        ("in.1.exr out.1.exr m.2.exr", "in.#.exr out.#.exr m.#.exr", "1", "m.1.exr: frame 1 of the Mask is missing"),
        ("in.1.exr out.1.exr m.2.exr", "in.#.exr out.#.exr m.#.exr", "all", "m.#.exr: frame 1 is missing, so that no"),
        ("in.7.exr out.9.exr m.9.exr", "in.7.exr out.9.exr m.#.exr", "all", "m.7.exr: frame 7 of the Mask is missing"),
        ("in.1.exr", "in.#.exr out.#.exr", "all", "no file matches out.#.exr; . holds in.#.exr (1)"),
        ("in.1.exr out.1.exr", "in.#.exr out.#.exr m.#.exr", "all", "no file matches m.#.exr"),
    ],
)
def test_no_partner_is_an_error_of_find_frames_and_a_problem_of_match_frames(
    folder: Path, there: str, pair: str, frames: str, sentence: str
) -> None:
    touch(*there.split())
    patterns = Pair(*pair.split())
    with pytest.raises(DatasetError) as error:
        find_frames([patterns], frames)
    assert str(error.value).startswith(sentence)
    asked = (
        None
        if frames in ("", "all")
        else [int(n) for n in frames.replace("3-4", "3,4").replace("1-2", "1,2").split(",")]
    )
    problems = match_frames(patterns, asked).problems
    assert problems[0].severity == "error"
    assert problems[0].sentence == str(error.value)
    assert problems[0].file in pair.split()


def test_gaps_are_warnings(folder: Path) -> None:
    """Each sixth frame is painted: that is no gap. All but one are: that is one."""
    touch(*(f"in.{frame:02}.exr" for frame in range(1, 20) if frame != 9))
    touch("few.01.exr", "few.07.exr", "few.10.exr", "few.19.exr")
    touch(*(f"out.{frame:02}.exr" for frame in range(1, 19) if frame not in (4, 9)))
    few, out = Pair("in.##.exr", "few.##.exr"), Pair("in.##.exr", "out.##.exr")
    hole = "in.##.exr: frame 9 of the Input is missing"
    assert left_out([few]) == (hole,)
    assert left_out([few], "1-7x6") == ()
    assert left_out([out]) == (hole, "out.##.exr: frame 4 of the Ground Truth is missing")
    assert len(find_frames([out])) == 16


def test_frames_that_are_left_out_are_warnings(folder: Path) -> None:
    touch("in.1.exr", "in.2.exr", "in.3.exr", "out.1.exr", "out.2.exr", "out.4.exr", "out.5.exr", "m.1.exr", "m.4.exr")
    match = match_frames(Pair("in.#.exr", "out.#.exr", "m.#.exr"))
    assert files(match) == [("in.1.exr", "out.1.exr", "m.1.exr")]
    assert said(match) == [
        ("warning", "out.#.exr: frames 4-5 are without an Input in in.#.exr and left out"),
        ("warning", "m.#.exr: frame 2 is missing, so these pairs are left out"),
    ]
    touch("in.0001.exr")
    assert "left out in.0001.exr, whose" in said(match_frames(Pair("in.#.exr", "out.#.exr")))[0][1]


def test_every_missing_frame_is_a_problem_and_the_others_are_still_paired(folder: Path) -> None:
    touch("in.1.exr", "in.2.exr", "out.1.exr", "out.3.exr")
    match = match_frames(Pair("in.#.exr", "out.#.exr"), [1, 2, 3])
    assert files(match) == [("in.1.exr", "out.1.exr")]
    assert [sentence for _, sentence in said(match)] == [
        "in.3.exr: frame 3 of the Input is missing",
        "out.2.exr: frame 2 of the Ground Truth is missing",
    ]


def test_what_is_no_pair_is_refused(folder: Path) -> None:
    touch("in.1.exr")
    with pytest.raises(DatasetError, match="no Input and Ground Truth"):
        find_frames([])
    with pytest.raises(DatasetError, match="the Ground Truth is not given"):
        find_frames([Pair("in.#.exr", "")])
    with pytest.raises(SequenceError, match="no list of frames"):
        find_frames([Pair("in.#.exr", "out.#.exr")], "1-")
