"""Which metadata of a frame hold for a file that is made from it.

The tables below decide attribute by attribute, in OpenImageIO's spelling and lower case. Every other attribute is kept,
whatever its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from copycat.sequence.channels import colour_layers

# How the old file is stored. The writer stores the new one in its own way: rows from the top, no tiles, no mip levels.
_STORAGE = {
    "openexr:lineorder",
    "openexr:chunkcount",
    "openexr:levelmode",
    "openexr:roundingmode",
    "openexr:version",
    "oiio:rowsperchunk",
    "oiio:subimages",
    "oiio:bitspersample",  # of a DPX it is set again, by the depth
    "oiio:unassociatedalpha",  # set again, by the format
    "textureformat",
    "planarconfig",
    "tiff:compression",
    "tiff:photometricinterpretation",
    "tiff:planarconfiguration",
    "tiff:predictor",
    "tiff:rowsperstrip",
    "tiff:subfiletype",
    "tiff:unassociatedalpha",
    "tiff:colorspace",
    "tiff:zipquality",
    "png:compressionlevel",
    "png:filter",
    "jpeg:progressive",
    "jpeg:subsampling",
    "exif:componentsconfiguration",
    "exif:compressedbitsperpixel",
    "dpx:version",
    "dpx:endian",
    "dpx:packing",
    "dpx:imagedescriptor",  # the channels
    "dpx:encryptkey",
    "dpx:endoflinepadding",
    "dpx:endofimagepadding",
    "targa:alpha_type",
    "targa:version",
    "bmp:version",
    "bmp:bitsperpixel",
    "pnm:binary",
    "pnm:bigendian",
}
# What was computed from the old pixels, and what wrote them.
_OLD_PIXELS = {
    "oiio:sha-1",
    "oiio:averagecolor",
    "oiio:constantcolor",
    "nuke/node_hash",  # Nuke takes a file for a script's up-to-date render by it
    "thumbnail_width",
    "thumbnail_height",
    "thumbnail_nchannels",
    "thumbnail_image",
    "software",
    "hostcomputer",
}
# Display hints for red, green and blue; meaningless for a matte.
_COLOUR = {
    "chromaticities",
    "whiteluminance",
    "adoptedneutral",
    "colorinteropid",
    "oiio:colorspace",
    "oiio:gamma",
    "iccprofile",
    "exif:colorspace",
    "renderingtransform",
    "lookmodtransform",
}
# The compression and its quality, which stay in the same format.
_COMPRESSION = {"compression", "openexr:dwacompressionlevel", "compressionquality"}
_PART_NAME = {"name", "oiio:subimagename"}
# Attributes of one format say nothing in another.
_FORMATS = ("openexr:", "oiio:", "tiff:", "png:", "jpeg:", "dpx:", "targa:", "bmp:", "pnm:")


def drop_metadata(
    spec: Any,
    old: Sequence[str],
    new: Sequence[str],
    *,
    same_format: bool,
    same_compression: bool,
    part_named: bool,
) -> None:
    """Erases the attributes of an old file that do not hold for the new one.

    Args:
        spec: the old part's OpenImageIO ImageSpec, changed in place.
        old: names of the old part's channels.
        new: names of the channels that are written.
        same_format: whether both files are of one format.
        same_compression: whether the file keeps its compression.
        part_named: whether the part keeps its name.
    """
    dropped = _STORAGE | _OLD_PIXELS
    if not same_format:
        dropped |= _COMPRESSION | _COLOUR | {"datetime"}  # another format's DateTime is when the file was written
    if not same_compression:
        dropped |= _COMPRESSION
    if not part_named:
        dropped |= _PART_NAME
    if set(old) != set(new) and not colour_layers(new):
        dropped |= _COLOUR
    prefixes: tuple[str, ...] = () if same_format else _FORMATS
    if "iccprofile" in dropped:
        prefixes += ("iccprofile:",)  # what OpenImageIO reads out of the profile
    for name in _names(spec):
        if name.lower() in dropped or name.lower().startswith(prefixes):
            spec.erase_attribute(name)
    _drop_manifests(spec, old, new)
    _drop_views(spec, old, new)


def drop_container_flag(spec: Any) -> None:
    """Erases the flag of an ACES container (SMPTE ST 2065-4) from a file that is none: OpenEXR would refuse it."""
    formats = {str(form) for form in spec.channelformats} or {str(spec.format)}
    rgb = set(spec.channelnames) in ({"R", "G", "B"}, {"R", "G", "B", "A"})
    if not rgb or formats != {"half"} or spec.get_string_attribute("compression") != "none":
        spec.erase_attribute("acesImageContainerFlag")


def _drop_manifests(spec: Any, old: Sequence[str], new: Sequence[str]) -> None:
    """Erases the Cryptomatte manifests of channels that are not written; they are long and name what is not there."""
    for name in _names(spec):
        group, _, key = name.rpartition("/")
        if group.startswith("cryptomatte/") and key in ("manifest", "manif_file"):
            layer = spec.get_string_attribute(f"{group}/name")
            if layer and _has_layer(old, layer) and not _has_layer(new, layer):
                spec.erase_attribute(name)


def _names(spec: Any) -> list[str]:
    """The names of all attributes but those that OpenImageIO before 3.2 cannot hand over, since they are not UTF-8."""
    names = []
    for attribute in spec.extra_attribs:
        with suppress(UnicodeDecodeError):
            names.append(attribute.name)
    return names


def _has_layer(channels: Sequence[str], layer: str) -> bool:
    return any(layer in channel for channel in channels)


def _drop_views(spec: Any, old: Sequence[str], new: Sequence[str]) -> None:
    """Erases the list of views unless a channel of each is written: readers would show black for the others."""
    views = spec.getattribute("multiView")
    others = [views] if isinstance(views, str) else list(views or ())[1:]
    if any(_of_view(old, view) and not _of_view(new, view) for view in others):
        spec.erase_attribute("multiView")


def _of_view(channels: Sequence[str], view: str) -> bool:
    return any(view in channel.split(".")[:-1] for channel in channels)
