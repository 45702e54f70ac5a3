"""Movies as sequences: the right frame, the right colours, and the right numbers, whoever asks in whatever order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import Train, graded, picture
from copycat.inference.render import infer
from copycat.sequence import ImageSequence, SequenceError, movie, read_frame, read_info

av = pytest.importorskip("av")
SIZE = (48, 64)


def write_movie(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "ffv1",
    stored: str = "bgr0",
    given: str = "rgb24",
    rate: Fraction = Fraction(24),
    timecode: str = "",
    matrix: int | None = None,
    **options: str,
) -> Path:
    """Encodes pictures as PyAV takes them in the pixel format ``given``."""
    height, width = SIZE
    with av.open(str(path), "w", format="matroska" if codec == "ffv1" else None) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, stored, options
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if timecode:
            stream.metadata["timecode"] = timecode
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format=given)
            frame.pts, frame.time_base = index, 1 / rate
            if matrix is not None:
                frame.colorspace = matrix
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def flat(value: int, dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    return np.full((*SIZE, channels), value, dtype)


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Thirty frames whose grey level tells which they are, in long groups of pictures with B frames."""
    pictures = [flat(8 * index) for index in range(30)]
    options = {"bf": "2", "g": "12", "crf": "1"}
    return write_movie(tmp_path / "numbered.mp4", pictures, "libx264", "yuv444p", timecode="", **options)


def level(path: Path, frame: int) -> int:
    return round(float(movie.read_pixels(path, frame).mean()) / 8)


def test_frames_are_right_in_any_order(numbered: Path) -> None:
    found = movie.read_movie(numbered)
    assert list(found.frames) == list(range(1, 31))
    assert (found.width, found.height, found.channels, found.dtype, found.rate) == (
        64,
        48,
        ("R", "G", "B"),
        "uint8",
        24,
    )
    order = [*range(30), *reversed(range(30)), *np.random.default_rng(3).permutation(30).tolist()]
    assert [level(numbered, frame + 1) for frame in order] == order


def test_threads_that_share_a_movie_get_their_own_frames(numbered: Path) -> None:
    order = np.random.default_rng(5).integers(0, 30, 90).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda frame: level(numbered, frame + 1), order)) == order


@pytest.mark.parametrize("deep", [False, True])
def test_rgb_is_decoded_as_it_was(tmp_path: Path, deep: bool) -> None:
    random = np.random.default_rng(1)
    if deep:  # FFV1 keeps ten bits of sixteen
        pixels = (random.integers(0, 1024, (*SIZE, 3)) << 6).astype(np.uint16)
        path = write_movie(tmp_path / "deep.mov", [pixels], stored="gbrp10le", given="rgb48le")
        found = movie.read_pixels(path, 1)
        assert movie.read_movie(path).dtype == "uint16"
        assert np.abs(found.astype(int) - pixels).max() < 64  # the low bits are filled up
        assert found.max() > 65400
    else:
        pixels = random.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        path = write_movie(tmp_path / "plain.mov", [pixels])
        np.testing.assert_array_equal(movie.read_pixels(path, 1), pixels)


def test_alpha_and_grey(tmp_path: Path) -> None:
    rgba = np.random.default_rng(2).integers(0, 256, (*SIZE, 4)).astype(np.uint8)
    path = write_movie(tmp_path / "alpha.mov", [rgba], stored="bgra", given="rgba")
    assert movie.read_movie(path).channels == ("R", "G", "B", "A")
    np.testing.assert_array_equal(movie.read_pixels(path, 1), rgba)
    grey = rgba[..., 0]
    path = write_movie(tmp_path / "grey.mov", [grey], stored="gray", given="gray")
    assert movie.read_movie(path).channels == ("Y",)
    np.testing.assert_array_equal(movie.read_pixels(path, 1)[..., 0], grey)


# Luma weights of red and blue: ITU-R BT.601, BT.709, BT.2020.
WEIGHTS = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593), None: (0.299, 0.114)}


@pytest.mark.parametrize("matrix", WEIGHTS)
def test_yuv_is_converted_with_the_matrix_that_the_movie_names(tmp_path: Path, matrix: int | None) -> None:
    y, u, v = 120, 90, 170
    planes = np.stack([np.full(SIZE, value, np.uint8) for value in (y, u, v)])
    path = write_movie(tmp_path / "yuv.mov", [planes], stored="yuv444p", given="yuv444p", matrix=matrix)
    red, blue = WEIGHTS[matrix]
    luma, cb, cr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    np.testing.assert_allclose(movie.read_pixels(path, 1)[20, 30] / 255, (r, g, b), atol=1.5 / 255)


@pytest.mark.parametrize(
    ("timecode", "rate", "first"),
    [
        ("", Fraction(24), 1),
        ("01:00:00:00", Fraction(24), 86400),
        ("00:00:41:17", Fraction(24), 1001),
        ("10:00:00:00", Fraction(25), 900000),
        ("01:00:00;00", Fraction(30000, 1001), 107892),
        ("00:01:00;02", Fraction(30000, 1001), 1800),
    ],
)
def test_numbers_come_from_the_timecode(tmp_path: Path, timecode: str, rate: Fraction, first: int) -> None:
    pictures = [flat(index) for index in range(3)]
    path = write_movie(
        tmp_path / "t.mov", pictures, "prores_ks", "yuv422p10le", rate=rate, timecode=timecode, profile="3"
    )
    assert list(movie.read_movie(path).frames) == [first, first + 1, first + 2]


def test_what_is_wrong_is_said(tmp_path: Path, numbered: Path) -> None:
    with pytest.raises(SequenceError, match=r"numbered\.mp4 has no frame 31; it has 1-30"):
        movie.read_pixels(numbered, 31)
    (tmp_path / "text.mov").write_text("not a movie")
    with pytest.raises(SequenceError, match=r"text\.mov cannot be read: Invalid data"):
        movie.read_movie(tmp_path / "text.mov")
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(numbered.read_bytes()[:-2000])
    with pytest.raises(SequenceError, match=r"torn\.mp4 cannot be read"):
        movie.read_movie(torn)
    with pytest.raises(SequenceError, match="No such file"):
        movie.read_movie(tmp_path / "gone.mov")


def test_a_movie_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "m.mov", [flat(10)] * 2)
    assert movie.read_pixels(path, 1).mean() == 10
    write_movie(path, [flat(200)] * 3)
    assert movie.read_pixels(path, 3).mean() == 200


def test_paths_of_frames(tmp_path: Path, numbered: Path) -> None:
    path = movie.frame_path(numbered, 7)
    assert movie.split(path) == (numbered, 7)
    assert movie.file_of(path) == numbered
    assert movie.split(tmp_path / "folder" / "0001") is None
    assert movie.file_of(tmp_path / "plate.0001.exr") == tmp_path / "plate.0001.exr"


def test_a_training_and_a_render_take_movies_as_they_take_sequences(tmp_path: Path, train: Train) -> None:
    plates = [(255 * picture(frame, SIZE[::-1])).astype(np.uint8) for frame in range(6)]
    truths = [graded(plate / np.float32(255)) for plate in plates]
    options = {"stored": "bgr0", "timecode": "00:00:41:16"}
    plate = write_movie(tmp_path / "plate.mov", plates, **options)
    truth = write_movie(tmp_path / "truth.mov", [(255 * one).astype(np.uint8) for one in truths], **options)
    first = movie.read_movie(plate).first
    run = train(str(plate), str(truth), training_frames=f"{first}-{first + 4}x2", epochs=4).run
    frames = [pair["input"] for pair in json.loads(run.provenance.read_text())["frames"]]
    assert frames == [str(movie.frame_path(plate, first + index)) for index in (0, 2, 4)]
    written = infer(run.directory / run.name, plate, tmp_path / "out.%04d.exr", passthrough=True)
    assert [path.name for path in written] == [f"out.{first + index:04d}.exr" for index in range(6)]
    assert read_frame(written[5], ("R", "G", "B")).pixels.shape == (*SIZE, 3)
    before = plate.read_bytes()
    with pytest.raises(SequenceError):
        infer(run.directory / run.name, plate, plate)
    assert plate.read_bytes() == before


def test_a_frame_of_a_movie_is_read_like_an_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    found = ImageSequence.parse(write_movie(tmp_path / "m.mov", [pixels, pixels[::-1].copy()]))
    assert (found.frames(), found.single, found.numbered) == ([1, 2], False, True)
    info = read_info(found.path(2))
    assert (info.width, info.height, info.dtype, info.linear, info.format) == (64, 48, "uint8", False, "movie")
    frame = read_frame(found.path(2), ("B", "R"))
    np.testing.assert_allclose(frame.pixels, pixels[::-1][..., [2, 0]] / 255, atol=1e-6)
    bank = np.zeros((*SIZE, 3), np.uint8)
    read_frame(found.path(1), ("R", "G", "B"), out=bank)
    np.testing.assert_array_equal(bank, pixels)
    with pytest.raises(SequenceError, match="has no channel 'A'; it has R, G, B"):
        read_frame(found.path(1), ("A",))
