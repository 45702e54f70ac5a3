"""How pictures are shown: scene-linear colour through the sRGB curve, or through a display and view of OpenColorIO."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import OpenImageIO as oiio  # noqa: N813
from torch import Tensor

from copycat.errors import CopycatError

# What OpenColorIO itself takes when nobody names a configuration is one that changes nothing.
_BUILT_IN = "ocio://default"


class ViewError(CopycatError):
    """An OCIO View that the configuration does not have; the message names both."""


def display(pixels: Tensor, linear: bool, channels: Sequence[str], view: str = "") -> np.ndarray:
    """Makes values as in the file ready to be shown.

    Three or more channels show as red, green and blue, fewer as grey. Scene-linear colour goes through the sRGB curve,
    or through ``view``; a single matte does not.

    Args:
        pixels: [..., C, H, W].
        linear: whether they are scene-linear.
        channels: the names of the C channels.
        view: ``display/view`` as :func:`through_view` takes it; empty for sRGB.

    Returns:
        [..., H, W, 3] in 0..1.

    Raises:
        ViewError: see :func:`through_view`.
    """
    values = pixels.float().cpu().movedim(-3, -1).numpy()
    picture = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    if linear and len(channels) >= 3:
        picture = through_view(picture, view) if view else srgb(picture)
    shown: np.ndarray = np.nan_to_num(np.clip(picture, 0, 1)).astype(np.float32)
    return shown


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB (IEC 61966-2-1); negative values become 0."""
    value = np.maximum(linear, 0)
    encoded: np.ndarray = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.power(value, 1 / 2.4) - 0.055)
    return encoded


def through_view(linear: np.ndarray, view: str) -> np.ndarray:
    """Scene-linear colour -> display values, by the OpenColorIO configuration that ``OCIO`` names, or its built-in one.

    Args:
        linear: [..., W, 3], in the configuration's role scene_linear.
        view: ``display/view``, or ``view`` alone for the configuration's first display.

    Raises:
        ViewError: there is no such display, view or configuration.
    """
    configuration = os.environ.get("OCIO") or _BUILT_IN
    shown_on, _, name = view.rpartition("/")
    picture = oiio.ImageBuf(np.ascontiguousarray(linear, np.float32).reshape(-1, linear.shape[-2], 3))
    result = oiio.ImageBufAlgo.ociodisplay(picture, shown_on, name, "scene_linear", colorconfig=configuration)
    if result.has_error:
        raise ViewError(f"OCIO View {view!r} cannot be had from {configuration}: {result.geterror()}")
    pixels: np.ndarray = np.asarray(result.get_pixels(oiio.FLOAT)).reshape(linear.shape)
    return pixels


def check_view(view: str) -> None:
    """Raises ViewError when ``view`` is neither empty nor to be had."""
    if view:
        through_view(np.zeros((1, 1, 3), np.float32), view)
