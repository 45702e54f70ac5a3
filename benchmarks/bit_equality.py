"""Do two versions of the code train the same weights? Prints a hash of the weights after 200 steps of four trainings.

    python -m benchmarks.bit_equality [--steps 200] [--only NAME ...]

Run it on one machine, with the same torch and number of threads, before and after a change that must not change
results, and compare the lines. A hash covers the weights, their average and the optimiser's moments in the ``.ost``.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import copycat
import numpy as np
import safetensors.numpy
import torch
from copycat.sequence import write_frame

FRAMES, HEIGHT, WIDTH = 5, 96, 128
TRAININGS: dict[str, dict[str, Any]] = {
    "grade": {"use_multi_resolution_training": True},
    "matte": {"ground_truth_channels": "A", "flop_probability": 0.5, "gain_probability": 0.5, "l1_weight": 0.5},
    "paint-out": {"clean_plate": "On", "rotation_probability": 0.3, "crops_per_pair": 2},
    "masked": {"use_mask": True, "model_size": "Medium", "non_finite": "Mask"},
}


def write_shot(folder: Path) -> None:
    """A moving disc over waves and grain; the truth has it darker, with a matte of it, and a mask."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    phase = np.arange(1, 4, dtype=np.float32)
    back = 0.5 + 0.3 * np.sin(x[..., None] * 0.11 * phase) * np.cos(y[..., None] * 0.07 * phase)
    for frame in range(1001, 1001 + FRAMES):
        random = np.random.default_rng(frame)
        distance = np.hypot(x - 30 - 14 * (frame - 1001), y - 48)
        disc = np.clip(20 - distance, 0, 1)[..., None]
        grain = random.normal(0, 0.01, back.shape)
        plate = (back * (1 - disc) + disc * (0.8, 0.3, 0.2) + grain).astype(np.float32)
        truth = (back + grain).astype(np.float32)
        write_frame(folder / f"plate.{frame}.exr", plate, ("R", "G", "B"))
        write_frame(folder / f"truth.{frame}.exr", np.concatenate([truth, disc], -1).astype(np.float32), tuple("RGBA"))
        write_frame(folder / f"mask.{frame}.exr", (x[..., None] > 20).astype(np.float32), ("A",))


def weights_hash(folder: Path, steps: int, use_mask: bool = False, **knobs: Any) -> str:
    """Trains and returns a hash of the vectors of the resume state."""
    result = copycat.train(
        str(folder / "plate.####.exr"),
        str(folder / "truth.####.exr"),
        mask=str(folder / "mask.####.exr") if use_mask else "",
        **{
            "data_directory": str(folder / "runs"),
            "model_size": "Small",
            "crop_size": 64,
            "epochs": steps,
            "use_gpu_if_available": False,
            **knobs,
        },
    )
    assert result.step == steps, result
    vectors = safetensors.numpy.load_file(result.run.resume_state)
    digest = hashlib.sha256()
    for name in sorted(vectors):
        digest.update(vectors[name].tobytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=list(TRAININGS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_shot(Path(folder))
        for name in options.only:
            print(f"{name:10} {weights_hash(Path(folder), options.steps, **TRAININGS[name])}", flush=True)


if __name__ == "__main__":
    main()
