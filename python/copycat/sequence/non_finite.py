"""NaN and infinite pixels: finding them, counting them, and taking them out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Renderers write 1e30 or the largest float for infinity; a network can compute with neither.
LARGEST = 1e12


def usable_values(pixels: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where values are finite and within :data:`LARGEST`, in the shape of ``pixels``."""
    if pixels.dtype == np.float16:
        finite: NDArray[np.bool_] = np.isfinite(pixels)
        return finite
    small: NDArray[np.bool_] = np.abs(pixels) <= LARGEST  # false for NaN
    return small


def leave_out(part: NDArray[np.floating], usable: NDArray[np.bool_], x0: int = 0, y0: int = 0) -> str:
    """Sets values that are not usable to zero and says how many pixels have one; "" where none has.

    Args:
        part: ``[H, W, C]``, changed in place.
        usable: as :func:`usable_values` returns it.
        x0, y0: where in the frame the part begins.
    """
    if usable.all():
        return ""
    finite = bool(np.isfinite(part[~usable]).all())
    part[~usable] = 0
    bad = ~usable.all(axis=-1)
    count = int(np.count_nonzero(bad))
    y, x = np.unravel_index(np.argmax(bad), bad.shape)
    kind = f"beyond {LARGEST:g}" if finite else "NaN or infinite"
    where = f"the first at x {x + x0}, y {y + y0} from the top left"
    return f"{count} {'pixel is' if count == 1 else 'pixels are'} {kind}, {where}"
