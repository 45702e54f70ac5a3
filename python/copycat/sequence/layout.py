"""Chooses parts, windows, channels, depth and metadata of an output file after the frame that it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copycat import __version__
from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo, Part, Window, intersect, unite
from copycat.sequence.metadata import drop_container_flag, drop_metadata

# The depths that a format can hold, its default first; other formats are written with 8 bits.
_DEPTHS = {
    "openexr": ("half", "float"),
    "hdr": ("float",),
    "tiff": ("uint8", "uint16", "half", "float"),
    "png": ("uint8", "uint16"),
    "dpx": ("uint16", "uint8"),
    "sgi": ("uint8", "uint16"),
    "rla": ("uint8", "uint16"),
    "pnm": ("uint8", "uint16"),
    "jpeg2000": ("uint8", "uint16"),
    "jpegxl": ("uint8", "uint16"),
}
_DPX_BITS = (10, 12, 16)
_EXR_COMPRESSIONS = ("none", "rle", "zip", "zips", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")
_PICTURE = ("R", "G", "B", "A")


@dataclass
class OutputPart:
    """One part of the output file.

    Attributes:
        spec: the OpenImageIO ImageSpec to open it with.
        window: its data window relative to the display window.
        model: (channel of the part, channel of the model's pixels) for each channel of the model.
        kept: (channel of the part, channel of the old part) for each channel that is copied; where the model has
            pixels too, the model's are written.
        old: index of the old part that this one is made from, None if there is none.
    """

    spec: Any
    window: Window
    model: list[tuple[int, int]]
    kept: list[tuple[int, int]]
    old: int | None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """An output file by the arguments of ``write_frame``.

    Attributes:
        path: the file.
        format: OpenImageIO's name of its format.
        region: the window of the model's pixels, relative to the display window.
        channels: full names of the model's channels.
        like: the frame that it is made from.
        dtype: the depth; None for that of ``like``.
        passthrough: whether the other channels of ``like`` are copied.
        compression: as OpenImageIO spells it; None for that of ``like``.
        room: the number of channels that the format can hold.
    """

    path: Path
    format: str
    region: Window
    channels: Sequence[str]
    like: FrameInfo | None
    dtype: str | None
    passthrough: bool
    compression: str | None
    room: int

    def parts(self) -> list[OutputPart]:
        """Lays out the parts of the file.

        Raises:
            SequenceError: for a depth or compression that the format does not have, or a size that is not the frame's.
        """
        depths = self._depths
        if self.dtype is not None and self.dtype not in depths:
            raise SequenceError(f"{self.path} cannot hold {self.dtype!r}; {self.format} files hold {', '.join(depths)}")
        if self._exr and self.compression and self.compression.partition(":")[0] not in _EXR_COMPRESSIONS:
            all_of_exr = ", ".join(_EXR_COMPRESSIONS)
            raise SequenceError(f"{self.path} cannot use the compression {self.compression!r}; EXR has {all_of_exr}")
        if len(self.channels) > self.room:
            listed = ", ".join(self.channels)
            raise SequenceError(
                f"{self.path} cannot hold {listed}; {self.format} files hold {self.room} channels at most"
            )
        like = self.like
        if like is None:
            return [self._part(None, list(self.channels), self._own)]
        widest = self._display
        for part in like.parts:
            widest = unite(widest, part.data_window)
        if (
            self.region not in (self._display, intersect(self.region, widest))
            or intersect(self.region, self._display) != self._display
        ):
            width, height = self.region[2] - self.region[0], self.region[3] - self.region[1]
            raise SequenceError(
                f"{self.path} would be {width} x {height}, but {like.path} is {like.width} x {like.height}"
            )
        homes = [next((index for index, _ in like.parts_with([name])), 0) for name in self.channels]
        if self._exr and self.passthrough:
            result = []
            for index, old in enumerate(like.parts):
                new = [like.find_channel(name) or name for name in self.channels]
                mine = [name for name, home in zip(new, homes, strict=True) if home == index]
                names = [*old.channels, *(name for name in mine if name not in old.channels)]
                result.append(self._part(index, names, {name: new.index(name) for name in mine}))
            return result
        home = homes[0]
        names = list(self.channels)
        if self.passthrough:
            # Another format has room for alpha at best.
            others = like.parts[home].channels if like.format == self.format else ("A",)
            kept = [name for name in like.parts[home].channels if name in others and name not in names]
            names += kept if len(names) + len(kept) <= self.room else []
        return [self._part(home, names, self._own)]

    @property
    def _depths(self) -> tuple[str, ...]:
        return ("float",) if self.path.suffix.lower() == ".pfm" else _DEPTHS.get(self.format, ("uint8",))

    @property
    def _own(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.channels)}

    @property
    def _display(self) -> Window:
        """The display window relative to its own corner."""
        return (0, 0, self.like.width, self.like.height) if self.like else self.region

    @property
    def _exr(self) -> bool:
        return self.format == "openexr"

    def _part(self, index: int | None, names: list[str], new: dict[str, int]) -> OutputPart:
        """One part with the channels ``names``, of which ``new`` are the model's, with their numbers there."""
        if not self._exr and set(names) <= set(_PICTURE):
            names = sorted(names, key=_PICTURE.index)  # these formats know channels by their order
        old = self.like.parts[index] if self.like is not None and index is not None else None
        window = self._window(old)
        kept = []
        if old and (set(names) - set(new) or window != intersect(window, self.region)):
            kept = [(i, old.channels.index(name)) for i, name in enumerate(names) if name in old.channels]
        stored = {}
        if old and self._exr and self.passthrough:
            stored = dict(zip(old.channels, old.spec.channelnames, strict=True))
        spec = self._metadata(old, names)
        formats = [self._depth(name, old, copied=name not in new) for name in names]
        x, y = (self.like.display_window[:2]) if self.like is not None and self._exr else (0, 0)
        spec.x, spec.y, spec.z, spec.full_x, spec.full_y, spec.full_z = x + window[0], y + window[1], 0, x, y, 0
        spec.width, spec.height, spec.depth = window[2] - window[0], window[3] - window[1], 1
        spec.full_width, spec.full_height, spec.full_depth = *self._display[2:], 1
        spec.tile_width = spec.tile_height = spec.tile_depth = 0
        spec.nchannels = len(names)
        spec.channelnames = self._storable([stored.get(name, name) for name in names])
        spec.alpha_channel = names.index("A") if "A" in names else -1
        spec.z_channel = -1
        spec.set_format(formats[0])
        spec.channelformats = tuple(formats) if len(set(formats)) > 1 else ()
        if self.format == "dpx" and formats[0] == "uint16":
            bits = old.spec.get_int_attribute("oiio:BitsPerSample") if old else 0
            spec.attribute("oiio:BitsPerSample", bits if bits in _DPX_BITS else 10)
        drop_container_flag(spec)
        model = [(names.index(name), channel) for name, channel in new.items()]
        return OutputPart(spec, window, model, kept, index)

    def _storable(self, names: Sequence[str]) -> tuple[str, ...]:
        for name in names:
            try:
                name.encode()
            except UnicodeEncodeError:
                raise SequenceError(f"{self.path} cannot be written: the channel name '{name}' is not UTF-8") from None
        return tuple(names)

    def _window(self, old: Part | None) -> Window:
        """The old data window, whole if all channels are kept, else as far as the model's pixels go."""
        if old is None or not self._exr:
            return self._display
        if self.passthrough:
            return old.data_window
        common = intersect(self.region, old.data_window)
        return self._display if common == (0, 0, 0, 0) else common

    def _depth(self, name: str, old: Part | None, *, copied: bool) -> str:
        depths = self._depths
        own = ""
        if old:
            own = old.dtype
            if name in old.channels and old.spec.channelformats:
                own = str(old.spec.channelformats[old.channels.index(name)])
        if copied and self._exr and own in ("half", "float", "uint"):
            return own
        if self.dtype is not None:
            return self.dtype
        if own in depths:
            return own
        if own in ("int16", "uint", "int") and "uint16" in depths:
            return "uint16"
        # Floating point pixels keep their range where the format can.
        return "float" if own in ("half", "float", "double") and "float" in depths else depths[0]

    def _metadata(self, old: Part | None, names: list[str]) -> Any:
        """The old part's spec with the metadata that hold for the new one; a fresh spec without an old part."""
        import OpenImageIO as oiio  # noqa: N813

        spec, unassociated = oiio.ImageSpec(), True
        if self.like is not None and old is not None:
            spec = old.spec.copy()
            # Pixels stay as they are in the file, so a TIFF stays associated or unassociated.
            both = self.like.format == self.format == "tiff"
            unassociated = not both or bool(spec.get_int_attribute("oiio:UnassociatedAlpha"))
            drop_metadata(
                spec,
                old.channels,
                names,
                same_format=self.like.format == self.format,
                same_compression=self.compression is None and self.format != "jpeg",
                part_named=len(self.like.parts) == 1 or (self._exr and self.passthrough),
            )
        spec.attribute("Software", f"copycat {__version__}")
        spec.attribute("oiio:UnassociatedAlpha", int(unassociated))
        default = {"openexr": "zip", "tiff": "zip", "jpeg": "jpeg:95"}.get(self.format)
        own = spec.get_string_attribute("compression")
        if own.startswith("dwa"):
            own += f":{spec.get_float_attribute('openexr:dwaCompressionLevel', 45):g}"
        compression = self.compression or own or default
        if compression:
            spec.attribute("compression", compression)
        return spec
