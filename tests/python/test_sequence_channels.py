"""Channels by name, layer and short form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from copycat.sequence import (
    FrameInfo,
    SequenceError,
    colour_layers,
    read_frame,
    read_info,
    resolve_channels,
    write_frame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = ("R", "G", "B", "A", "depth.Z", "diffuse.B", "diffuse.G", "diffuse.R", "N.Z", "N.X", "N.Y", "left.spec.red",
        "left.spec.green", "left.spec.blue", "crypto00.a", "crypto00.b", "mask")  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "channels"),
    [
        ("rgb", "R,G,B"),
        ("RGB", "R,G,B"),
        ("rgba", "R,G,B,A"),
        ("alpha", "A"),
        ("a", "A"),
        ("B, G ,R", "B,G,R"),
        ("rgb,depth.Z", "R,G,B,depth.Z"),
        ("depth", "depth.Z"),
        ("diffuse", "diffuse.R,diffuse.G,diffuse.B"),
        ("diffuse.rgb", "diffuse.R,diffuse.G,diffuse.B"),
        ("Diffuse.RGB", "diffuse.R,diffuse.G,diffuse.B"),
        ("N", "N.X,N.Y,N.Z"),
        ("left.spec", "left.spec.red,left.spec.green,left.spec.blue"),
        ("left.spec.rgb", "left.spec.red,left.spec.green,left.spec.blue"),
        ("mask,alpha", "mask,A"),
        ("DEPTH.z", "depth.Z"),
    ],
)
def test_names_layers_and_short_forms(spec: str, channels: str) -> None:
    assert ",".join(resolve_channels(spec, FILE)) == channels


def test_case_tells_channels_apart_where_it_must() -> None:
    assert resolve_channels("r,R", ["R", "r"]) == ("r", "R")
    assert resolve_channels("rgb", ["r", "g", "b"]) == ("r", "g", "b")


def test_layers_of_colour_are_complete_and_found_by_name() -> None:
    assert colour_layers(("R", "G", "B")) == ((0, 1, 2),)
    assert colour_layers(("A", "b", "g", "r", "depth.Z")) == ((3, 2, 1),)
    assert colour_layers(("diffuse.R", "R", "diffuse.green", "G", "diffuse.B", "B")) == ((0, 2, 4), (1, 3, 5))
    # A matte in red, two layers with a part each, and what is no colour at all.
    assert colour_layers(("R", "A", "key.G", "key.B", "N.x", "N.y", "N.z", "Y")) == ()


@pytest.mark.parametrize(
    ("spec", "available", "message"),
    [
        ("spec.rgb", FILE, r"no channel or layer 'spec\.rgb', only R, G, B, A, depth\.Z"),
        ("rgb", ["Y"], "no channel or layer 'rgb', only Y"),
        ("rgba", ["R", "G", "B"], "no channel or layer 'rgba', only R, G, B"),
        ("diffuse.rgba", FILE, r"'diffuse\.rgba'"),
        ("rgb,R", FILE, "name R twice"),
        ("", FILE, "must be names"),
        ("R,,G", FILE, "must be names"),
        ("R", [], "none at all"),
    ],
)
def test_what_is_not_there_is_named(spec: str, available: list[str], message: str) -> None:
    with pytest.raises(SequenceError, match=message):
        resolve_channels(spec, available)


def parts_of(path: Path, *parts: tuple[str, tuple[str, ...]]) -> FrameInfo:
    """A file whose part i, channel j has the value i + j / 10."""
    specs = []
    for name, channels in parts:
        spec = oiio.ImageSpec(20, 16, len(channels), "float")
        spec.channelnames = channels
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), specs if len(specs) > 1 else specs[0])
    for index, spec in enumerate(specs):
        if index:
            assert output.open(str(path), spec, "AppendSubimage")
        values = index + np.arange(spec.nchannels, dtype=np.float32) / 10
        assert output.write_image(np.ones((16, 20, 1), np.float32) * values)
    assert output.close()
    return read_info(path)


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        # Names without collision and with it, of channels, layers and short forms.
        ("depth.Z", [0]),
        ("depth", [0]),
        ("Z", [0]),
        ("diffuse", [1, 1.1, 1.2]),
        ("diffuse.rgb", [1, 1.1, 1.2]),
        ("diffuse.G", [1.1]),
        ("Diffuse.g", [1.1]),
        ("R", [1]),
        ("rgb", [1, 1.1, 1.2]),
        ("specular", [2, 2.1, 2.2]),
        ("specular.B,depth.Z", [2.2, 0]),
        ("position", [3, 3.1, 3.2]),
        ("position.x", [3]),
        ("N.red", [4]),
    ],
)
def test_every_channel_of_a_part_has_the_parts_name_too(tmp_path: Path, spec: str, values: list[float]) -> None:
    info = parts_of(
        tmp_path / "a.exr",
        ("depth", ("Z",)),
        ("diffuse", ("R", "G", "B")),
        ("specular", ("R", "G", "B")),
        ("position", ("x", "y", "z")),
        ("N", ("N.red", "N.green")),
    )
    names = resolve_channels(spec, info)
    assert set(names) <= set(info.channels)
    np.testing.assert_allclose(read_frame(info.path, names).pixels[0, 0], values)


def test_a_name_of_a_part_is_found_in_files_where_it_is_a_layer_and_the_other_way_round(tmp_path: Path) -> None:
    alone = parts_of(tmp_path / "alone.exr", ("diffuse", ("R", "G", "B")))
    second = parts_of(tmp_path / "second.exr", ("rgba", ("R", "G", "B", "A")), ("diffuse", ("R", "G", "B")))
    layers = parts_of(tmp_path / "layers.exr", ("", ("R", "G", "B", "diffuse.R", "diffuse.G", "diffuse.B")))
    names = resolve_channels("diffuse", second)
    assert names == resolve_channels("diffuse", layers) == ("diffuse.R", "diffuse.G", "diffuse.B")
    for info, first in ((alone, 0), (second, 1), (layers, 0.3)):
        assert read_frame(info.path, names).pixels[0, 0, 0] == np.float32(first)
        assert [index for index, _ in info.parts_with(names)] == [first if info is second else 0]
    assert resolve_channels("rgba.R,rgba.A", second) == ("R", "A")
    with pytest.raises(SequenceError, match=r"only R, G, B, A, diffuse\.R, .* \(in the parts rgba, diffuse\)"):
        resolve_channels("specular", second)
    with pytest.raises(SequenceError, match="name R twice"):
        resolve_channels("R,rgba.R", second)
    assert parts_of(tmp_path / "same.exr", ("a", ("R",)), ("b", ("a.R",))).channels == ("R", "a.R")
    assert resolve_channels("a.R", read_info(tmp_path / "same.exr")) == ("a.R",)


def test_a_channel_by_the_parts_name_is_written_to_its_part(tmp_path: Path) -> None:
    like = parts_of(tmp_path / "a.exr", ("depth", ("Z",)), ("diffuse", ("R", "G", "B")))
    pixels = np.full((16, 20, 1), 7, np.float32)
    write_frame(tmp_path / "b.exr", pixels, ["diffuse.G"], like=like, passthrough=True)
    info = read_info(tmp_path / "b.exr")
    assert info.channels == like.channels
    np.testing.assert_allclose(read_frame(info.path, like.channels).pixels[0, 0], [0, 1, 7, 1.2])


@settings(deadline=None)
@given(st.permutations(FILE))
def test_every_channel_is_found_by_its_own_name(order: list[str]) -> None:
    assert resolve_channels(",".join(order), FILE) == tuple(order)
    assert resolve_channels("rgba", order) == ("R", "G", "B", "A")
