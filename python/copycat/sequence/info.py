"""Headers of image files: windows, channels, depth and metadata, read without pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copycat.runs import open_regular
from copycat.sequence.error import SequenceError
from copycat.sequence.movie import MovieSource, split

Window = tuple[int, int, int, int]
"""A rectangle x0, y0, x1, y1 in pixels, y down; x1 and y1 are just outside of it."""

# A window larger than any picture comes from a damaged header; its size would decide how much memory is allocated.
_MOST_PIXELS = 1 << 30


@dataclass(frozen=True)
class Part:
    """One part (OpenImageIO: subimage) of a file.

    Attributes:
        name: the part's name, empty if the file gives none.
        channels: full names of its channels, in the file's order.
        data_window: where it has pixels, relative to the top-left corner of the display window.
        dtype: "half", "float", "uint8", "uint16" ...: the widest of its channels.
        spec: the OpenImageIO ImageSpec, for its metadata and the channels' own names.
    """

    name: str
    channels: tuple[str, ...]
    data_window: Window
    dtype: str
    spec: Any = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """The header of a file.

    Attributes:
        path: the file.
        width: width of the display window in pixels.
        height: height of the display window in pixels.
        display_window: the display window in the file's own coordinates; its corner need not be 0, 0.
        data_window: where the first part has pixels, relative to the top-left corner of the display window: may be
            smaller than the picture, negative or reach beyond it (overscan).
        channels: full names ("R", "depth.Z", "left.R") of all parts in the file's order. The channels of a second or
            later part are named "part.channel" when a bare name among them is taken.
        aliases: "part.channel" for the channels of named parts that have another full name, and the full name of each.
        dtype: depth of the first part: "half", "float", "uint8", "uint16" ...
        linear: whether the values are scene-linear: in floating-point files, and where the metadata say so.
        format: OpenImageIO's name of the file format: "openexr", "png", "dpx" ...
        parts: one for each part of an EXR file; other formats have one.
    """

    path: Path
    width: int
    height: int
    display_window: Window
    data_window: Window
    channels: tuple[str, ...]
    dtype: str
    linear: bool
    format: str
    parts: tuple[Part, ...]
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False)

    def find_channel(self, name: str) -> str | None:
        """The full name of a channel that is named in full or as "part.channel"; None if there is none."""
        return name if name in self.channels else self.aliases.get(name)

    def parts_with(self, channels: Sequence[str]) -> list[tuple[int, Part]]:
        """The parts that hold some of these channels, with their numbers."""
        full = {self.find_channel(name) for name in channels}
        return [(index, part) for index, part in enumerate(self.parts) if full.intersection(part.channels)]


def read_info(path: str | Path) -> FrameInfo:
    """Reads the header of an image file.

    Raises:
        SequenceError: the file does not exist, or OpenImageIO cannot read it.
    """
    with opened(path) as source:
        return describe(source, Path(path))


def describe_size(info: FrameInfo) -> str:
    """The size for messages: ``plate.1001.exr is 1920 x 1080``."""
    return f"{info.path} is {info.width} x {info.height}"


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Opens an image file, or the frame of a movie. Alpha stays as it is: neither multiplied in nor divided out.

    Raises:
        SequenceError: it does not exist, is a FIFO, device or directory, or is no image; or its header holds text that
            OpenImageIO before 3.2 cannot hand over, since it is not UTF-8.
    """
    if frame := split(Path(path)):
        yield MovieSource(*frame)
        return
    import OpenImageIO as oiio  # noqa: N813

    try:
        descriptor = open_regular(Path(path))
    except FileNotFoundError:
        raise SequenceError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise SequenceError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        settings = oiio.ImageSpec()
        settings.attribute("oiio:UnassociatedAlpha", 1)
        source = oiio.ImageInput.open(library_name(path, descriptor), settings)
        if source is None:
            raise SequenceError(f"{path} cannot be read: {reason(pending_error(oiio))}")
        try:
            yield source
        except UnicodeDecodeError as error:
            raise SequenceError(f"{path} cannot be read: {error.object!r} in its header is not UTF-8") from error
        finally:
            source.close()
    finally:
        os.close(descriptor)


def library_name(path: str | Path, descriptor: int) -> str:
    """The name under which OpenImageIO opens a file: it takes only UTF-8, so other names go by their descriptor."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"/proc/self/fd/{descriptor}"
    return name


def pending_error(library: Any) -> str:
    """Takes the error message of OpenImageIO, or of one of its objects; empty if there is none."""
    try:
        return str(library.geterror())
    except UnicodeDecodeError as error:  # the message quotes bytes of a damaged file
        return bytes(error.object).decode(errors="backslashreplace")


def reason(message: str) -> str:
    """The first line of a library's error message, or a note that there is none."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "the file is damaged or of an unknown format"


def describe(source: Any, path: Path) -> FrameInfo:
    """Describes an open image."""
    format_name = source.format_name()
    specs = [source.spec()]
    while format_name == "openexr" and source.seek_subimage(len(specs), 0):
        specs.append(source.spec())
    if format_name != "openexr":
        # The offset of other formats (PNG, TIFF) positions the picture on a page; it does not crop it.
        page = specs[0]
        page.full_x, page.full_y, page.full_width, page.full_height = page.x, page.y, page.width, page.height
    if any(spec.deep for spec in specs):
        raise SequenceError(f"{path} is a deep image, which copycat does not read; flatten it first")
    first = specs[0]
    names: list[tuple[str, ...]] = []
    for index, spec in enumerate(specs):
        names.append(_full_names(spec, index, {name for part in names for name in part}))
    parts = tuple(
        Part(spec.get_string_attribute("oiio:subimagename"), name, _data_window(spec), str(spec.format), spec)
        for spec, name in zip(specs, names, strict=True)
    )
    for spec in specs:
        for width, height in ((spec.full_width, spec.full_height), (spec.width, spec.height)):
            check_size(path, width, height)
    x, y = (first.full_x, first.full_y) if format_name == "openexr" else (0, 0)
    colour = first.get_string_attribute("oiio:ColorSpace").lower()
    return FrameInfo(
        path=path,
        width=first.full_width,
        height=first.full_height,
        display_window=(x, y, x + first.full_width, y + first.full_height),
        data_window=parts[0].data_window,
        channels=tuple(name for part in names for name in part),
        dtype=parts[0].dtype,
        linear=parts[0].dtype in ("half", "float", "double")
        or colour.startswith("lin")
        or "linear" in colour
        or colour == "acescg",
        format=format_name,
        parts=parts,
        aliases=_aliases(parts),
    )


def intersect(a: Window, b: Window) -> Window:
    """The intersection of two windows; 0, 0, 0, 0 if it is empty."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (0, 0, 0, 0)


def unite(a: Window, b: Window) -> Window:
    """The smallest window around two."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def check_size(path: Path, width: int, height: int) -> None:
    """Raises SequenceError for a window that no picture has, before memory is allocated."""
    if width * height > _MOST_PIXELS:
        raise SequenceError(f"{path} is {width} x {height}; copycat reads up to 2^30 pixels (32768 x 32768)")


def _data_window(spec: Any) -> Window:
    x, y = spec.x - spec.full_x, spec.y - spec.full_y
    return x, y, x + spec.width, y + spec.height


def _aliases(parts: Sequence[Part]) -> dict[str, str]:
    """The names "part.channel" that are not full names already, and mean one channel only."""
    full = {name for part in parts for name in part.channels}
    aliases: dict[str, str] = {}
    ambiguous: set[str] = set()
    for part in parts if any(part.name for part in parts) else ():
        for stored, name in zip(part.spec.channelnames, part.channels, strict=True):
            alias = _in_part(stored, part.name)
            ambiguous |= {alias} & aliases.keys()
            aliases[alias] = name
    return {alias: name for alias, name in aliases.items() if alias not in full | ambiguous}


def _in_part(channel: str, part: str) -> str:
    return channel if not part or channel.startswith(f"{part}.") else f"{part}.{channel}"


def _full_names(spec: Any, index: int, taken: set[str]) -> tuple[str, ...]:
    names = tuple(spec.channelnames)
    if taken.isdisjoint(names):
        return names
    # All channels of the part get its name, not only those that collide: its alpha is not the picture's.
    for prefix in (spec.get_string_attribute("oiio:subimagename"), f"part{index}"):
        prefixed = tuple(_in_part(name, prefix) for name in names)
        if prefix and taken.isdisjoint(prefixed):
            break
    return prefixed
