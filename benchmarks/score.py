"""Scores of rendered frames against the truth, by the rule of the common tasks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from benchmarks.flicker import Frame, flicker, neighbours


def psnr8(rendered: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """PSNR of 8-bit images in dB, peak 255, optionally only where a mask is true."""
    error = (rendered.astype(np.float64) - truth) ** 2
    mean = error.mean() if where is None else error[where].mean()
    return float(10 * np.log10(255**2 / max(mean, 1e-9)))


def score(rendered: Path, test: Path) -> dict[str, float]:
    """Mean scores over the held-out frames.

    Args:
        rendered: directory with the rendered ``%04d.png``.
        test: directory with ``dst`` and, if the work is local, ``mask``.

    Returns:
        ``psnr``, ``psnr_in8`` (without an 8-pixel frame), ``ssim`` and, with masks, ``inside`` and ``outside``.
    """
    rows: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for path in sorted((test / "dst").glob("*.png")):
        truth, image = cv2.imread(str(path)), cv2.imread(str(rendered / path.name))
        if image is None or image.shape != truth.shape:
            raise RuntimeError(f"{rendered / path.name}: missing, or of another size than the truth")
        note("psnr", psnr8(image, truth))
        note("psnr_in8", psnr8(image[8:-8, 8:-8], truth[8:-8, 8:-8]))
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        note("ssim", float(structural_similarity(truth, image, channel_axis=2, **settings)))
        mask = test / "mask" / path.name
        if mask.exists():
            inside = cv2.imread(str(mask), 0) > 127
            outside = ~inside
            outside[:8] = outside[-8:] = False
            outside[:, :8] = outside[:, -8:] = False
            note("inside", psnr8(image, truth, inside))
            note("outside", psnr8(image, truth, outside))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def flicker8(rendered: Path, run: Path) -> float:
    """Flicker of the neighbouring frames, in 8-bit code values.

    Args:
        rendered: directory with the rendered ``%04d.png``; ``run / "src"`` gives the flicker of doing nothing.
        run: directory with ``src`` and ``dst`` of these frames only.
    """

    def frame(number: int) -> Frame:
        return Frame(
            *(cv2.imread(str(folder / f"{number:04d}.png")) for folder in (run / "src", rendered, run / "dst"))
        )

    numbers = sorted(int(path.stem) for path in (run / "dst").glob("*.png"))
    return flicker((frame(a), frame(b)) for a, b in neighbours(numbers))
