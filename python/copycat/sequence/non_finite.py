"""NaN and infinite pixels: counting them, and taking them out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def without_non_finite(part: NDArray[np.floating], x0: int, y0: int) -> str:
    """Makes NaN and infinite pixels of [H, W, C] zero and says how many there were; "" where there were none.

    Args:
        part: changed in place.
        x0, y0: where in the frame it begins.
    """
    fine = np.isfinite(part).all(axis=-1)
    if fine.all():
        return ""
    y, x = np.argwhere(~fine)[0]
    bad = int(fine.size - np.count_nonzero(fine))
    np.nan_to_num(part, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    where = f"the first at x {x + x0}, y {y + y0} from the top left"
    return f"{bad} {'pixel is' if bad == 1 else 'pixels are'} NaN or infinite, {where}"
