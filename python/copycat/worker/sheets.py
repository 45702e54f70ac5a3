"""Pictures for the screen put into a host's picture, and a contact sheet fitted into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence import read_frame, read_info
from copycat.sequence.colour import from_srgb


def as_host_values(shown: NDArray[np.float32], dtype: np.dtype[Any], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Converts display values to those of a host's picture.

    Pictures of float are taken for scene-linear and get linear light; integers are taken for display values.

    Args:
        shown: ``[H, W, 3]``, display values.
        dtype: of the picture.
        names: of its components.

    Returns:
        ``[H, W, components]``; alpha is 1, and a picture of alpha alone is white.
    """
    values = np.ones((*shown.shape[:2], len(names)), np.float32)
    if len(names) > 1:
        if dtype.kind == "f":
            shown = from_srgb(shown)
        values[..., :3] = shown
    return values


def fit_sheet(path: Path | None, height: int, width: int) -> NDArray[np.float32]:
    """Fits a contact sheet into the middle of a picture.

    Args:
        path: the .png, which is display-ready; None gives black.
        height, width: of the picture in pixels.

    Returns:
        ``[height, width, 3]``, display values, origin top-left.
    """
    import OpenImageIO as oiio  # noqa: N813

    canvas = np.zeros((height, width, 3), np.float32)
    if path is None:
        return canvas
    sheet = read_frame(path, read_info(path).channels[:3]).pixels.astype(np.float32)
    scale = min(width / sheet.shape[1], height / sheet.shape[0])
    rows, columns = max(1, int(sheet.shape[0] * scale)), max(1, int(sheet.shape[1] * scale))
    region = oiio.ROI(0, columns, 0, rows, 0, 1, 0, 3)
    # Enlarged pixels stay squares: the artist looks for grain and edges; reduced ones are averaged.
    filtered = oiio.ImageBufAlgo.resize(
        oiio.ImageBuf(np.ascontiguousarray(sheet)), "box" if scale > 1 else "lanczos3", 0.0, region
    )
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = np.clip(np.asarray(filtered.get_pixels(oiio.FLOAT)), 0, 1)
    return canvas
