"""Channels by name, layer and short form."""

from __future__ import annotations

import pytest
from copycat.sequence import SequenceError, colour_layers, resolve_channels
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


def test_layers_of_colour_are_complete_and_known_by_name() -> None:
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


@settings(deadline=None)
@given(st.permutations(FILE))
def test_every_channel_is_found_by_its_own_name(order: list[str]) -> None:
    assert resolve_channels(",".join(order), FILE) == tuple(order)
    assert resolve_channels("rgba", order) == ("R", "G", "B", "A")
