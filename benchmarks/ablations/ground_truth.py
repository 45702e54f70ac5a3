"""What does a shifted or noisy Ground Truth cost, and which options win it back?

``python -m benchmarks.ablations.ground_truth`` trains T1 at half its size, with all five frames, for a fixed number of
steps: with its own Ground Truth, with one shifted by 0.7 pixels to the right (cubic, OpenCV), with and without
``align_ground_truth``, and with one under Gaussian noise of sigma 0.03, with each loss. Held-out frames are scored
against the true ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence
from copycat.sequence.pairs import Pair

from benchmarks import record
from benchmarks.ablations.recipe import BASE, Task, fit, scores
from benchmarks.tasks import build

SHIFT = 0.7
NOISE = 0.03
PLAIN = {"model_size": "Small", "crop_size": 64}
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "its own": ("clean", {}),
    "its own, align_ground_truth": ("clean", {"align_ground_truth": True}),
    "moved": ("moved", {}),
    "moved, align_ground_truth": ("moved", {"align_ground_truth": True}),
    "noisy": ("noisy", {}),
    "noisy, l1_weight 1, l2_weight 0": ("noisy", {"l1_weight": 1.0, "l2_weight": 0.0}),
    "its own, l1_weight 1, l2_weight 0": ("clean", {"l1_weight": 1.0, "l2_weight": 0.0}),
}


def moved(picture: np.ndarray) -> np.ndarray:
    """To the right."""
    matrix = np.array([[1, 0, SHIFT], [0, 1, 0]], np.float32)
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def noisy(picture: np.ndarray) -> np.ndarray:
    """Other noise for each picture."""
    random = np.random.default_rng(int(picture.sum()))
    added = picture + random.normal(0, NOISE * 255, picture.shape)
    return np.clip(added.round(), 0, 255).astype(np.uint8)


def prepare(out: Path) -> None:
    """Writes T1 at half its size, and the other Ground Truths."""
    task = build("t1", out.parent / "tasks")
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {"moved": moved, "noisy": noisy}
    for split in ("train", "test"):
        for path in sorted((task / split).glob("[sd]??/*.png")):
            small = cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            side = f"{split}/{'input' if path.parent.name == 'src' else 'clean'}"
            _write(out / side / path.name, small)
            if side == "train/clean":
                for name, change in changes.items():
                    _write(out / f"train/{name}" / path.name, change(small))


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def main() -> None:
    """Prints a row per variant."""
    parser = argparse.ArgumentParser(description="Ground Truths that are shifted or noisy")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("build/ground_truth"))
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    prepare(options.out)
    source, truth = (ImageSequence.parse(str(options.out / f"test/{side}/%04d.png")) for side in ("input", "clean"))
    held_out = tuple(source.frames())
    print(f"| Ground Truth of T1 at half its size, {options.steps} steps | PSNR |\n|---|---|")
    for name in options.only:
        kind, knobs = VARIANTS[name]
        pair = Pair(str(options.out / "train/input/%04d.png"), str(options.out / f"train/{kind}/%04d.png"))
        variant = replace(BASE, knobs=PLAIN | knobs)
        task = Task(pair, "all", source, truth, None, held_out)
        header, weights = fit(task, variant, options.steps, 0, by_steps=True)
        network = header.network()
        network.load_state_dict(weights)
        rows.append({"ground_truth": name, "steps": options.steps, **scores(network, header, task)})
        record.write("ground_truth", rows, options.json)
        print(f"| {name} | {rows[-1]['psnr']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
