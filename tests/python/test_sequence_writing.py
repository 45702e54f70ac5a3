"""What is written to files of every kind, and what is left when it cannot be written.

Over 400 lines: each kind of file, and each way in which writing can fail.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from copycat.sequence import (
    FrameInfo,
    SequenceError,
    Writer,
    check_writable,
    read_frame,
    read_info,
    remove_leftovers,
    write_frame,
)

RGB = ("R", "G", "B")
RGBA = (*RGB, "A")


def noise(height: int, width: int, channels: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def save(path: Path, parts: list[tuple[Any, np.ndarray]]) -> FrameInfo:
    output = oiio.ImageOutput.create(str(path))
    specs = [spec for spec, _ in parts]
    assert output.open(str(path), specs if len(specs) > 1 else specs[0])
    for index, (spec, pixels) in enumerate(parts):
        if index:
            assert output.open(str(path), spec, "AppendSubimage")
        assert output.write_image(pixels)
    assert output.close()
    return read_info(path)


def spec_of(pixels: np.ndarray, dtype: str, names: tuple[str, ...], **attributes: Any) -> Any:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], dtype)
    spec.channelnames = names
    for name, value in attributes.items():
        spec.attribute(name, value)
    return spec


@pytest.mark.parametrize("source", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("name", "dtype", "stored", "tolerance"),
    [
        ("a.exr", None, "half", 3e-4),
        ("a.exr", "float", "float", 0),
        ("a.png", None, "uint8", 0.501 / 255),
        ("a.png", "uint16", "uint16", 0.501 / 65535),
        ("a.tif", None, "uint8", 0.501 / 255),
        ("a.tif", "uint16", "uint16", 0.501 / 65535),
        ("a.tif", "float", "float", 0),
        ("a.tif", "half", "float", 3e-4),
        ("a.dpx", None, "uint16", 0.52 / 1023),
        ("a.dpx", "uint8", "uint8", 0.501 / 255),
        ("a.tga", None, "uint8", 0.501 / 255),
        ("a.bmp", None, "uint8", 0.501 / 255),
    ],
)
def test_every_format_and_depth(
    tmp_path: Path, name: str, dtype: str | None, stored: str, tolerance: float, source: type
) -> None:
    pixels = noise(600, 33, 4).astype(source)
    write_frame(tmp_path / name, pixels, RGBA, dtype=dtype)
    info = read_info(tmp_path / name)
    assert (info.channels, info.dtype, info.width, info.height) == (RGBA, stored, 33, 600)
    np.testing.assert_allclose(read_frame(tmp_path / name, RGBA).pixels, pixels, atol=tolerance + 1e-7)
    assert os.listdir(tmp_path) == [name]


def test_jpeg_is_of_high_quality(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None] * np.ones((1, 64, 3), np.float32)
    write_frame(tmp_path / "a.jpg", ramp, RGB)
    np.testing.assert_allclose(read_frame(tmp_path / "a.jpg", RGB).pixels, ramp, atol=0.02)
    write_frame(tmp_path / "b.jpg", noise(64, 64, 3), RGB, compression="jpeg:30")
    write_frame(tmp_path / "c.jpg", noise(64, 64, 3), RGB)
    assert (tmp_path / "b.jpg").stat().st_size < (tmp_path / "c.jpg").stat().st_size / 2


def test_ten_bit_dpx_keeps_every_level(tmp_path: Path) -> None:
    levels = (np.arange(1023 + 1, dtype=np.float32) / 1023).reshape(32, 32, 1).repeat(3, axis=2)
    write_frame(tmp_path / "a.dpx", levels, RGB)
    info = read_info(tmp_path / "a.dpx")
    assert info.parts[0].spec.get_int_attribute("oiio:BitsPerSample") == 10
    back = read_frame(tmp_path / "a.dpx", RGB).pixels
    write_frame(tmp_path / "b.dpx", back, RGB, like=info)
    assert np.array_equal(read_frame(tmp_path / "b.dpx", RGB).pixels, back)
    assert np.array_equal(np.rint(back * 1023), np.rint(levels * 1023))


def test_integers_are_rounded_and_clamped(tmp_path: Path) -> None:
    pixels = np.array([[[-1, 0.5, 2], [np.nan, np.inf, -np.inf], [0.499 / 255, 0.501 / 255, 1]]], np.float32)
    write_frame(tmp_path / "a.png", pixels, RGB)
    levels = np.rint(read_frame(tmp_path / "a.png", RGB).pixels * 255)
    assert levels.tolist() == [[[0, 128, 255], [0, 255, 0], [0, 1, 255]]]


def test_half_is_clamped_but_keeps_what_is_not_finite(tmp_path: Path) -> None:
    pixels = np.array([[[1e6, -1e6, np.inf], [np.nan, -np.inf, 3]]], np.float32)
    write_frame(tmp_path / "a.exr", pixels, RGB)
    expected = np.array([[[65504, -65504, np.inf], [np.nan, -np.inf, 3]]], np.float32)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.exr", RGB).pixels, expected)


@pytest.mark.parametrize(
    ("old_name", "old", "name", "stored"),
    [
        ("o.exr", "half", "a.exr", "half"),
        ("o.exr", "float", "a.exr", "float"),
        ("o.png", "uint8", "a.exr", "half"),
        ("o.png", "uint16", "a.exr", "half"),
        ("o.png", "uint16", "a.png", "uint16"),
        ("o.png", "uint8", "a.png", "uint8"),
        ("o.tif", "uint16", "a.tif", "uint16"),
        ("o.tif", "uint16", "a.png", "uint16"),
        ("o.tif", "float", "a.tif", "float"),
        ("o.exr", "half", "a.png", "uint8"),
        ("o.exr", "half", "a.tif", "half"),
        ("o.tif", "float", "a.exr", "float"),
    ],
)
def test_the_depth_follows_the_input(tmp_path: Path, old_name: str, old: str, name: str, stored: str) -> None:
    pixels = noise(8, 9, 3)
    like = save(tmp_path / old_name, [(spec_of(pixels, old, RGB), pixels)])
    write_frame(tmp_path / name, pixels, RGB, like=like)
    # OpenImageIO shows the half floats of a TIFF as floats.
    assert read_info(tmp_path / name).dtype == ("float" if name == "a.tif" and stored == "half" else stored)


def test_windows_follow_the_input(tmp_path: Path) -> None:
    old = noise(20, 30, 3)
    spec = spec_of(old, "half", RGB)
    spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = 90, 95, 100, 100, 64, 48
    like = save(tmp_path / "old.exr", [(spec, old)])
    pixels = noise(48, 64, 3, seed=2).astype(np.float16)
    write_frame(tmp_path / "a.exr", pixels, RGB, like=like)
    info = read_info(tmp_path / "a.exr")
    assert info.display_window == (100, 100, 164, 148)
    assert info.data_window == (0, 0, 20, 15)
    frame = read_frame(tmp_path / "a.exr", RGB)
    assert np.array_equal(frame.pixels[:15, :20], pixels[:15, :20])
    assert not frame.pixels[15:].any()
    write_frame(tmp_path / "a.png", pixels, RGB, like=like)
    assert read_info(tmp_path / "a.png").data_window == (0, 0, 64, 48)


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("corner", [(0, 0), (100, -20)])
@pytest.mark.parametrize("window", [(-8, -4, 70, 50), (-8, 20, 30, 60), (10, 5, 30, 25), (40, -300, 80, 10)])
def test_both_windows_are_kept_with_overscan(
    tmp_path: Path, window: tuple[int, int, int, int], corner: tuple[int, int], passthrough: bool
) -> None:
    old = noise(window[3] - window[1], window[2] - window[0], 4)
    spec = spec_of(old, "float", RGBA)
    spec.x, spec.y = window[0] + corner[0], window[1] + corner[1]
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = *corner, 64, 48
    like = save(tmp_path / "old.exr", [(spec, old)])
    frame = read_frame(like.path, RGB, overscan=True)
    with Writer() as writer:
        writer.submit(
            tmp_path / "a.exr", frame.pixels * 2, RGB, like=like, passthrough=passthrough, origin=frame.origin
        )
    info = read_info(tmp_path / "a.exr")
    assert (info.data_window, info.display_window) == (window, like.display_window)
    names = RGBA if passthrough else RGB
    expected = read_frame(like.path, names, overscan=True).pixels * np.float32([2, 2, 2, 1][: len(names)])
    assert np.array_equal(read_frame(info.path, names, overscan=True).pixels, expected)
    write_frame(tmp_path / "a.tif", frame.pixels, RGB, like=like, passthrough=passthrough, origin=frame.origin)
    assert np.array_equal(read_frame(tmp_path / "a.tif", RGB).pixels, read_frame(like.path, RGB).pixels)
    for wrong in ((1, 0), (0, 0) if frame.origin != (0, 0) else (-1, -1)):
        with pytest.raises(SequenceError, match="would be"):
            write_frame(tmp_path / "b.exr", frame.pixels, RGB, like=like, origin=wrong)


def test_passthrough_copies_all_that_the_model_does_not_write(tmp_path: Path) -> None:
    names = ("R", "G", "B", "A", "Z", "id")
    old = noise(620, 30, 6).astype(np.float16).astype(np.float32)
    old[..., 4] = 1e5 + np.arange(30)
    spec = spec_of(old, "float", names)
    spec.channelformats = ("half", "half", "half", "half", "float", "float")
    spec.x, spec.y, spec.full_width, spec.full_height = -5, -7, 20, 600
    like = save(tmp_path / "old.exr", [(spec, old)])
    pixels = noise(600, 20, 3, seed=2).astype(np.float16).astype(np.float32)
    write_frame(tmp_path / "a.exr", pixels, RGB, like=like, passthrough=True)
    info = read_info(tmp_path / "a.exr")
    assert info.data_window == like.data_window == (-5, -7, 25, 613)
    assert set(info.channels) == set(names)
    new = info.parts[0].spec
    formats = {name: str(new.channelformats[new.channelnames.index(name)]) for name in names}
    assert formats == {"R": "half", "G": "half", "B": "half", "A": "half", "Z": "float", "id": "float"}
    source = oiio.ImageInput.open(str(tmp_path / "a.exr"))
    everything = source.read_image("float")[..., [new.channelnames.index(name) for name in names]]
    expected = old.copy()
    expected[7:607, 5:25, :3] = pixels
    assert np.array_equal(everything, expected)


def test_passthrough_keeps_32_bit_ids_or_says_that_it_cannot(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2**32, (8, 9, 1), np.uint32)
    ids[0, :2, 0] = 2**32 - 1, 2**24 + 1
    pixels = noise(8, 9, 3)
    id_spec = spec_of(ids, "uint", ("id",), **{"oiio:subimagename": "ids"})
    like = save(tmp_path / "old.exr", [(spec_of(pixels, "half", RGB), pixels), (id_spec, ids)])
    write_frame(tmp_path / "a.exr", pixels, RGB, like=like, passthrough=True)
    source = oiio.ImageInput.open(str(tmp_path / "a.exr"))
    assert np.array_equal(source.read_image(1, 0, 0, 1, "uint"), ids)
    only_ids = save(tmp_path / "ids.exr", [(spec_of(ids, "uint", ("id",)), ids)])
    with pytest.raises(SequenceError, match=r"32 bit integers \(id\) cannot be copied beside other channels"):
        write_frame(tmp_path / "b.exr", pixels, RGB, like=only_ids, passthrough=True)
    assert not (tmp_path / "b.exr").exists()


def test_passthrough_keeps_parts(tmp_path: Path) -> None:
    parts = []
    for name, names, dtype in (("beauty", RGB, "half"), ("depth", ("Z",), "float"), ("diffuse", RGB, "half")):
        pixels = noise(30, 40, len(names), seed=len(name)).astype(np.float16).astype(np.float32)
        parts.append((spec_of(pixels, dtype, names, **{"oiio:subimagename": name, "view": "left"}), pixels))
    like = save(tmp_path / "old.exr", parts)
    pixels = noise(30, 40, 4, seed=9).astype(np.float16).astype(np.float32)
    names = ("R", "G", "diffuse.B", "matte")
    write_frame(tmp_path / "a.exr", pixels, names, like=like, passthrough=True)
    info = read_info(tmp_path / "a.exr")
    assert [part.name for part in info.parts] == ["beauty", "depth", "diffuse"]
    assert [part.dtype for part in info.parts] == ["half", "float", "half"]
    assert set(info.channels) == {*like.channels, "matte"}
    old = {name: read_frame(like.path, [name]).pixels for name in like.channels}
    for name in info.channels:
        expected = pixels[..., names.index(name), None] if name in names else old[name]
        assert np.array_equal(read_frame(info.path, [name]).pixels, expected), name


def test_passthrough_keeps_alpha_of_other_formats(tmp_path: Path) -> None:
    old = np.rint(noise(8, 9, 4) * 255) / np.float32(255)
    spec = spec_of(old, "uint8", RGBA, **{"oiio:UnassociatedAlpha": 1})
    like = save(tmp_path / "old.png", [(spec, old)])
    write_frame(tmp_path / "a.png", old[..., :3] / 2, RGB, like=like, passthrough=True)
    frame = read_frame(tmp_path / "a.png", RGBA)
    np.testing.assert_allclose(frame.pixels[..., 3], old[..., 3], atol=1e-6)
    np.testing.assert_allclose(frame.pixels[..., :3], old[..., :3] / 2, atol=0.51 / 255)


@pytest.mark.parametrize(("name", "kept"), [("a.png", RGBA), ("a.tif", RGBA), ("a.dpx", RGBA), ("a.jpg", RGB)])
def test_passthrough_to_another_format_keeps_alpha_at_best(tmp_path: Path, name: str, kept: tuple[str, ...]) -> None:
    old = noise(8, 9, 6)
    like = save(tmp_path / "old.exr", [(spec_of(old, "half", (*RGBA, "Z", "id.X")), old)])
    write_frame(tmp_path / name, old[..., :3], RGB, like=like, passthrough=True)
    assert read_info(tmp_path / name).channels == kept
    if "A" in kept:
        np.testing.assert_allclose(read_frame(tmp_path / name, ["A"]).pixels, old[..., 3:4], atol=0.003)


@pytest.mark.parametrize(("dtype", "stored"), [("uint8", "half"), ("uint16", "half"), ("float", "float")])
def test_passthrough_from_another_format_to_exr(tmp_path: Path, dtype: str, stored: str) -> None:
    old = noise(8, 9, 4)
    spec = spec_of(old, dtype, RGBA, **{"oiio:UnassociatedAlpha": 1})
    like = save(tmp_path / "old.tif", [(spec, old)])
    write_frame(tmp_path / "a.exr", old[..., :3] * 2, RGB, like=like, passthrough=True)
    info = read_info(tmp_path / "a.exr")
    assert (info.channels, info.dtype) == (RGBA, stored)
    np.testing.assert_allclose(read_frame(info.path, RGBA).pixels, old * np.float32([2, 2, 2, 1]), atol=3e-3)


def test_metadata_are_kept_unless_they_would_be_false(tmp_path: Path) -> None:
    old = noise(8, 9, 3)
    spec = spec_of(
        old, "half", RGB, compression="piz", PixelAspectRatio=2.0, owner="someone", shot="ab010", Software="x"
    )
    spec.attribute("oiio:SHA-1", "0123")
    spec.attribute("nuke/node_hash", "4567")
    spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (0x01020304, 0))
    like = save(tmp_path / "old.exr", [(spec, old)])
    write_frame(tmp_path / "a.exr", old, RGB, like=like)
    new = read_info(tmp_path / "a.exr").parts[0].spec
    kept = {attribute.name: attribute.value for attribute in new.extra_attribs}
    assert kept["compression"] == "piz"
    assert kept["PixelAspectRatio"] == 2.0
    assert kept["shot"] == "ab010"
    assert kept["smpte:TimeCode"] == (0x01020304, 0)
    assert kept["Software"].startswith("copycat")
    assert not {"owner", "oiio:SHA-1", "nuke/node_hash"} & set(kept)
    write_frame(tmp_path / "b.tif", old, RGB, like=like)
    assert read_info(tmp_path / "b.tif").parts[0].spec.get_string_attribute("compression") == "zip"


def test_exr_compression_can_be_chosen(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.exr", noise(8, 9, 3), RGB, compression="dwaa:45")
    assert read_info(tmp_path / "a.exr").parts[0].spec.get_string_attribute("compression") == "dwaa"
    with pytest.raises(SequenceError, match=r"compression 'lzma'; EXR has none, rle, zip"):
        write_frame(tmp_path / "a.exr", noise(8, 9, 3), RGB, compression="lzma")


def test_a_frame_can_replace_its_own_input(tmp_path: Path) -> None:
    old = noise(300, 9, 4)
    like = save(tmp_path / "a.exr", [(spec_of(old, "float", RGBA), old)])
    write_frame(tmp_path / "a.exr", old[..., :3] * 2, RGB, like=like, passthrough=True)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.exr", RGBA).pixels, old * np.float32([2, 2, 2, 1]))


def test_directories_are_made(tmp_path: Path) -> None:
    write_frame(tmp_path / "x" / "y" / "a.exr", noise(4, 4, 3), RGB)
    assert os.listdir(tmp_path / "x" / "y") == ["a.exr"]


@pytest.mark.parametrize(
    ("name", "shape", "channels", "options", "message"),
    [
        ("a.xyz", (4, 4, 3), RGB, {}, r"a\.xyz cannot be written: \.xyz is no image format"),
        ("a", (4, 4, 3), RGB, {}, "no extension is no image format"),
        ("a.exr", (4, 4, 3), RGBA, {}, r"shape \(4, 4, 3\) do not hold the channels R, G, B, A"),
        ("a.exr", (4, 4, 3), RGB, {"dtype": "uint8"}, "cannot hold 'uint8'; openexr files hold half, float"),
        ("a.png", (4, 4, 3), RGB, {"dtype": "half"}, "cannot hold 'half'; png files hold uint8, uint16"),
        ("a.jpg", (4, 4, 4), RGBA, {}, r"a\.jpg cannot hold R, G, B, A; jpeg files hold 3 channels at most"),
        (
            "a.png",
            (4, 4, 5),
            (*RGBA, "Z"),
            {},
            r"a\.png cannot hold R, G, B, A, Z; png files hold 4 channels at most",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path,
    name: str,
    shape: tuple[int, int, int],
    channels: tuple[str, ...],
    options: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(SequenceError, match=message):
        write_frame(tmp_path / name, np.zeros(shape, np.float32), channels, dtype=options.get("dtype"))
    assert os.listdir(tmp_path) == []


def test_another_size_than_the_input_is_refused(tmp_path: Path) -> None:
    like = save(tmp_path / "old.exr", [(spec_of(noise(4, 6, 3), "half", RGB), noise(4, 6, 3))])
    with pytest.raises(SequenceError, match=r"a\.exr would be 5 x 4, but .*old\.exr is 6 x 4"):
        write_frame(tmp_path / "a.exr", noise(4, 5, 3), RGB, like=like)


def test_a_vanished_or_truncated_input_leaves_no_file(tmp_path: Path) -> None:
    old = noise(64, 64, 4)
    like = save(tmp_path / "old.exr", [(spec_of(old, "half", RGBA), old)])
    content = like.path.read_bytes()
    like.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SequenceError, match=r"old\.exr cannot be read"):
        write_frame(tmp_path / "a.exr", old[..., :3], RGB, like=like, passthrough=True)
    like.path.unlink()
    with pytest.raises(SequenceError, match=r"old\.exr does not exist"):
        write_frame(tmp_path / "a.exr", old[..., :3], RGB, like=like, passthrough=True)
    assert os.listdir(tmp_path) == []


def test_names_that_no_file_can_have_are_refused_before_pixels_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.exr")
    (tmp_path / "folder.exr").mkdir()
    for name, reason in {
        "a" * 252 + ".exr": "File name too long",
        "b" * 300 + "/a.exr": "File name too long",
        "a\0.exr": r"(\w+: )?embedded null (byte|character in path)",
        "fifo.exr": "a FIFO or device has this name",
        "folder.exr": "a directory has this name",
    }.items():
        with pytest.raises(SequenceError, match=f"cannot be written: {reason}$"):
            check_writable([tmp_path / "fine.exr", tmp_path / name])
        with pytest.raises(SequenceError, match=f"cannot be written: {reason}$"):
            write_frame(tmp_path / name, noise(4, 4, 3), RGB)
    longest = "a" * 251 + ".exr"
    check_writable([tmp_path / longest])
    write_frame(tmp_path / longest, noise(4, 4, 3), RGB)
    assert sorted(os.listdir(tmp_path)) == [longest, "fifo.exr", "folder.exr"]


@pytest.mark.parametrize("name", ["\udcff/\udcfe.0001.exr", "\udcff/a.png", "\udcfe.tif", "\udcfe.jpg", "caf\xe9.exr"])
def test_names_that_are_not_utf_8_are_names_like_others(tmp_path: Path, name: str) -> None:
    pixels = np.ones((8, 9, 4), np.float32) * np.float32([0.2, 0.4, 0.6, 0.8])
    spec = spec_of(pixels, "half", RGBA)
    like = save(tmp_path / "old.exr", [(spec, pixels)])
    like.path.rename(tmp_path / "old\udcff.exr")
    like = read_info(tmp_path / "old\udcff.exr")
    write_frame(tmp_path / name, pixels[..., :3], RGB, like=like, passthrough=True)
    frame = read_frame(tmp_path / name, RGB)
    np.testing.assert_allclose(frame.pixels, pixels[..., :3], atol=0.02 if name.endswith("jpg") else 3e-4)
    with pytest.raises(SequenceError, match="has no channel 'Z'") as error:
        read_frame(tmp_path / name, ["Z"])
    str(error.value).encode()


KILLED = """
import os, signal, sys
import numpy as np
from copycat.sequence import writing
writing._write = lambda *_: (print(flush=True), os.kill(os.getpid(), int(sys.argv[2])))
writing.write_frame(sys.argv[1], np.zeros((8, 8, 3), np.float32), ("R", "G", "B"))
"""


@pytest.mark.parametrize("write", ["frame", "writer", "remove_leftovers"])
def test_the_next_write_removes_what_a_killed_one_left_but_not_what_a_living_one_has(
    tmp_path: Path, write: str
) -> None:
    def start(number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "a.exr"), str(number)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout:
            process.stdout.readline()
        return process

    living = start(signal.SIGSTOP)
    try:
        (kept,) = os.listdir(tmp_path)
        start(signal.SIGKILL).wait()
        assert len(os.listdir(tmp_path)) == 2
        (tmp_path / ".copycat-notes.exr").touch()
        if write == "frame":
            write_frame(tmp_path / "b.exr", noise(4, 4, 3), RGB)
        elif write == "writer":
            with Writer() as writer:
                writer.submit(tmp_path / "b.exr", noise(4, 4, 3), RGB)
        else:
            remove_leftovers(tmp_path)
        assert {*os.listdir(tmp_path)} - {"b.exr"} == {kept, ".copycat-notes.exr"}
    finally:
        living.kill()
        living.wait()
    remove_leftovers(tmp_path)
    assert kept not in os.listdir(tmp_path)


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SequenceError, match=r"a\.exr cannot be written: (Not a directory|File exists)"):
        write_frame(tmp_path / "file" / "a.exr", noise(4, 4, 3), RGB)


def test_a_read_only_directory_is_named() -> None:
    me = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        try:
            if me == 0:  # whom no permission stops
                os.seteuid(65534)
            with pytest.raises(SequenceError, match=r"a\.exr cannot be written: Permission denied"):
                write_frame(f"{folder}/a.exr", noise(4, 4, 3), RGB)
        finally:
            os.seteuid(me)
        assert os.listdir(folder) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond ``size`` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 300, 5000, 100_000])
@pytest.mark.parametrize("passthrough", [False, True])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, size: int, passthrough: bool) -> None:
    pixels = noise(200, 200, 4)
    like = save(tmp_path / "old.exr", [(spec_of(pixels, "half", RGBA), pixels)])
    (tmp_path / "a.exr").write_text("old")
    with largest_file(size), pytest.raises(SequenceError, match=r"a\.exr cannot be written: File too large$"):
        write_frame(tmp_path / "a.exr", pixels[..., :3], RGB, like=like, passthrough=passthrough)
    assert (tmp_path / "a.exr").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a.exr", "old.exr"]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.dpx", "a.bmp", "a.exr"])
def test_an_error_of_the_disk_is_said_for_every_format(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SequenceError, match="cannot be written: No space left on device"):
        write_frame(tmp_path / name, noise(20, 20, 3), RGB)
    assert os.listdir(tmp_path) == []
