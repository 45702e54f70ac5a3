"""ProRes: the same pictures within a level or two, the plate's timing, and whole files or none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, random_model
from copycat.inference.render import infer
from copycat.sequence import ImageSequence, SequenceError, movie, read_frame, read_info, write_frame
from copycat.sequence.colour import srgb
from copycat.sequence.movie_writing import MovieWriter, timecode
from test_movies import SIZE, flat, write_movie

av = pytest.importorskip("av")
RGB = ("R", "G", "B")


def plates(folder: Path, frames: range, extension: str = "png", size: tuple[int, int] = (64, 48)) -> str:
    folder.mkdir(exist_ok=True)
    for frame in frames:
        write_frame(folder / f"plate.{frame:04d}.{extension}", picture(frame, size), RGB)
    return str(folder / f"plate.%04d.{extension}")


def write(path: Path, plate: str, frames: range, channels: tuple[str, ...] = RGB, compression: str = "") -> None:
    """Writes a plate's own pictures."""
    source = ImageSequence.parse(plate)
    with MovieWriter(path, list(frames), channels, compression) as writer:
        for frame in frames:
            found = read_frame(source.path(frame), RGB)
            pixels = np.concatenate([found.pixels, found.pixels[..., :1]], axis=2)
            wanted = {1: pixels[..., :1], 3: pixels[..., :3], 4: pixels}[len(channels)]
            writer.submit(path, wanted, channels, like=found.info)


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize(
    ("channels", "compression", "codec"),
    [
        (RGB, "", "hq"),
        (RGB, "proxy", "proxy"),
        (RGB, "4444", "4444"),
        ((*RGB, "A"), "", "4444"),
        (("A",), "", "hq"),
    ],
)
def test_the_pictures_come_back(
    tmp_path: Path, size: tuple[int, int], channels: tuple[str, ...], compression: str, codec: str
) -> None:
    plate, path = plates(tmp_path / "plate", range(1, 4), size=size), tmp_path / "out.mov"
    write(path, plate, range(1, 4), channels, compression)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert context.name.startswith("prores")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        expected = {"hq": "HQ", "proxy": "Proxy", "4444": "4444"}[codec]
        assert str(context.profile) == (expected if size[0] % 2 == 0 or codec == "4444" else "4444")
    found = movie.read_movie(path)
    assert (found.width, found.height, found.bits) == (*size, 10 if "4444" not in codec and size[0] % 2 == 0 else 12)
    assert found.channels == ("R", "G", "B", "A")[: 4 if len(channels) == 4 else 3]
    # Chroma at half width blurs colours; of a grey picture nothing is lost.
    tolerance = 0.02 if len(channels) == 1 or (codec == "4444") else 0.08
    for frame in (1, 2, 3):
        source = picture(frame, size)
        one = read_frame(movie.frame_path(path, frame), found.channels).pixels
        if len(channels) == 1:
            source = np.repeat(source[..., :1], 3, axis=2)
        assert np.abs(one[..., :3] - source).mean() < tolerance
        if len(channels) == 4:
            assert np.abs(one[..., 3] - source[..., 0]).mean() < 0.01


def test_scene_linear_values_go_through_the_srgb_curve(tmp_path: Path) -> None:
    plate = plates(tmp_path / "plate", range(1, 2), "exr")
    write(tmp_path / "out.mov", plate, range(1, 2), compression="4444")
    found = read_frame(movie.frame_path(tmp_path / "out.mov", 1), RGB).pixels
    assert np.abs(found - srgb(picture(1, (64, 48)))).mean() < 0.01


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        (Fraction(24), "01:00:00:00"),
        (Fraction(25), "00:59:59:24"),
        (Fraction(24000, 1001), "10:11:12:13"),
        (Fraction(30000, 1001), "01:09:59;28"),
        (Fraction(60000, 1001), "00:01:00;04"),
        (Fraction(50), ""),
    ],
)
def test_the_result_has_the_plate_s_timing(tmp_path: Path, rate: Fraction, first: str) -> None:
    plate = write_movie(tmp_path / "plate.mov", [flat(20 * i) for i in range(4)], "prores_ks", "yuv444p10le", rate=rate,
                        timecode=first)  # fmt: skip
    model = random_model(tmp_path / "model.cat")
    written = infer(model, plate, tmp_path / "result.mov", compression="4444", use_gpu_if_available=False)
    assert written == [tmp_path / "result.mov"]
    before, after = movie.read_movie(plate), movie.read_movie(tmp_path / "result.mov")
    assert (after.rate, after.first, after.drop_frame) == (before.rate, before.first, before.drop_frame)
    assert list(after.frames) == list(before.frames)
    infer(model, plate, tmp_path / "result.%08d.png", use_gpu_if_available=False)
    for frame in before.frames:
        one = read_frame(movie.frame_path(tmp_path / "result.mov", frame), RGB).pixels
        other = read_frame(tmp_path / f"result.{frame:08d}.png", RGB).pixels
        assert np.abs(one - other).mean() < 0.015  # the codec's loss; the picture is noise


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(60000, 1001), Fraction(25)])
def test_every_frame_number_comes_back_from_its_timecode(rate: Fraction) -> None:
    drop = rate.denominator > 1
    stream = type("Stream", (), {"metadata": {}})()
    decoder = object.__new__(movie._Decoder)
    decoder._stream, decoder._container = stream, type("Container", (), {"metadata": {}, "streams": ()})()
    for frame in (*range(5000), *range(17900, 18100), 107892, 1078920, 1_000_001):
        stream.metadata["timecode"] = timecode(frame, rate, drop)
        assert decoder._first_frame(rate) == frame, stream.metadata


def test_a_part_of_an_image_sequence_keeps_its_numbers(tmp_path: Path) -> None:
    plate = plates(tmp_path / "plate", range(1001, 1006))
    model = random_model(tmp_path / "model.cat")
    infer(model, plate, tmp_path / "result.mov", frames="1002-1004", use_gpu_if_available=False)
    found = movie.read_movie(tmp_path / "result.mov")
    assert (list(found.frames), found.rate) == ([1002, 1003, 1004], 24)


@pytest.mark.parametrize(
    ("output", "more", "sentence"),
    [
        ("out.mp4", {}, "a movie is written as ProRes in a .mov, not .mp4"),
        ("out.mov", {"frames": "1-3x2"}, "a movie holds consecutive frames"),
        ("out.mov", {"compression": "zip"}, "one of proxy, lt, standard, hq, 4444, 4444xq, not 'zip'"),
        ("out.mov", {"skip_existing": True}, "skipping frames and passing channels through are for image"),
        ("out.mov", {"frames": "1-9"}, "frame 4 of the plate is missing"),
    ],
)
def test_what_a_movie_cannot_hold_is_refused(
    tmp_path: Path, output: str, more: dict[str, object], sentence: str
) -> None:
    plate = plates(tmp_path / "plate", range(1, 4))
    model = random_model(tmp_path / "model.cat")
    with pytest.raises(SequenceError, match=sentence):
        infer(model, plate, tmp_path / output, use_gpu_if_available=False, **more)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("out.*"))


def test_a_failure_leaves_no_movie(tmp_path: Path) -> None:
    plate = plates(tmp_path / "plate", range(1, 5))
    (tmp_path / "plate/plate.0003.png").write_bytes(b"no image")
    model = random_model(tmp_path / "model.cat")
    with pytest.raises(SequenceError, match=r"plate\.0003\.png"):
        infer(model, plate, tmp_path / "out.mov", use_gpu_if_available=False)
    write_frame(tmp_path / "plate/plate.0003.png", picture(3, (32, 48)), RGB)
    with pytest.raises(SequenceError, match=r"plate\.0003\.png is 32 x 48, the movie .*out\.mov is 64 x 48"):
        infer(model, plate, tmp_path / "out.mov", use_gpu_if_available=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.cat", "plate"]


def test_the_plate_is_not_overwritten(tmp_path: Path) -> None:
    plate = write_movie(tmp_path / "plate.mov", [flat(9)], "prores_ks", "yuv444p10le")
    with pytest.raises(SequenceError, match="the output would overwrite a file that is read"):
        infer(random_model(tmp_path / "model.cat"), plate, plate, use_gpu_if_available=False)
    assert read_info(movie.frame_path(plate, 1)).width == SIZE[1]
