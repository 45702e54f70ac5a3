"""The contact sheet of a review: the worst frames, the plate beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from copycat.runs import write_whole
from copycat.sequence.colour import display

Picture = NDArray[np.uint8]
"""[h, w, 3], display-referred."""

_MOST = 8
_COLUMNS = 2
_LABEL_HEIGHT = 20  # pixels
_GAP = 4


def sheet_picture(values: NDArray[np.float32], linear: bool, channels: Sequence[str]) -> Picture:
    """A small frame [h, w, C], values as in the file, as a display shows it; arguments as of `display`."""
    picture: Picture = np.rint(255 * display(values, linear, channels)).astype(np.uint8)
    return picture


def write_sheet(path: Path, frames: Sequence[tuple[str, Picture, Picture]]) -> None:
    """Writes the first eight frames as a PNG, whole or not at all.

    Args:
        path: the file.
        frames: for each frame its label, the plate and the result, the worst first.

    Raises:
        RunError: the file cannot be written.
    """
    height, width = frames[0][1].shape[:2]
    tiles = []
    for label, *pictures in frames[:_MOST]:
        tile = np.zeros((height + _LABEL_HEIGHT + _GAP, 2 * width + _GAP, 3), np.uint8)
        cv2.putText(
            tile, label, (4, _LABEL_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (220, 220, 220), 1, cv2.LINE_AA
        )
        for index, picture in enumerate(pictures):
            part = picture[:height, :width]  # frames of a shot may differ in size
            left = index * width
            tile[_LABEL_HEIGHT : _LABEL_HEIGHT + part.shape[0], left : left + part.shape[1]] = part
        tiles.append(tile)
    while len(tiles) % _COLUMNS and len(tiles) > 1:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.concatenate(tiles[i : i + _COLUMNS], axis=1) for i in range(0, len(tiles), _COLUMNS)]
    sheet = np.concatenate(rows, axis=0)
    write_whole(path, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
