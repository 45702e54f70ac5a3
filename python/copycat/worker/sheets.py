"""Pictures for the screen put into a host's picture, and a contact sheet fitted into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence import read_frame, read_info
from copycat.sequence.colour import from_srgb


def as_host_values(shown: NDArray[np.float32], dtype: np.dtype[Any], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Display values as a host's picture has them.

    Pictures of float are taken for scene-linear, so that the sRGB curve is undone for them; integers
    are taken for display values.

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
    """A contact sheet, fitted into the middle of a picture.

    Args:
        path: the .png, which is display-ready; None gives black.
        height, width: of the picture.

    Returns:
        ``[height, width, 3]``, display values, origin top-left.
    """
    canvas = np.zeros((height, width, 3), np.float32)
    if path is None:
        return canvas
    sheet = read_frame(path, read_info(path).channels[:3]).pixels.astype(np.float32)
    scale = min(width / sheet.shape[1], height / sheet.shape[0])
    fitted = (max(1, int(sheet.shape[0] * scale)), max(1, int(sheet.shape[1] * scale)))
    rows = np.minimum((np.arange(fitted[0]) + 0.5) / scale, sheet.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(fitted[1]) + 0.5) / scale, sheet.shape[1] - 1).astype(int)
    top, left = (height - fitted[0]) // 2, (width - fitted[1]) // 2
    canvas[top : top + fitted[0], left : left + fitted[1]] = sheet[rows][:, columns]
    return canvas
