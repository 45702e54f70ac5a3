"""Pixel values and colour: integers as 0..1, the sRGB curve, and pixels as a display shows them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from copycat.errors import CopycatError

# OpenColorIO's own default configuration changes nothing; its built-in ACES configuration does.
_BUILT_IN = "ocio://default"


class ViewError(CopycatError):
    """An OCIO View that the configuration does not have; the message names both."""


def from_integers(pixels: NDArray[Any]) -> NDArray[Any]:
    """Scales unsigned integers to 0..1, float32; floating-point pixels come back as they are."""
    if pixels.dtype.kind != "u":
        return pixels
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_integers(values: NDArray[Any], dtype: DTypeLike, bits: int = 0) -> NDArray[Any]:
    """Rounds 0..1 to unsigned integers: values outside are clamped, NaN becomes 0.

    Args:
        values: floating-point pixels of any shape.
        dtype: uint8 or uint16.
        bits: the upper bits of ``dtype`` that hold the value, as in a 10-bit DPX; 0 for all of them.
    """
    largest = np.iinfo(np.dtype(dtype)).max
    levels = min(largest, (1 << bits) - 1) if bits else largest
    clamped = np.clip(np.nan_to_num(values, nan=0.0).astype(np.float32, copy=False), 0, 1)
    rounded = np.floor(clamped * np.float32(levels) + np.float32(0.5))
    scaled = rounded if levels == largest else np.rint(rounded * np.float32(largest / levels))
    integers: NDArray[Any] = scaled.astype(dtype)
    return integers


def srgb(linear: NDArray[Any]) -> NDArray[Any]:
    """Encodes linear light with the sRGB curve (IEC 61966-2-1); negative values become 0."""
    encoded: NDArray[Any] = srgb_curve(np.maximum(linear, 0), np)
    return encoded


def srgb_curve(linear: Any, library: Any) -> Any:
    """The sRGB curve of an array or tensor of non-negative values; its gradient is finite everywhere.

    Args:
        linear: linear light.
        library: numpy or torch, whichever the values belong to.
    """
    power = 1.055 * library.clip(linear, 0.0031308, None) ** (1 / 2.4) - 0.055
    return library.where(linear <= 0.0031308, 12.92 * linear, power)


def from_srgb(encoded: NDArray[Any]) -> NDArray[Any]:
    """Decodes sRGB values to linear light (IEC 61966-2-1), the inverse of :func:`srgb`; negative values stay linear."""
    power = ((np.maximum(encoded, 0) + 0.055) / 1.055) ** 2.4
    linear: NDArray[Any] = np.where(encoded <= 0.04045, encoded / 12.92, power)
    return linear


def display(pixels: NDArray[Any], linear: bool, channels: Sequence[str], view: str = "") -> NDArray[np.float32]:
    """Converts pixels to what a display shows.

    Three or more channels show as red, green and blue, fewer as grey. Scene-linear colour goes through the sRGB curve
    or through ``view``; a single matte does not.

    Args:
        pixels: ``[..., H, W, C]``, values as in the file.
        linear: whether they are scene-linear.
        channels: the names of the C channels.
        view: ``display/view`` as :func:`through_view` takes it; empty for sRGB.

    Returns:
        ``[..., H, W, 3]`` in 0..1.

    Raises:
        ViewError: see :func:`through_view`.
    """
    values = pixels.astype(np.float32, copy=False)
    picture = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    if linear and len(channels) >= 3:
        picture = through_view(picture, view) if view else srgb(picture)
    shown: NDArray[np.float32] = np.nan_to_num(np.clip(picture, 0, 1)).astype(np.float32)
    return shown


def through_view(linear: NDArray[Any], view: str) -> NDArray[np.float32]:
    """Converts scene-linear colour to display values, by the OpenColorIO configuration of ``OCIO`` or its built-in one.

    Args:
        linear: ``[..., W, 3]``, in the configuration's role scene_linear.
        view: ``display/view``, or ``view`` alone for the configuration's first display.

    Raises:
        ViewError: there is no such display, view or configuration.
    """
    import OpenImageIO as oiio  # noqa: N813

    configuration = os.environ.get("OCIO") or _BUILT_IN
    display_name, _, view_name = view.rpartition("/")
    if not view.isprintable():  # the library takes only UTF-8
        raise ViewError(f"OCIO View {view!r} is not available in {configuration}")
    picture = oiio.ImageBuf(np.ascontiguousarray(linear, np.float32).reshape(-1, linear.shape[-2], 3))
    result = oiio.ImageBufAlgo.ociodisplay(picture, display_name, view_name, "scene_linear", colorconfig=configuration)
    if result.has_error:
        raise ViewError(f"OCIO View {view!r} is not available in {configuration}: {result.geterror()}")
    pixels: NDArray[np.float32] = np.asarray(result.get_pixels(oiio.FLOAT)).reshape(linear.shape)
    return pixels


def check_view(view: str) -> None:
    """Raises ViewError if ``view`` is neither empty nor available."""
    if view:
        through_view(np.zeros((1, 1, 3), np.float32), view)
