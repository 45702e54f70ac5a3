"""Does the frame that ``copycat suggest`` names beat uniform spacing and a random choice?

``python -m benchmarks.ablations.suggest SHOTS`` trains a model of each shot on its first and last frame. For each of
five candidates it continues from that model with this frame added, for a fixed number of steps, and scores other
frames. Every way to choose is looked up in the same table: *random* is the mean over the candidates, *uniform* the one
in the middle of the gap, *best* the best by hindsight. Frames are reduced and crops are 64, so that it takes minutes.
Models and scores stay in ``--keep DIRECTORY``: another measure costs no training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from copycat.data.encodings import encode
from copycat.inference.model import Model, load
from copycat.inference.suggest import coverage_order, features
from copycat.model import cat
from copycat.sequence import ImageSequence, format_frames, read_frame, write_frame
from copycat.sequence.pairs import Pair

from benchmarks import record
from benchmarks.ablations.recipe import BASE, Task, Variant, fit, scores
from benchmarks.tasks import build_frames

CANDIDATES = 5
HELD_OUT = 6
RGB = ("R", "G", "B")


@dataclass(frozen=True)
class Shot:
    """A shot with a few painted frames.

    Attributes:
        source, truth: patterns below the directory of the shots; empty for T1 and T2.
        first, count: its frames.
        scale: factor by which frames are reduced.
        defocus: radius in pixels of the disc that blurs the truth into the Input; 0 reads the Input from a file.
        matte: learn rgb -> alpha.
    """

    source: str
    truth: str
    first: int
    count: int
    scale: float = 2
    defocus: int = 0
    matte: bool = False

    def at(self, *fractions: float) -> list[int]:
        """Frames at fractions of the shot, from 0, the first, to 1, the last."""
        return [self.first + round(fraction * (self.count - 1)) for fraction in fractions]

    @property
    def candidates(self) -> list[int]:
        """Frames that may be painted next; the third is the middle of the gap."""
        return self.at(*((i + 1) / (CANDIDATES + 1) for i in range(CANDIDATES)))

    @property
    def held_out(self) -> list[int]:
        """The scored frames; none of them is a candidate."""
        return self.at(*((i + 0.5) / HELD_OUT for i in range(HELD_OUT)))

    @property
    def variant(self) -> Variant:
        """The recipe of its trainings."""
        channels = {"input_channels": "R,G,B", "ground_truth_channels": "A"} if self.matte else {}
        return replace(BASE, knobs={"model_size": "Small", "crop_size": 64, **channels})


SHOTS = {
    "t1": Shot("", "", 0, 132),
    "t2": Shot("", "", 0, 50),
    "deblur": Shot("", "tos_captain/plate.%04d.exr", 1001, 24, scale=4, defocus=2),
    "matte": Shot("dancer_alpha/comp.%04d.exr", "dancer_alpha/fg.%04d.exr", 1001, 24, scale=1.5, matte=True),
    "paintout": Shot("paintout_table/plate.%04d.exr", "paintout_table/clean.%04d.exr", 1001, 40),
}


def prepare(name: str, shots: Path, out: Path, trained: Sequence[int], held_out: Sequence[int]) -> Task:
    """Writes the possible training frames and the scored frames, reduced."""
    shot = SHOTS[name]
    numbers = sorted({*trained, *held_out})
    if shot.truth:
        extension, patterns = "exr", [shots / (shot.source or shot.truth), shots / shot.truth]
    else:
        full = build_frames(name, numbers, out / "full")
        extension, patterns = "png", [full / "src/%04d.png", full / "dst/%04d.png"]
    pair = Pair(str(out / f"input/%04d.{extension}"), str(out / f"truth/%04d.{extension}"))
    for side, pattern in zip(("input", "truth"), patterns, strict=True):
        channels = ("A",) if shot.matte and side == "truth" else RGB
        for frame in numbers:
            path = out / f"{side}/{frame:04d}.{extension}"
            if not path.exists():
                pixels = read_frame(ImageSequence.parse(pattern).path(frame), channels).pixels
                small = cv2.resize(pixels, None, fx=1 / shot.scale, fy=1 / shot.scale, interpolation=cv2.INTER_AREA)
                if shot.defocus and side == "input":
                    small = _defocused(small, shot.defocus)
                write_frame(path, small.reshape(*small.shape[:2], -1), channels)
    source, truth = ImageSequence.parse(pair.input), ImageSequence.parse(pair.ground_truth)
    return Task(pair, "", source, truth, None, tuple(held_out))


def _defocused(pixels: np.ndarray, radius: int) -> np.ndarray:
    side = 2 * radius + 1
    disc = cv2.circle(np.zeros((side, side), np.float32), (radius, radius), radius, 1.0, -1)
    return cv2.filter2D(pixels, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)


def trained(path: Path, task: Task, variant: Variant, steps: int, seed: int, start: Path | None = None) -> Path:
    """The path of a model, trained if missing; its held-out PSNR lies beside it."""
    if not path.with_suffix(".json").exists():
        header, weights = fit(task, variant, steps, seed, cat.load(start) if start else None, by_steps=True)
        cat.save(path, header, weights)
        network = header.network()
        network.load_state_dict(weights)
        path.with_suffix(".json").write_text(json.dumps({"steps": header.step, **scores(network, header, task)}))
    return path


Measures = dict[str, dict[int, float]]


def measures(model: Model, task: Task, painted: Sequence[int], frames: Sequence[int]) -> Measures:
    """The likely error of the model on each frame, by several measures, and the "true error".

    "mirror" and "one pixel" are the mean difference between the result and that for the frame mirrored, or moved by a
    pixel in both directions.
    """
    pixels = {frame: read_frame(task.source.path(frame), model.channels_in).pixels for frame in {*frames, *painted}}
    cells = {frame: features(model, image) for frame, image in pixels.items()}
    painted_cells = torch.cat([cells[frame] for frame in painted])
    scale = (painted_cells.std(0) + 1e-6) * painted_cells.shape[1] ** 0.5
    names = ("true error", "suggest", "nearest cell, percentile", "nearest cell, mean", "mirror", "one pixel")
    found: Measures = {name: {} for name in names}
    means = {frame: one.mean(0) / scale for frame, one in cells.items()}
    painted_means = torch.stack([means[frame] for frame in painted])
    # Ranks unpainted frames by how near they bring all frames to a painted one.
    order = coverage_order(torch.stack([means[frame] for frame in frames]), painted_means)
    ranks = {frames[index]: rank for rank, (index, _) in enumerate(order)}
    for frame in frames:
        image = pixels[frame]
        result, mirrored, moved = (
            encode(model(one), model.header.target_encoding)
            for one in (image, image[:, ::-1], np.roll(image, (1, 1), (0, 1)))
        )
        found["suggest"][frame] = -float(ranks[frame])
        nearest = torch.cdist(cells[frame] / scale, painted_cells / scale).amin(dim=1)
        found["nearest cell, percentile"][frame] = float(nearest.quantile(0.95))
        found["nearest cell, mean"][frame] = float(nearest.mean())
        found["mirror"][frame] = float(np.abs(result - mirrored[:, ::-1]).mean())
        found["one pixel"][frame] = float(np.abs(result - np.roll(moved, (-1, -1), (0, 1)))[2:, 2:].mean())
        only = replace(task, held_out=(frame,))
        found["true error"][frame] = -scores(model.network, model.header, only)["psnr"]
    return found


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Prints the held-out PSNR of every choice, and how each measure ranks the frames."""
    parser = argparse.ArgumentParser(description="The worth of a suggested frame")
    parser.add_argument("shots", type=Path, help="directory with tos_captain, dancer_alpha and paintout_table")
    parser.add_argument("--only", nargs="+", choices=list(SHOTS), default=list(SHOTS))
    parser.add_argument("--steps", type=int, default=350, help="for the first two frames")
    parser.add_argument("--more", type=int, default=120, help="steps with the third")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training with the third")
    parser.add_argument("--first-seed", type=int, default=0, help="of the training on the first two frames")
    parser.add_argument("--keep", type=Path, default=Path("build/suggest"))
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    chosen: dict[str, list[float]] = {}
    for name in options.only:
        shot, folder = SHOTS[name], options.keep / name
        task = prepare(name, options.shots, folder, [*shot.at(0, 1), *shot.candidates], shot.held_out)
        first, worth = trainings(shot, task, folder, options.steps, options.more, options.first_seed, options.seeds)
        frames = sorted({*shot.candidates, *shot.held_out} - {*shot.at(0, 1)})
        found = measures(load(first, "cpu"), task, shot.at(0, 1), frames)
        row = {"two frames": _psnr(first), "random": float(np.mean(list(worth.values())))}
        row |= {"uniform": worth[shot.candidates[len(shot.candidates) // 2]], "best": max(worth.values())}
        picks = {measure: max(worth, key=values.__getitem__) for measure, values in found.items()}
        row |= {measure: worth[pick] for measure, pick in picks.items()}
        print(f"\n{name}: PSNR with the candidate " + ", ".join(f"{f} {value:.2f}" for f, value in worth.items()))
        for measure, values in found.items():
            ranked = rank_correlation(list(values.values()), list(found["true error"].values()))
            print(f"  {measure:18} rank correlation with the true error {ranked:5.2f}, chooses {picks[measure]}")
        rows += [{"shot": name, "choice": choice, "psnr": value} for choice, value in row.items()]
        record.write("suggest", rows, options.json)
        for choice, value in row.items():
            chosen.setdefault(choice, []).append(value)
    print("\n| held-out PSNR | " + " | ".join(options.only) + " | mean |")
    print("|---|" + "---|" * (len(options.only) + 1))
    for choice, values in chosen.items():
        print(f"| {choice} | " + " | ".join(f"{value:.2f}" for value in (*values, float(np.mean(values)))) + " |")


def trainings(
    shot: Shot, task: Task, folder: Path, steps: int, more: int, first_seed: int, seeds: Sequence[int]
) -> tuple[Path, dict[int, float]]:
    """The model of the two ends, and the held-out PSNR with each candidate, the mean over the seeds."""
    ends = shot.at(0, 1)
    first = trained(folder / f"ends_seed{first_seed}.cat", _on(task, ends), shot.variant, steps, first_seed)
    going_on = replace(shot.variant, rate=1e-3, stages=(0.0, 0.0, 1.0))
    worth = {}
    for frame in shot.candidates:
        with_it = _on(task, [*ends, frame])
        paths = [folder / f"with_{frame}_seed{first_seed}_{seed}.cat" for seed in seeds]
        paths_with = [trained(p, with_it, going_on, more, s, first) for p, s in zip(paths, seeds, strict=True)]
        worth[frame] = float(np.mean([_psnr(path) for path in paths_with]))
    return first, worth


def _psnr(path: Path) -> float:
    return float(json.loads(path.with_suffix(".json").read_text())["psnr"])


def _on(task: Task, frames: Sequence[int]) -> Task:
    return replace(task, frames=format_frames(sorted(frames)))


if __name__ == "__main__":
    main()
