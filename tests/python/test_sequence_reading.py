"""What is read from files of every kind, and what is said of files that cannot be read.

Over 400 lines: each kind of file, and each way in which it can be damaged.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from copycat.sequence import SequenceError, describe_size, read_frame, read_info, write_frame

RGB = ("R", "G", "B")


def noise(height: int, width: int, channels: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def spec_of(pixels: np.ndarray, dtype: str, names: tuple[str, ...] | None = None) -> Any:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], dtype)
    if names:
        spec.channelnames = names
    return spec


def save(path: Path, parts: list[tuple[Any, np.ndarray]]) -> Path:
    """Writes specs and pixels with OpenImageIO alone."""
    output = oiio.ImageOutput.create(str(path))
    specs = [spec for spec, _ in parts]
    assert output.open(str(path), specs if len(specs) > 1 else specs[0])
    for index, (spec, pixels) in enumerate(parts):
        if index:
            assert output.open(str(path), spec, "AppendSubimage")
        assert output.write_image(pixels)
    assert output.close()
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance", "linear"),
    [
        ("a.exr", "half", 3e-4, True),
        ("a.exr", "float", 0, True),
        ("a.tif", "uint8", 0.51 / 255, False),
        ("a.tif", "uint16", 0.51 / 65535, False),
        ("a.tif", "float", 0, True),
        ("a.png", "uint8", 0.51 / 255, False),
        ("a.png", "uint16", 0.51 / 65535, False),
        ("a.dpx", "uint16", 1.01 / 1023, False),
        ("a.hdr", "float", 5e-3, True),
    ],
)
def test_every_format_and_depth(tmp_path: Path, name: str, dtype: str, tolerance: float, linear: bool) -> None:
    pixels = noise(37, 53, 3)
    spec = spec_of(pixels, dtype)
    if name == "a.dpx":
        spec.attribute("oiio:BitsPerSample", 10)
    path = save(tmp_path / name, [(spec, pixels)])
    info = read_info(path)
    assert (info.width, info.height, info.channels, info.dtype, info.linear) == (53, 37, RGB, dtype, linear)
    assert info.data_window == info.display_window == (0, 0, 53, 37)
    for out_type in (np.float32, np.float16):
        frame = read_frame(path, RGB, out_type)
        assert frame.pixels.dtype == out_type
        assert frame.valid == (0, 0, 53, 37)
        np.testing.assert_allclose(frame.pixels, pixels, atol=tolerance + (3e-4 if out_type == np.float16 else 0))


def test_jpeg_and_grey(tmp_path: Path) -> None:
    pixels = np.full((32, 48, 3), 0.25, np.float32)
    path = save(tmp_path / "a.jpg", [(spec_of(pixels, "uint8"), pixels)])
    np.testing.assert_allclose(read_frame(path, RGB).pixels, 64 / 255, atol=2 / 255)
    grey = save(tmp_path / "g.png", [(spec_of(pixels[..., :1], "uint8"), pixels[..., :1])])
    assert read_info(grey).channels == ("Y",)
    assert np.all(read_frame(grey, ["Y"]).pixels == np.float32(64 / 255))


def test_integers_are_a_share_of_their_largest(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    path = save(tmp_path / "a.png", [(spec_of(levels, "uint8"), levels)])
    np.testing.assert_allclose(read_frame(path, ["Y"]).pixels.ravel(), np.arange(256) / 255, rtol=1e-6)


def test_alpha_is_not_multiplied_in(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[...] = (200, 100, 50, 51)
    spec = spec_of(pixels, "uint8")
    spec.attribute("oiio:UnassociatedAlpha", 1)
    path = save(tmp_path / "a.png", [(spec, pixels)])
    assert np.rint(read_frame(path, ("R", "A")).pixels[0, 0] * 255).tolist() == [200, 51]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_an_offset_on_the_page_crops_nothing(tmp_path: Path, name: str) -> None:
    pixels = noise(8, 9, 3)
    spec = spec_of(pixels, "uint8")
    spec.x, spec.y = 100, 50
    spec.full_width, spec.full_height = 300, 200
    path = save(tmp_path / name, [(spec, pixels)])
    info = read_info(path)
    assert info.data_window == info.display_window == (0, 0, 9, 8)
    np.testing.assert_allclose(read_frame(path, RGB).pixels, pixels, atol=0.51 / 255)


@pytest.mark.parametrize("compression", ["none", "rle", "zip", "zips", "piz"])
@pytest.mark.parametrize("tile", [0, 16, 384])
def test_exr_compressions_and_tiles(tmp_path: Path, compression: str, tile: int) -> None:
    pixels = noise(600, 33, 4).astype(np.float16).astype(np.float32)
    spec = spec_of(pixels, "half")
    spec.attribute("compression", compression)
    spec.tile_width = spec.tile_height = tile
    path = save(tmp_path / "a.exr", [(spec, pixels)])
    frame = read_frame(path, ("R", "G", "B", "A"))
    assert np.array_equal(frame.pixels, pixels)


@pytest.mark.parametrize("compression", ["dwaa:45", "dwab:45", "b44", "pxr24"])
def test_lossy_exr(tmp_path: Path, compression: str) -> None:
    ramp = np.linspace(0, 1, 300, dtype=np.float32)[:, None, None] * np.ones((1, 64, 3), np.float32)
    spec = spec_of(ramp, "half")
    spec.attribute("compression", compression)
    path = save(tmp_path / "a.exr", [(spec, ramp)])
    np.testing.assert_allclose(read_frame(path, RGB).pixels, ramp, atol=0.02)


def test_channels_come_in_the_order_asked_for(tmp_path: Path) -> None:
    names = ("R", "G", "B", "A", "depth.Z", "left.R")
    pixels = noise(9, 11, 6)
    path = save(tmp_path / "a.exr", [(spec_of(pixels, "float", names), pixels)])
    assert set(read_info(path).channels) == set(names)
    for chosen in (("left.R", "B"), ("G",), ("A", "depth.Z", "R"), names[::-1]):
        expected = pixels[..., [names.index(name) for name in chosen]]
        assert np.array_equal(read_frame(path, chosen).pixels, expected)


def test_depths_of_each_channel(tmp_path: Path) -> None:
    pixels = noise(9, 11, 4).astype(np.float16).astype(np.float32)
    pixels[..., 3] = 123456.7
    spec = spec_of(pixels, "float", ("R", "G", "B", "Z"))
    spec.channelformats = ("half", "half", "half", "float")
    path = save(tmp_path / "a.exr", [(spec, pixels)])
    assert np.array_equal(read_frame(path, (*RGB, "Z")).pixels, pixels)
    assert np.all(read_frame(path, ["Z"], np.float16).pixels == 65504)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("origin", [(0, 0), (100, -50)])
@pytest.mark.parametrize(
    ("window", "valid"),
    [
        ((10, 5, 30, 25), (10, 5, 30, 25)),
        ((-8, -4, 70, 50), (0, 0, 64, 48)),
        ((-8, 20, 30, 60), (0, 20, 30, 48)),
        ((40, -600, 80, 10), (40, 0, 64, 10)),
        ((64, 48, 80, 60), (0, 0, 0, 0)),
    ],
)
def test_data_windows(
    tmp_path: Path,
    window: tuple[int, int, int, int],
    valid: tuple[int, int, int, int],
    origin: tuple[int, int],
    tile: int,
) -> None:
    x0, y0, x1, y1 = window
    pixels = noise(y1 - y0, x1 - x0, 3) + 1
    spec = spec_of(pixels, "float")
    spec.x, spec.y = x0 + origin[0], y0 + origin[1]
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = *origin, 64, 48
    spec.tile_width = spec.tile_height = tile
    path = save(tmp_path / "a.exr", [(spec, pixels)])
    info = read_info(path)
    assert (info.width, info.height) == (64, 48)
    assert info.display_window == (*origin, 64 + origin[0], 48 + origin[1])
    assert info.data_window == window
    bank = np.full((48, 64, 3), 7, np.float32)
    frame = read_frame(path, RGB, out=bank)
    assert frame.valid == valid
    expected = np.zeros((48, 64, 3), np.float32)
    a, b, c, d = valid
    expected[b:d, a:c] = pixels[b - y0 : d - y0, a - x0 : c - x0]
    assert np.array_equal(bank, expected)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("origin", [(0, 0), (100, -50)])
@pytest.mark.parametrize(
    ("window", "region"),
    [
        ((0, 0, 64, 48), (0, 0, 64, 48)),
        ((10, 5, 30, 25), (0, 0, 64, 48)),
        ((-8, -4, 70, 50), (-8, -4, 70, 50)),
        ((-8, 20, 30, 60), (-8, 0, 64, 60)),
        ((40, -600, 80, 10), (0, -600, 80, 48)),
        ((70, 48, 80, 60), (0, 0, 80, 60)),
    ],
)
def test_overscan_is_picture(
    tmp_path: Path,
    window: tuple[int, int, int, int],
    region: tuple[int, int, int, int],
    origin: tuple[int, int],
    tile: int,
) -> None:
    x0, y0, x1, y1 = window
    pixels = noise(y1 - y0, x1 - x0, 3) + 1
    spec = spec_of(pixels, "float")
    spec.x, spec.y = x0 + origin[0], y0 + origin[1]
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = *origin, 64, 48
    spec.tile_width = spec.tile_height = tile
    path = save(tmp_path / "a.exr", [(spec, pixels)])
    frame = read_frame(path, RGB, overscan=True)
    left, top, right, bottom = region
    expected = np.zeros((bottom - top, right - left, 3), np.float32)
    expected[y0 - top : y1 - top, x0 - left : x1 - left] = pixels
    assert (frame.origin, frame.valid) == ((left, top), window)
    assert np.array_equal(frame.pixels, expected)


def multi_part(path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two pictures with the same channel names, one of them smaller, and a depth of its own."""
    parts, truth = [], {}
    for name, names, window in (
        ("beauty", ("R", "G", "B"), (0, 0, 40, 30)),
        ("depth", ("Z",), (0, 0, 40, 30)),
        ("diffuse", ("R", "G", "B", "A"), (4, 6, 20, 16)),
    ):
        x0, y0, x1, y1 = window
        pixels = noise(y1 - y0, x1 - x0, len(names), seed=len(name))
        spec = spec_of(pixels, "float", names)
        spec.x, spec.y, spec.full_width, spec.full_height = x0, y0, 40, 30
        spec.attribute("oiio:subimagename", name)
        parts.append((spec, pixels))
        truth[name] = np.zeros((30, 40, len(names)), np.float32)
        truth[name][y0:y1, x0:x1] = pixels
    return save(path, parts), truth


def test_parts_have_names_of_their_own(tmp_path: Path) -> None:
    path, truth = multi_part(tmp_path / "a.exr")
    info = read_info(path)
    assert info.channels == ("R", "G", "B", "Z", "diffuse.R", "diffuse.G", "diffuse.B", "diffuse.A")
    assert [part.name for part in info.parts] == ["beauty", "depth", "diffuse"]
    frame = read_frame(path, ("diffuse.B", "Z", "R", "diffuse.R"))
    expected = [truth["diffuse"][..., 2], truth["depth"][..., 0], truth["beauty"][..., 0], truth["diffuse"][..., 0]]
    assert np.array_equal(frame.pixels, np.stack(expected, axis=-1))
    assert frame.valid == (4, 6, 20, 16)
    assert read_frame(path, RGB).valid == (0, 0, 40, 30)


def test_a_bank_is_written_in_place(tmp_path: Path) -> None:
    pixels = noise(20, 30, 3)
    path = save(tmp_path / "a.exr", [(spec_of(pixels, "half"), pixels)])
    bank = np.full((3, 24, 40, 3), 9, np.float16)
    frame = read_frame(path, RGB, out=bank[1, :20, :30])
    assert frame.pixels.base is bank
    np.testing.assert_allclose(bank[1, :20, :30], pixels, atol=3e-4)
    assert np.all(bank[0] == 9)
    assert np.all(bank[1, 20:] == 9)
    assert np.all(bank[1, :, 30:] == 9)
    with pytest.raises(SequenceError, match=r"a\.exr is 30 x 20 with 3 channels, but the array to fill is 40 x 24"):
        read_frame(path, RGB, out=bank[0])


def test_only_finite_values_are_clamped_for_half(tmp_path: Path) -> None:
    pixels = np.array([[[1e6, -1e6, np.inf], [np.nan, -np.inf, 2.0]]], np.float32)
    path = save(tmp_path / "a.exr", [(spec_of(pixels, "float"), pixels)])
    expected = np.array([[[65504, -65504, np.inf], [np.nan, -np.inf, 2.0]]], np.float16)
    np.testing.assert_array_equal(read_frame(path, RGB, np.float16).pixels, expected)
    np.testing.assert_array_equal(read_frame(path, RGB).pixels, pixels)


def test_a_missing_file_and_what_is_none_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.exr")
    (tmp_path / "null.exr").symlink_to("/dev/null")
    for name, said in {
        "plate.1003.exr": "does not exist",
        ".": "it is a directory",
        "fifo.exr": "it is a FIFO",
        "null.exr": "it is a device",
        "a" * 300: "File name too long",
        "a\0.exr": "embedded null (byte|character in path)",
    }.items():
        for read in (read_info, lambda p: read_frame(p, RGB)):
            with pytest.raises(SequenceError, match=said) as error:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(error.value)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    for name, content in (("a.exr", b""), ("b.exr", b"no image"), ("c.png", b"\x89PNG"), ("d.txt", b"text")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SequenceError, match="cannot be read") as error:
            read_info(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_missing_channel_is_named_with_those_there(tmp_path: Path) -> None:
    path = save(tmp_path / "a.exr", [(spec_of(noise(4, 4, 3), "half"), noise(4, 4, 3))])
    with pytest.raises(SequenceError, match=r"a\.exr has no channel 'A'; it has R, G, B"):
        read_frame(path, ("R", "A"))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "dtype", "compression", "tiled"),
    [
        ("a.exr", "half", "zip", False),
        ("a.exr", "half", "none", False),
        ("a.exr", "half", "dwaa:45", False),
        ("a.exr", "float", "zips", True),
        ("a.tif", "uint16", "", False),
        ("a.png", "uint8", "", False),
        ("a.jpg", "uint8", "", False),
        ("a.dpx", "uint16", "", False),
    ],
)
def test_a_truncated_file_never_gives_pixels(
    tmp_path: Path, name: str, dtype: str, compression: str, tiled: bool, share: float
) -> None:
    pixels = noise(300, 64, 3)
    spec = spec_of(pixels, dtype)
    spec.tile_width = spec.tile_height = 32 if tiled else 0
    if compression:
        spec.attribute("compression", compression)
    path = save(tmp_path / name, [(spec, pixels)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SequenceError, match="cannot be read") as error:
        read_frame(path, RGB)
    assert str(path) in str(error.value)


def test_damaged_pixels_are_an_error(tmp_path: Path) -> None:
    pixels = noise(64, 64, 3)
    path = save(tmp_path / "a.exr", [(spec_of(pixels, "half"), pixels)])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(SequenceError, match="cannot be read"):
        read_frame(path, RGB)


@pytest.mark.parametrize("window", ["displayWindow", "dataWindow"])
def test_a_window_beyond_any_picture_is_refused_before_memory_is_asked_for(tmp_path: Path, window: str) -> None:
    pixels = noise(64, 64, 3)
    path = save(tmp_path / "a.exr", [(spec_of(pixels, "half"), pixels)])
    content = path.read_bytes()
    begin = content.index(window.encode()) + len(window) + len("\0box2i\0") + 4
    path.write_bytes(content[:begin] + struct.pack("<4i", 0, 0, 49999, 49999) + content[begin + 16 :])
    for read in (read_info, lambda p: read_frame(p, RGB)):
        with pytest.raises(SequenceError, match=r"a\.exr (is 50000 x 50000; copycat reads up to|cannot be read)"):
            read(path)


@pytest.mark.parametrize("name", ["a.exr", "f.exr", "a.dpx", "a.tif", "a.png", "a.tga", "a.hdr"])
def test_damaged_files_are_read_or_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    pixels = noise(24, 32, 3)
    dtype = {"exr": "half", "hdr": "float"}.get(name[2:], "uint8")
    spec = spec_of(pixels, "float" if name == "f.exr" else dtype)
    whole = save(tmp_path / name, [(spec, pixels)]).read_bytes()
    random = np.random.default_rng(7)
    for _ in range(60):
        content = bytearray(whole)
        for at in random.integers(0, min(len(whole), 400), random.integers(1, 9)):
            content[at] = random.choice([0, 127, 128, 255])
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(SequenceError):
            info = read_info(tmp_path / name)
            frame = read_frame(info.path, info.channels, overscan=True)
            write_frame(
                tmp_path / f"out.{name}", frame.pixels, info.channels, like=info, passthrough=True, origin=frame.origin
            )


def test_a_message_that_quotes_bytes_of_the_file_is_a_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "a.exr", [(spec_of(noise(8, 8, 3), "half"), noise(8, 8, 3))])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"channels\0chlist", b"channels\xffchlist"))
    with pytest.raises(SequenceError, match=r"a\.exr cannot be read: .*(\\xff|attribute)") as error:
        read_frame(path, RGB)
    assert "\n" not in str(error.value)


def test_a_deep_image_is_refused(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(4, 4, 2, "float")
    spec.channelnames = ("Z", "A")
    spec.deep = True
    deep = oiio.DeepData()
    deep.init(16, 2, ("float", "float"), ("Z", "A"))
    deep.set_samples(0, 1)
    output = oiio.ImageOutput.create(str(tmp_path / "a.exr"))
    assert output.open(str(tmp_path / "a.exr"), spec)
    assert output.write_deep_image(deep)
    output.close()
    with pytest.raises(SequenceError, match="deep image"):
        read_info(tmp_path / "a.exr")


def subsampled_exr(width: int = 4, height: int = 4) -> bytes:
    """An uncompressed EXR file whose channels C have a half of the columns and rows of Y (OpenEXR file layout)."""

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value

    channels = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", 1, 0, step, step)
        for name, step in (("BY", 2), ("RY", 2), ("Y", 1))
    )
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<ii", 20000630, 2) + b"".join(
        (
            attribute("channels", "chlist", channels + b"\0"),
            attribute("compression", "compression", b"\0"),
            attribute("dataWindow", "box2i", box),
            attribute("displayWindow", "box2i", box),
            attribute("lineOrder", "lineOrder", b"\0"),
            attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
            attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            b"\0",
        )
    )
    sizes = [2 * width + (2 * width if y % 2 == 0 else 0) for y in range(height)]
    start = len(header) + 8 * height
    offsets = [start + sum(sizes[:y]) + 8 * y for y in range(height)]
    lines = b"".join(struct.pack("<ii", y, size) + bytes(size) for y, size in enumerate(sizes))
    return header + struct.pack(f"<{height}Q", *offsets) + lines


def test_subsampled_channels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(subsampled_exr())
    if oiio.VERSION < 30100:  # which makes RGB of luminance and chroma
        assert read_info(path).channels == RGB
        return
    with pytest.raises(SequenceError, match="subsampled") as error:
        read_info(path)
    assert str(path) in str(error.value)


def test_the_size_is_described(tmp_path: Path) -> None:
    path = save(tmp_path / "a.exr", [(spec_of(noise(4, 6, 3), "half"), noise(4, 6, 3))])
    assert describe_size(read_info(path)) == f"{path} is 6 x 4"
