"""A contact sheet drawn into a host's picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence import read_frame, read_info


def draw_sheet(
    path: Path | None, shape: tuple[int, ...], dtype: np.dtype[Any], names: tuple[str, ...]
) -> NDArray[np.float32]:
    """The sheet, fitted into the middle of a picture.

    A .png is display-ready. Pictures of float are taken for scene-linear, so that the sRGB curve is undone for them;
    integers are taken for display values.

    Args:
        path: the .png; None gives black.
        shape: (height, width, components) of the picture.
        dtype: of the picture.
        names: of the components.

    Returns:
        Values ``shape``, origin top-left.
    """
    height, width = shape[:2]
    canvas = np.zeros(shape, np.float32)
    if "A" in names:
        canvas[..., names.index("A")] = 1
    if path is None or len(names) == 1:
        return canvas
    sheet = read_frame(path, read_info(path).channels[:3]).pixels.astype(np.float32)
    if dtype.kind == "f":
        sheet = np.where(sheet <= 0.04045, sheet / 12.92, ((np.maximum(sheet, 0) + 0.055) / 1.055) ** 2.4)
    scale = min(width / sheet.shape[1], height / sheet.shape[0])
    fitted = (max(1, int(sheet.shape[0] * scale)), max(1, int(sheet.shape[1] * scale)))
    rows = np.minimum((np.arange(fitted[0]) + 0.5) / scale, sheet.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(fitted[1]) + 0.5) / scale, sheet.shape[1] - 1).astype(int)
    top, left = (height - fitted[0]) // 2, (width - fitted[1]) // 2
    canvas[top : top + fitted[0], left : left + fitted[1], :3] = sheet[rows][:, columns]
    return canvas
