"""The alignment of frames: motions of which the truth is on record, what hides in them, and what cannot be aligned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from copycat.data import moving_plate, parallax, plate_alignment
from copycat.data.plate_alignment import View
from moving_camera import SIZE, camera, landscape, view_of


def error(
    found: np.ndarray | None, first: np.ndarray, second: np.ndarray, columns: tuple[int, int] = (0, SIZE[1])
) -> float:
    """The mean distance in pixels between where a homography maps a view's pixels and where they are."""
    assert found is not None
    x, y = np.meshgrid(np.arange(*columns, 20.0), np.arange(0, SIZE[0], 20.0))
    places = [plate_alignment.mapped(matrix, x, y) for matrix in (found, np.linalg.inv(second) @ first)]
    return float(np.hypot(places[0][0] - places[1][0], places[0][1] - places[1][1]).mean())


@pytest.mark.parametrize(
    "motion",
    [
        (0.0, 0.0, 1.0, 0.0),
        (8.37, -3.61, 1.0, 0.0),
        (60.5, 20.25, 1.0, 0.0),
        (-20.3, 11.8, 1.08, 2.5),
        (4.1, -7.7, 0.93, -4.0, 2e-4),
    ],
)
def test_pan_zoom_and_roll_are_found_to_a_tenth_of_a_pixel(motion: tuple[float, ...]) -> None:
    picture, first, second = landscape(), camera(0.3, 0.7, 1.0, 0.5), camera(*motion)
    found = plate_alignment.align(View.of(view_of(picture, first, 1)), View.of(view_of(picture, second, 2)))
    assert error(found, first, second) < 0.1


def test_what_is_on_one_frame_only_does_not_pull() -> None:
    picture, first, second = landscape(), camera(0, 0, 1, 0), camera(17.4, -6.2, 1.03, 1)
    source = view_of(picture, first, 1)
    source[60:190, 120:240] = view_of(landscape(9), first, 3)[60:190, 120:240]  # a fifth of the frame
    assert error(plate_alignment.align(View.of(source), View.of(view_of(picture, second, 2))), first, second) < 0.1


@pytest.mark.parametrize(("gain", "offset"), [(0.8, 12), (1, 30), (0.5, -30)])
def test_another_exposure_does_not_pull(gain: float, offset: float) -> None:
    picture, first, second = landscape(), camera(0, 0, 1, 0), camera(9.4, -6.2, 1, 1)
    brighter = view_of(picture, first, 1) * gain + offset
    found = plate_alignment.align(View.of(brighter), View.of(view_of(picture, second, 2)))
    assert error(found, first, second) < 0.1


def test_pixels_that_do_not_count_are_not_looked_at() -> None:
    picture, first, second = landscape(), camera(0, 0, 1, 0), camera(12.6, 3.3, 1, 0)
    views = []
    for index, matrix in enumerate((first, second)):
        grey, shown = view_of(picture, matrix, index), np.ones(SIZE, bool)
        # Three quarters of both frames are a picture that stands still, and do not count.
        shown[:, : SIZE[1] * 3 // 4] = False
        grey[~shown] = view_of(landscape(7), first, 5)[~shown]
        views.append(View.of(grey, shown))
    assert error(plate_alignment.align(*views), first, second) < 0.3


def test_a_large_frame_is_compared_at_a_lower_resolution() -> None:
    large = landscape(size=(2200, 3920))
    first, second = (np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]) for x, y in ((3, 5), (71.5, 20.25)))
    views = [View.of(view_of(large, matrix, 4, (2160, 3840))) for matrix in (first, second)]
    assert views[0].factor == 2
    assert views[0].grey.shape == (1080, 1920)
    assert error(plate_alignment.align(*views), first, second) < 0.2


def test_a_proxy_is_aligned_with_a_whole_frame() -> None:
    picture, first, second = landscape(), camera(0, 0, 1, 0), camera(7.3, 2.2, 1, 0)
    half = plate_alignment.reduced(view_of(picture, first, 1), 2)
    found = plate_alignment.align(View.of(half), View.of(view_of(picture, second, 2)))
    assert found is not None
    assert error(found @ plate_alignment.reduction(2), first, second) < 0.2


def test_the_same_frames_give_the_same_homography() -> None:
    pictures = [view_of(landscape(), camera(x, 0, 1, 0), x) for x in (0, 9)]
    first, second = (plate_alignment.align(*map(View.of, pictures)) for _ in range(2))
    assert first is not None
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("grey", [np.full(SIZE, 128, np.float32), landscape(5, SIZE), landscape(5, (16, 16))])
def test_frames_with_nothing_in_common_are_not_aligned(grey: np.ndarray) -> None:
    target = View.of(view_of(landscape(), camera(0, 0, 1, 0), 1))
    assert plate_alignment.align(View.of(grey), target) is None
    assert plate_alignment.align(target, View.of(grey)) is None


def test_opencv_s_threads_are_left_as_they_were() -> None:
    before = cv2.getNumThreads()
    with plate_alignment.one_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


# -- two layers in depth ----------------------------------------------------------------------------------------------


MIDDLE = slice(130, 290)


def layered(shift: float, grain: int, tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A near landscape in the middle of a far one, its camera, and that of the far one: near things move by more."""
    far, near = camera(shift, tilt, 1, 0.2 * shift / 10), camera(1.5 * shift, tilt, 1, 0.2 * shift / 10)
    view = view_of(landscape(), far, grain)
    nearer = view_of(landscape(4), near, grain + 50)
    view[:, MIDDLE] = nearer[:, MIDDLE]
    return view, near, far


def test_both_layers_of_a_shot_with_parallax_are_found() -> None:
    source, *own = layered(0, 1)
    shots = [layered(shift, index, 3.3) for index, shift in enumerate((-24.3, 16.7, 30.4), 2)]
    view, targets = View.of(source), [View.of(shot[0]) for shot in shots]
    matrices = [plate_alignment.align(view, target) for target in targets]
    found = parallax.layers(view, targets, matrices)  # type: ignore[arg-type]
    assert len(found) == 2
    ranges = (MIDDLE.start, MIDDLE.stop), (0, MIDDLE.start)
    near, far = (
        [
            max(error(one, own[side], shot[1 + side], columns) for one, shot in zip(layer, shots, strict=True))
            for layer in found
        ]
        for side, columns in enumerate(ranges)
    )
    # One layer is the near one in all painted frames, and the other the far one.
    assert min(near[0] + far[1], near[1] + far[0]) < 0.4


def test_a_shot_without_parallax_has_one_layer() -> None:
    views = [View.of(view_of(landscape(), camera(shift, 0, 1, 0), shift)) for shift in (0, 12, 25)]
    matrices = [plate_alignment.align(views[0], target) for target in views[1:]]
    assert len(parallax.layers(views[0], views[1:], matrices)) == 1  # type: ignore[arg-type]


def test_a_plate_with_parallax_shows_the_layer_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = [layered(shift, index)[0] for index, shift in enumerate((0.0, -20.0, -10.0, 11.0, 22.0))]
    truth = shots[0].copy()
    shots[0][70:150, 90:170] = 90  # what is to be painted out
    values = [np.dstack([shot / 32 - 4]).astype(np.float32) for shot in shots]
    painted = [moving_plate.painted_frame(value) for value in values[1:]]

    def difference() -> float:
        plate = moving_plate.plate_of(View.of(moving_plate.grey(values[0])), SIZE, painted)
        behind = (plate.planes[70:150, 90:170, 0].astype(np.float32) + 4) * 32
        return float(np.abs(behind - truth[70:150, 90:170]).mean())

    two = difference()
    monkeypatch.setattr(parallax, "layers", lambda _view, _targets, matrices: [list(matrices)])
    assert two < 0.8 * difference()
