"""Steadied mattes: what they are averaged with, and that a render of any part of a shot gives the same frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome, random_model
from copycat.inference.model import InferenceError, Model
from copycat.inference.render import RenderError, infer
from copycat.inference.steady import REACH, Look, look_at, neighbourhood, steadied, to_render
from copycat.ops import Encoding
from copycat.sequence import read_frame, write_frame
from hypothesis import given
from hypothesis import strategies as st

RGB = ("R", "G", "B")


@pytest.fixture
def model(tmp_path: Path, tiny: None) -> Model:
    return with_mattes(Model(random_model(tmp_path / "m.cat"), torch.device("cpu")), (False, True, False))


def with_mattes(model: Model, mattes: tuple[bool, ...]) -> Model:
    """The model, whose header says which output channels are mattes."""
    model.header = replace(model.header, target_encoding=replace(model.header.target_encoding, matte=mattes))
    return model


@pytest.fixture
def frames(tmp_path: Path) -> str:
    """Frames 1 to 9, without 5: the left half stands still under grain, the right half is another in each frame."""
    random = np.random.default_rng(1)
    still = random.random((48, 24, 3))
    for frame in (1, 2, 3, 4, 6, 7, 8, 9):
        pixels = np.concatenate([still, random.random((48, 24, 3)) + frame % 3], axis=1)
        pixels = (pixels + random.normal(0, 0.004, pixels.shape)).astype(np.float32)
        write_frame(tmp_path / f"plate.{frame:04d}.exr", pixels, RGB)
    return str(tmp_path / "plate.%04d.exr")


def rendered(paths: list[Path]) -> dict[int, np.ndarray]:
    return {int(path.suffixes[0][1:]): read_frame(path, RGB).pixels for path in paths}


# -- whole renders --------------------------------------------------------------------------------------------------


def test_a_matte_changes_less_where_the_plate_stands_still_and_nothing_else_changes(
    model: Model, frames: str, tmp_path: Path
) -> None:
    plain = rendered(infer(model, frames, tmp_path / "plain.%04d.exr"))
    steady = rendered(infer(model, frames, tmp_path / "steady.%04d.exr", steady=True))
    assert list(steady) == [1, 2, 3, 4, 6, 7, 8, 9]
    matte, still, moving = 1, np.s_[8:40, 8:16], np.s_[8:40, 32:40]

    def change(results: dict[int, np.ndarray]) -> float:
        return float(np.mean([np.abs(results[b] - results[a])[still][..., matte].mean() for a, b in ((2, 3), (7, 8))]))

    assert change(steady) < 0.5 * change(plain)
    for frame, result in steady.items():
        others = [channel for channel in range(3) if channel != matte]
        assert np.array_equal(result[..., others], plain[frame][..., others])
        assert np.array_equal(result[moving], plain[frame][moving])


@pytest.mark.parametrize("part", [[3], [4, 6], [2, 9], [8, 7, 6], [7, 2, 3]])
def test_a_part_of_a_shot_is_rendered_as_in_the_whole(
    model: Model, frames: str, tmp_path: Path, part: list[int]
) -> None:
    whole = rendered(infer(model, frames, tmp_path / "whole.%04d.exr", steady=True))
    some = rendered(infer(model, frames, tmp_path / "part.%04d.exr", frames=part, steady=True))
    assert list(some) == part
    for frame, result in some.items():
        assert np.array_equal(result, whole[frame])


def test_each_frame_is_rendered_once_and_written_when_two_more_are(
    model: Model, frames: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    apply = Model.__call__

    def noted(self: Model, image: np.ndarray, **options: object) -> np.ndarray:
        happened.append("render")
        return apply(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "__call__", noted)
    infer(
        model, frames, tmp_path / "o.%04d.exr", steady=True, progress=lambda report: happened.append(str(report.frame))
    )
    assert happened.count("render") == 8
    assert happened[:6] == ["render", "render", "render", "1", "render", "2"]
    assert [one for one in happened if one != "render"] == ["1", "2", "3", "4", "6", "7", "8", "9"]


def test_what_exists_is_rendered_for_its_neighbours_but_not_written(model: Model, frames: str, tmp_path: Path) -> None:
    paths = infer(model, frames, tmp_path / "o.%04d.exr", steady=True)
    whole = rendered(paths)
    paths[2].unlink()
    kept = paths[1].stat().st_mtime_ns
    again = infer(model, frames, tmp_path / "o.%04d.exr", steady=True, skip_existing=True)
    assert again == [paths[2]]
    assert np.array_equal(rendered(again)[3], whole[3])
    assert paths[1].stat().st_mtime_ns == kept


def test_a_bad_frame_is_not_used(model: Model, frames: str, tmp_path: Path) -> None:
    bad = Path(frames % 3)
    bad.write_text("no image")
    with pytest.raises(RenderError, match="1 of 8 frames could not be rendered: frame 3"):
        infer(model, frames, tmp_path / "torn.%04d.exr", steady=True)
    only = infer(model, frames, tmp_path / "part.%04d.exr", frames=[2], steady=True)
    bad.unlink()
    gone = rendered(infer(model, frames, tmp_path / "gone.%04d.exr", steady=True))
    assert len(gone) == 7
    for frame in gone:
        torn = read_frame(tmp_path / f"torn.{frame:04d}.exr", RGB).pixels
        assert np.array_equal(torn, gone[frame])
    assert np.array_equal(rendered(only)[2], gone[2])


def test_a_model_without_a_matte_is_refused(
    tmp_path: Path, frames: str, copycat: Callable[..., Outcome], tiny: None
) -> None:
    path = random_model(tmp_path / "colour.cat")
    with pytest.raises(InferenceError, match=r"colour.cat: steady is for mattes, but R,G,B is none"):
        infer(path, frames, tmp_path / "o.%04d.exr", steady=True)
    status, _, err = copycat("infer", path, frames, tmp_path / "o.%04d.exr", "--steady")
    assert status == 1
    assert "steady is for mattes" in err


# -- one frame ------------------------------------------------------------------------------------------------------

DISPLAYED = Encoding((0.0,), (0.0,), (1.0,))


def look(plate: np.ndarray, matte: float | np.ndarray, origin: tuple[int, int] = (0, 0)) -> Look:
    result = np.broadcast_to(np.float32(matte), (*plate.shape[:2], 1)).astype(np.float32)
    header = type("Header", (), {"input_encoding": DISPLAYED})()
    return look_at(plate.astype(np.float32)[..., None], result, origin, header)


def test_frames_that_are_alike_count_the_same() -> None:
    grey = np.full((12, 16), 0.4)
    found = steadied(look(grey, 0.9), [look(grey, 0.3), look(grey, 0.6)], [0])
    assert found == pytest.approx(0.6)


def test_another_scene_does_not_count() -> None:
    found = steadied(look(np.full((12, 16), 0.4), 0.9), [look(np.full((12, 16), 0.5), 0.1)], [0])
    assert np.array_equal(found, np.full((12, 16, 1), 0.9, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_pixels_of_the_plate_do_not_count_and_spoil_nothing(value: float) -> None:
    spoiled = np.full((16, 24), 0.4)
    spoiled[8, 6] = value
    good = look(np.full((16, 24), 0.4), 0.2)
    for found, plain in (
        (steadied(good, [look(spoiled, 0.8)], [0]), 0.2),
        (steadied(look(spoiled, 0.8), [good], [0]), 0.8),
    ):
        near = found[6:11, 4:9]
        assert near == pytest.approx(plain)
        assert found[:, 9:] == pytest.approx(0.5)
        assert found[:6] == pytest.approx(0.5)


def test_a_bad_value_of_a_matte_stays_its_own() -> None:
    grey = np.full((12, 16), 0.4)
    matte = np.full((12, 16, 1), 0.8, np.float32)
    matte[3, 4] = np.nan
    assert steadied(look(grey, 0.2), [look(grey, matte)], [0])[3, 4, 0] == np.float32(0.2)
    assert np.isnan(steadied(look(grey, matte), [look(grey, 0.2)], [0])[3, 4, 0])


def test_frames_of_other_windows_meet_where_both_have_pixels() -> None:
    plate = np.random.default_rng(2).random((20, 30))
    found = steadied(look(plate, 0.2), [look(plate[5:, 10:], 0.8, origin=(10, 5))], [0])
    assert found[10:, 15:] == pytest.approx(0.5)
    assert np.array_equal(found[:5], np.full((5, 30, 1), 0.2, np.float32))
    apart = steadied(look(plate, 0.2), [look(plate, 0.8, origin=(30, 0))], [0])
    assert np.array_equal(apart, look(plate, 0.2).result)


@given(st.sets(st.integers(1, 30), min_size=1), st.data())
def test_the_order_of_rendering_has_all_neighbours_at_hand(there: set[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(sorted(there)), unique=True))
    order = iter(to_render(wanted, there))
    held: set[int] = set()
    for frame in wanted:
        needed = neighbourhood(frame, there)
        assert set(needed) == {one for one in there if abs(one - frame) <= REACH}
        held = {one for one in needed if one in held or one == next(order)}
        assert held == set(needed)
    assert next(order, None) is None


@given(st.sets(st.integers(1, 30), min_size=1), st.booleans())
def test_a_range_renders_each_frame_once(there: set[int], backwards: bool) -> None:
    order = to_render(sorted(there, reverse=backwards), there)
    assert sorted(order) == sorted(there)
    assert all(a != b for a, b in itertools.pairwise(order))
