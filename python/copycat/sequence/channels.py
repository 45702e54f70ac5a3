"""Picks channels of a file by name, by layer, or by the short forms rgb, rgba and alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo

_ORDER = ("r", "g", "b", "a", "x", "y", "z", "u", "v", "w")
_LEAF = {"red": "r", "green": "g", "blue": "b", "alpha": "a"}
_SHORT = {"rgb": "rgb", "rgba": "rgba", "alpha": "a"}


def resolve_channels(spec: str, available: FrameInfo | Sequence[str]) -> tuple[str, ...]:
    """Finds the channels that a list of names stands for.

    Case matters only where two channels differ by nothing else.

    Args:
        spec: names with commas between them, each a channel (``R``, ``depth.Z``), a layer (``diffuse``: its channels in
            the order R,G,B,A or X,Y,Z, others as in the file), ``rgb``, ``rgba`` or ``alpha``, or these of a layer
            (``diffuse.rgb``). The part of a file that holds a channel counts as its layer too.
        available: the file, or the full channel names to choose from.

    Returns:
        Full channel names in the order of the arguments.

    Raises:
        SequenceError: for a name that is not there, lists those that are, or for a channel that is named twice.
    """
    names = [name.strip() for name in spec.split(",")]
    if not all(names):
        raise SequenceError(
            f"the channels {spec!r} must be names with a comma between them, as in rgb or R,G,B,depth.Z"
        )
    file = available if isinstance(available, FrameInfo) else None
    there = file.channels if file else tuple(cast("Sequence[str]", available))
    aliases = file.aliases if file else {}
    found = []
    for name in names:
        channels = _resolve_one(name, there) or [aliases[alias] for alias in _resolve_one(name, tuple(aliases))]
        if not channels:
            where = f"{file.path} has" if file else "there is"
            parts = ", ".join(dict.fromkeys(part.name for part in file.parts if part.name)) if aliases and file else ""
            listed = ", ".join(there) + (f" (in the parts {parts})" if parts else "")
            raise SequenceError(f"{where} no channel or layer {name!r}, only {listed or 'none at all'}")
        found += channels
    twice = sorted({channel for channel in found if found.count(channel) > 1})
    if twice:
        raise SequenceError(f"the channels {spec!r} name {', '.join(twice)} twice")
    return tuple(found)


def colour_layers(channels: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
    """Where the red, green and blue of each layer stand among ``channels``.

    A layer that lacks one of them is left out: a lone red channel is as often a matte as it is light.
    """
    indices: dict[str, dict[str, int]] = {}
    for index, channel in enumerate(channels):
        indices.setdefault(_layer(channel), {})[_leaf(channel)] = index
    return tuple((at["r"], at["g"], at["b"]) for at in indices.values() if {"r", "g", "b"} <= at.keys())


def _resolve_one(name: str, available: Sequence[str]) -> list[str]:
    channel = _match(name, available)
    if channel:
        return [channel]
    layer, _, last = name.rpartition(".")
    if last.lower() in _SHORT:
        leaves = _SHORT[last.lower()]
        inside = {_leaf(c): c for c in reversed(available) if _layer(c).lower() == layer.lower()}
        if all(leaf in inside for leaf in leaves):
            return [inside[leaf] for leaf in leaves]
    inside_layer = [c for c in available if _layer(c) == name] or [
        c for c in available if _layer(c) and _layer(c).lower() == name.lower()
    ]
    return sorted(inside_layer, key=lambda c: _ORDER.index(_leaf(c)) if _leaf(c) in _ORDER else len(_ORDER))


def _match(name: str, available: Sequence[str]) -> str | None:
    if name in available:
        return name
    alike = [c for c in available if c.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _layer(channel: str) -> str:
    return channel.rpartition(".")[0]


def _leaf(channel: str) -> str:
    leaf = channel.rpartition(".")[2].lower()
    return _LEAF.get(leaf, leaf)
