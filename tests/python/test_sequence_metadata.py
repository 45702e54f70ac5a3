"""What of every kind of file comes back in a file that is made from it: pixels, types, windows and each attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from copycat.sequence import FrameInfo, SequenceError, read_frame, read_info, write_frame

RGB = ("R", "G", "B")
RGBA = (*RGB, "A")
ACES = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
# What tells how a file is stored, or that it was written; all else must be equal.
STORED = {
    *("openexr:lineOrder", "openexr:chunkCount", "openexr:levelmode", "openexr:roundingmode", "oiio:RowsPerChunk"),
    *("tiff:RowsPerStrip", "tiff:PlanarConfiguration", "planarconfig", "tiff:Compression", "textureformat"),
    *("dpx:Packing", "dpx:EncryptKey", "dpx:Version", "jpeg:subsampling", "Software", "HostComputer", "oiio:SHA-1"),
    *("oiio:AverageColor", "oiio:subimages", "png:compressionLevel", "targa:version", "DateTime"),
}


def noise(height: int, width: int, channels: int, seed: int = 1) -> np.ndarray:
    return (
        np.random.default_rng(seed).random((height, width, channels), np.float32).astype(np.float16).astype(np.float32)
    )


def spec_of(pixels: np.ndarray, dtype: str, names: tuple[str, ...], tile: int = 0, **attributes: Any) -> Any:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], dtype)
    spec.channelnames = names
    spec.tile_width = spec.tile_height = tile
    for name, value in attributes.items():
        typed = isinstance(value, tuple) and isinstance(value[0], str)
        spec.attribute(name, *((oiio.TypeDesc(value[0]), value[1]) if typed else (value,)))
    return spec


def save(path: Path, *parts: tuple[Any, np.ndarray]) -> FrameInfo:
    output = oiio.ImageOutput.create(str(path))
    specs = [spec for spec, _ in parts]
    assert output.open(str(path), specs if len(specs) > 1 else specs[0]), output.geterror()
    for index, (spec, pixels) in enumerate(parts):
        if index:
            assert output.open(str(path), spec, "AppendSubimage")
        backwards = spec.get_string_attribute("openexr:lineOrder") == "decreasingY" and not spec.tile_width
        if backwards:
            for y in reversed(range(pixels.shape[0])):
                assert output.write_scanline(spec.y + y, spec.z, pixels[y])
        else:
            assert output.write_image(pixels), output.geterror()
    assert output.close()
    return read_info(path)


def attributes(spec: Any) -> dict[str, Any]:
    return {a.name: str(a.value) for a in spec.extra_attribs if a.name not in STORED}


def assert_comes_back(like: FrameInfo, channels: tuple[str, ...], tolerance: float = 0) -> None:
    """Writes what was read; pixels, types, windows, channels and attributes must be the old file's."""
    old = read_frame(like.path, channels)
    new_path = like.path.with_name(f"new{like.path.suffix}")
    write_frame(new_path, old.pixels, channels, like=like, passthrough=True)
    new = read_frame(new_path, channels)
    np.testing.assert_allclose(new.pixels, old.pixels, atol=tolerance)
    assert (new.info.display_window, new.info.channels) == (like.display_window, like.channels)
    for before, after in zip(like.parts, new.info.parts, strict=True):
        assert (after.data_window, after.dtype) == (before.data_window, before.dtype)
        assert sorted(map(str, after.spec.channelformats)) == sorted(map(str, before.spec.channelformats))
        added = {name for name in attributes(after.spec) if like.format == "jpeg" and name.startswith("Exif:")}
        assert {k: v for k, v in attributes(after.spec).items() if k not in added} == attributes(before.spec)
        assert after.spec.tile_width == 0
    order = [part.spec.get_string_attribute("openexr:lineOrder") for part in new.info.parts]
    assert order == ["increasingY" if like.format == "openexr" else ""] * len(order)
    others = [name for name in like.channels if name not in channels]
    if others and tolerance == 0:
        np.testing.assert_array_equal(read_frame(new_path, others).pixels, read_frame(like.path, others).pixels)


EXR = {
    "shot": "ab010",
    "cryptomatte/3ae39a5/name": "CryptoObject",
    "cryptomatte/3ae39a5/hash": "MurmurHash3_32",
    "cryptomatte/3ae39a5/conversion": "uint32_to_float32",
    "cryptomatte/3ae39a5/manifest": '{"a":"1"}',
    "owner/sha1_of_tile_thumbnail": "is mine",
    "chunkCount": "a name like others",
    "tileset": 7,
    "lineOrder": "mine",
    "hashes": ("string[2]", ("a", "b")),
    "smpte:TimeCode": ("timecode", (0x01020304, 5)),
    "smpte:KeyCode": ("keycode", (1, 2, 3, 4, 5, 6, 64)),
    "FramesPerSecond": ("rational", (24000, 1001)),
    "worldToCamera": ("matrix", tuple(map(float, range(16)))),
    "PixelAspectRatio": 2.0,
    "screenWindowWidth": 1.5,
    "Copyright": "someone",
    "capture": ("float[5]", (1.0, 2.0, 3.0, 4.0, 5.0)),
    "chromaticities": ("float[8]", ACES),
    "oiio:AverageColor": "0.5,0.5,0.5",
    "HostComputer": "farm17",
    "view": "left",
}


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("order", ["increasingY", "decreasingY", "randomY"])
@pytest.mark.parametrize(
    "compression", ["none", "rle", "zip", "zips", "piz", "pxr24", "b44", "b44a", "dwaa:60", "dwab:30"]
)
def test_exr_of_every_storage(tmp_path: Path, tile: int, order: str, compression: str) -> None:
    if order == "randomY" and not tile:
        order = "increasingY"
    ramp = np.linspace(0, 1, 600 * 70, dtype=np.float32).reshape(600, 70, 1) * np.ones(4, np.float32)
    ramp = ramp.astype(np.float16).astype(np.float32)
    spec = spec_of(ramp, "half", RGBA, tile, **{**EXR, "compression": compression, "openexr:lineOrder": order})
    spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = 95, 190, 100, 200, 60, 560
    like = save(tmp_path / "old.exr", (spec, ramp))
    assert like.data_window == (-5, -10, 65, 590)
    lossy = compression[:3] in ("b44", "dwa")
    assert_comes_back(like, RGB, tolerance=0.02 if lossy else 0)


@pytest.mark.parametrize("forms", ["half", "float", "half half half float", "half float half float", "float uint"])
def test_exr_of_every_channel_type(tmp_path: Path, forms: str) -> None:
    kinds = tuple(forms.split())
    names = (*RGB, "Z")[: max(3, len(kinds))] if kinds[-1] != "uint" else RGB
    old = noise(300, 40, len(names))
    spec = spec_of(old, kinds[0], names, **EXR)
    if len(kinds) == len(names):
        spec.channelformats = kinds
    if kinds[-1] != "uint":
        assert_comes_back(save(tmp_path / "old.exr", (spec, old)), RGB)
        return
    ids = np.random.default_rng(1).integers(0, 2**32, (300, 40, 1), np.uint32)
    id_spec = spec_of(ids, "uint", ("id",), **EXR, **{"oiio:subimagename": "ids"})
    spec.attribute("oiio:subimagename", "rgb")
    assert_comes_back(save(tmp_path / "old.exr", (spec, old), (id_spec, ids)), RGB)
    source = oiio.ImageInput.open(str(tmp_path / "new.exr"))
    assert np.array_equal(source.read_image(1, 0, 0, 1, "uint"), ids)


def test_exr_of_many_parts(tmp_path: Path) -> None:
    parts = []
    for index, (name, names, order) in enumerate(
        [("rgba", RGBA, "decreasingY"), ("depth", ("Z",), "increasingY"), ("diffuse", RGB, "decreasingY")]
    ):
        pixels = noise(300, 40, len(names), seed=index)
        own = {"oiio:subimagename": name, "openexr:lineOrder": order, "compression": ("piz", "zips", "none")[index]}
        spec = spec_of(pixels, ("half", "float", "half")[index], names, **{**EXR, **own})
        spec.x, spec.full_width = 5 * index, 60
        parts.append((spec, pixels))
    like = save(tmp_path / "old.exr", *parts)
    assert_comes_back(like, ("R", "G", "B", "diffuse.R"))
    alone = tmp_path / "alone.exr"
    write_frame(alone, noise(300, 60, 3), ("diffuse.R", "diffuse.G", "diffuse.B"), like=like)
    assert read_info(alone).parts[0].name == ""
    assert attributes(read_info(alone).parts[0].spec)["shot"] == "ab010"


DPX = {
    "dpx:Transfer": "Printing density",
    "dpx:FrameRate": 24.0,
    "dpx:InputDevice": "scanner",
    "smpte:TimeCode": ("timecode", (0x01020304, 5)),
    "Copyright": "someone",
    "DocumentName": "project",
    "PixelAspectRatio": 2.0,
    "dpx:UserBits": 7,
}


@pytest.mark.parametrize("names", [RGB, RGBA, ("Y",)])
@pytest.mark.parametrize("packing", ["Packed", "Filled, method A", "Filled, method B"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_dpx_of_every_depth(tmp_path: Path, bits: int, packing: str, names: tuple[str, ...]) -> None:
    levels = (1 << bits) - 1
    old = np.rint(noise(37, 41, len(names)) * levels) / np.float32(levels)
    own = {"oiio:BitsPerSample": bits, "dpx:Packing": packing}
    spec = spec_of(old, "uint8" if bits == 8 else "uint16", names, **{**DPX, **own})
    like = save(tmp_path / "old.dpx", (spec, old))
    assert_comes_back(like, like.channels)
    assert read_info(tmp_path / "new.dpx").parts[0].spec.get_int_attribute("oiio:BitsPerSample") == bits


TIFF = {
    "ImageDescription": "words",
    "Artist": "someone",
    "DocumentName": "project",
    "XResolution": 72.0,
    "YResolution": 36.0,
    "Orientation": 3,
    "IPTC:City": "Berlin",
    "Exif:ExposureTime": 0.5,
}


@pytest.mark.parametrize("names", [RGB, RGBA, ("Y",)])
@pytest.mark.parametrize("associated", [0, 1])
@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("compression", ["none", "lzw", "zip", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float"])
def test_tiff_of_every_storage(
    tmp_path: Path, dtype: str, compression: str, tile: int, associated: int, names: tuple[str, ...]
) -> None:
    levels = {"uint8": 255, "uint16": 65535}.get(dtype)
    old = noise(70, 41, len(names))
    old = np.rint(old * levels) / np.float32(levels) if levels else old
    own = {"compression": compression, "planarconfig": "separate" if tile else "contig"}
    spec = spec_of(old, dtype, names, tile, **{**TIFF, **own, "oiio:UnassociatedAlpha": 1 - associated})
    assert_comes_back(save(tmp_path / "old.tif", (spec, old)), names)


@pytest.mark.parametrize("names", [RGB, RGBA, ("Y",), ("Y", "A")])
@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 255), ("uint16", 65535)])
def test_png_of_every_depth(tmp_path: Path, dtype: str, levels: int, names: tuple[str, ...]) -> None:
    old = np.rint(noise(37, 41, len(names)) * levels) / np.float32(levels)
    own = {"shot": "ab010", "ImageDescription": "words", "XResolution": 72.0, "oiio:UnassociatedAlpha": 1}
    assert_comes_back(save(tmp_path / "old.png", (spec_of(old, dtype, names, **own), old)), names)


@pytest.mark.parametrize("name", ["old.jpg", "old.tga", "old.hdr", "old.bmp"])
def test_other_formats(tmp_path: Path, name: str) -> None:
    old = np.full((32, 48, 3), 0.25, np.float32)
    spec = spec_of(old, "float" if name.endswith("hdr") else "uint8", RGB, compression="rle")
    assert_comes_back(save(tmp_path / name, (spec, old)), RGB, tolerance=0.01)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(f"old.{e}", "uint16") for e in ("sgi", "ppm", "jp2", "jxl", "rla")]
    + [("old.pfm", "float"), ("old.tif", "int16")],
)
def test_no_format_loses_depth(tmp_path: Path, name: str, dtype: str) -> None:
    formats = dict(row.split(":") for row in oiio.get_string_attribute("extension_list").split(";"))
    if not any(name.rpartition(".")[2] in extensions.split(",") for extensions in formats.values()):
        pytest.skip("this OpenImageIO was built without the format")
    old = np.rint(noise(32, 48, 3) * 32767) / np.float32(32767)
    like = save(tmp_path / name, (spec_of(old, dtype, RGB), old))
    pixels = read_frame(like.path, RGB).pixels
    write_frame(tmp_path / f"new{like.path.suffix}", pixels, RGB, like=like)
    new = read_frame(tmp_path / f"new{like.path.suffix}", RGB)
    assert new.info.dtype == {"int16": "uint16"}.get(dtype, dtype)
    np.testing.assert_allclose(new.pixels, pixels, atol=1.6e-5)  # one of 65535


def written(tmp_path: Path, like: FrameInfo, channels: tuple[str, ...], **options: Any) -> dict[str, Any]:
    pixels = noise(like.height, like.width, len(channels))
    suffix = options.pop("suffix", like.path.suffix)
    write_frame(tmp_path / f"made{suffix}", pixels, channels, like=like, **options)
    info = read_info(tmp_path / f"made{suffix}")
    tolerance = 1 / 255 if info.dtype == "uint8" else 1e-3
    np.testing.assert_allclose(read_frame(info.path, channels).pixels, pixels, atol=tolerance)
    return {attribute.name: attribute.value for attribute in info.parts[0].spec.extra_attribs}


@pytest.mark.parametrize(
    ("channels", "options", "kept"),
    [
        (RGB, {}, True),
        (RGBA, {}, True),
        (("A",), {}, False),
        (("matte.A",), {}, False),
        (("R",), {}, False),
        ((*RGB, "Z"), {}, False),
        (RGB, {"dtype": "float"}, False),
        (RGB, {"compression": "zip"}, False),
        (("A",), {"passthrough": True}, True),
        (("matte",), {"passthrough": True}, False),
    ],
)
def test_the_flag_of_an_aces_container_stays_where_the_file_is_one(
    tmp_path: Path, channels: tuple[str, ...], options: dict[str, Any], kept: bool
) -> None:
    old = noise(20, 30, 4)
    own = {"acesImageContainerFlag": 1, "compression": "none", "chromaticities": ("float[8]", ACES)}
    like = save(tmp_path / "old.exr", (spec_of(old, "half", RGBA, **own), old))
    assert attributes(like.parts[0].spec)["acesImageContainerFlag"] == "1"
    copy = written(tmp_path, like, channels, **options)
    assert ("acesImageContainerFlag" in copy) == kept
    assert ("chromaticities" in copy) == (len(channels) > 1 or "passthrough" in options)


def test_manifests_and_views_go_with_their_channels(tmp_path: Path) -> None:
    names = (*RGB, "CryptoObject00.R", "CryptoObject00.G", "right.R", "right.G", "right.B")
    old = noise(20, 30, len(names))
    views = {"multiView": ("string[2]", ("left", "right"))}
    like = save(tmp_path / "old.exr", (spec_of(old, "float", names, **EXR, **views), old))
    copy = written(tmp_path, like, RGB)
    assert copy["cryptomatte/3ae39a5/hash"] == "MurmurHash3_32"
    assert not {"cryptomatte/3ae39a5/manifest", "multiView"} & copy.keys()
    copy = written(tmp_path, like, ("right.R", "right.G", "right.B"))
    assert copy["multiView"] == ("left", "right")
    copy = written(tmp_path, like, RGB, passthrough=True)
    assert (copy["cryptomatte/3ae39a5/manifest"], copy["multiView"]) == ('{"a":"1"}', ("left", "right"))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".dpx", ".jpg", ".exr"])
@pytest.mark.parametrize("old_name", ["old.exr", "old.dpx", "old.tif", "old.png"])
def test_between_formats_what_both_know_is_kept(tmp_path: Path, old_name: str, suffix: str) -> None:
    old = np.full((20, 30, 3), 0.25, np.float32)
    own = {"Copyright": "someone", "PixelAspectRatio": 2.0, "compression": "lzw" if "tif" in old_name else "zip"}
    like = save(tmp_path / old_name, (spec_of(old, "half" if "exr" in old_name else "uint16", RGB, **own), old))
    pixels = np.full((20, 30, 3), 0.25, np.float32)
    write_frame(tmp_path / f"made{suffix}", pixels, RGB, like=like)
    info = read_info(tmp_path / f"made{suffix}")
    np.testing.assert_allclose(read_frame(info.path, RGB).pixels, pixels, atol=0.01)
    kept = attributes(info.parts[0].spec)
    if suffix != ".jpg" and like.parts[0].spec.get_string_attribute("Copyright"):
        assert kept.get("Copyright") == "someone"
    foreign = ("tiff:", "dpx:", "png:", "openexr:")
    own_prefix = {".tif": "tiff:", ".dpx": "dpx:", ".exr": "openexr:"}.get(suffix, "none")
    assert not [name for name in kept if name.startswith(foreign) and not name.startswith(own_prefix)]


def openimageio_hands_over_utf_8_only() -> bool:
    return bool(oiio.VERSION < 30200)


def test_bytes_that_are_not_utf_8_are_kept_in_values_and_named_in_channels(tmp_path: Path) -> None:
    old = noise(20, 30, 4)
    save(tmp_path / "old.exr", (spec_of(old, "half", (*RGB, "W"), shot="caf1"), old))
    content = (tmp_path / "old.exr").read_bytes()
    (tmp_path / "old.exr").write_bytes(content.replace(b"caf1", b"caf\xe9").replace(b"\0W\0", b"\0\xe9\0"))
    if openimageio_hands_over_utf_8_only():
        with pytest.raises(SequenceError, match=r"old\.exr cannot be read: b'\\xe9' in its header is not UTF-8"):
            read_info(tmp_path / "old.exr")
        return
    like = read_info(tmp_path / "old.exr")
    assert written(tmp_path, like, RGB)["shot"] == "caf\udce9"
    with pytest.raises(SequenceError, match=r"new\.exr cannot be written: the channel name '\\udce9' is not UTF-8"):
        write_frame(tmp_path / "new.exr", old[..., :3], RGB, like=like, passthrough=True)
    with pytest.raises(SequenceError, match=r"the channel name 'a\\udcff' is not UTF-8"):
        write_frame(tmp_path / "new.exr", old[..., :1], ("a\udcff",))
    np.testing.assert_array_equal(read_frame(like.path, ["\udce9"]).pixels, old[..., 3:])
