"""What do the Initial Weights give before any training, and beside None as a training goes on?

    python -m benchmarks.initial_weights SHOTS [--sizes Small Medium Large] [--works Deblur "Upscale" "Human Matting"]
        [--seeds 0 1 2] [--budgets 0 20 45 90 175] [--davis DAVIS --sequences dance-twirl ...]

Everything goes through the command line. A budget of 0 is before any training: one step at a twentieth of the rate, as
a training writes a checkpoint after at least one. Other budgets are CPU-seconds of one AVX2 core with Small and crops
of 128, start-up included; a training is given the steps that such a core makes in them, so a busy machine changes
nothing, and every size does as many steps. The cases:

- deblur: tos_captain softened by a Gaussian of sigma 2; PSNR beside doing nothing.
- x2, x4: tos_captain, dancer_alpha and paintout_table reduced by the factor and enlarged by bicubic interpolation; PSNR
  beside that, mean of the three.
- matte: dancer_alpha; mean absolute error beside a matte of zeros.
- davis: the mean J of sequences with people, five frames painted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, format_frames, read_frame, write_frame

from benchmarks import davis, record
from benchmarks.real_shots import copycat, psnr, shown
from benchmarks.shots import RGB

WORKS = ("Deblur", "Upscale", "Human Matting")
BUDGETS = (0, 20, 45, 90, 175)
PEOPLE = ("dance-twirl", "parkour", "scooter-black", "kite-surf", "bmx-trees")
STEPS_PER_SECOND = 3.7
KNOBS = ["--crop-size", "128", "--image-interval", "100000", "--checkpoint-interval", "100000"]
_PAINTED = (1001, 1007, 1013, 1018, 1024)
_SCORED = (1004, 1016, 1021)


@dataclass(frozen=True)
class Case:
    """A work on a shot.

    Attributes:
        name: of the case; works: the Initial Weights that are measured on it.
        plate, truth: folders or patterns of its frames; channels: of the truth.
        score: of a rendered frame and the true one; nothing: the mean of doing nothing.
    """

    name: str
    works: tuple[str, ...]
    plate: ImageSequence
    truth: ImageSequence
    channels: str
    score: Callable[[Path, Path], float]
    nothing: float


def cases(shots: Path, out: Path) -> Iterator[Case]:
    """The cases on real shots; computed plates are written below ``out``."""
    plates = {name: ImageSequence.parse(shots / path) for name, path in _PLATES.items()}

    def changed(name: str, shot: str, change: Callable[[np.ndarray], np.ndarray], work: str) -> Case:
        truth = plates[shot]
        for frame in (*_PAINTED, *_SCORED):
            pixels = change(read_frame(truth.path(frame), RGB).pixels)
            write_frame(out / name / f"{frame}.exr", np.maximum(pixels, 0).astype(np.float32), RGB, dtype="half")
        plate = ImageSequence.parse(out / name / "%04d.exr")
        nothing = np.mean([_psnr(plate.path(frame), truth.path(frame)) for frame in _SCORED])
        return Case(name, (work,), plate, truth, "R,G,B", _psnr, float(nothing))

    yield changed("deblur tos_captain", "tos_captain", lambda x: cv2.GaussianBlur(x, (0, 0), 2), "Deblur")
    for factor in (2, 4):
        for shot in plates:
            yield changed(f"x{factor} {shot}", shot, lambda x, f=factor: _enlarged(x, f), "Upscale")
    alpha = ImageSequence.parse(shots / "dancer_alpha/fg.%04d.exr")
    nothing = np.mean([_alpha(alpha.path(frame)).mean() for frame in _SCORED])
    yield Case("matte dancer_alpha", ("Human Matting",), plates["dancer_alpha"], alpha, "A", _error, float(nothing))


_PLATES = {
    "tos_captain": "tos_captain/plate.%04d.exr",
    "dancer_alpha": "dancer_alpha/comp.%04d.exr",
    "paintout_table": "paintout_table/plate.%04d.exr",
}


def _enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Reduced by averaging, enlarged by bicubic interpolation."""
    height, width = (extent // factor for extent in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _psnr(rendered: Path, truth: Path) -> float:
    return psnr(shown(rendered), shown(truth))


def _error(rendered: Path, truth: Path) -> float:
    return float(np.abs(_alpha(rendered) - _alpha(truth)).mean())


def _alpha(path: Path) -> np.ndarray:
    return np.clip(read_frame(path, ("A",)).pixels, 0, 1)


def steps(budget: float) -> int:
    """The steps of a budget of CPU-seconds."""
    return max(1, round((budget - davis.RESERVE) * STEPS_PER_SECOND))


def words(work: str, size: str, budget: float, seed: int) -> list[str]:
    """Options of a training."""
    chosen = ["--initial-weights", work, "--model-size", size, "--epochs", str(steps(budget)), "--seed", str(seed)]
    return [*KNOBS, *chosen]


def score(case: Case, options: Sequence[str]) -> float:
    """Trains, renders and scores a case."""
    with tempfile.TemporaryDirectory(prefix="copycat-weights-") as folder:
        out = Path(folder)
        train = ["train", case.plate, case.truth, "--frames", format_frames(_PAINTED), "--run-name", "run"]
        copycat([*train, "--ground-truth-channels", case.channels, "--data-directory", out, *options])
        model = max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
        result = out / "result.%04d.exr"
        copycat(["infer", model, case.plate, result, "--frames", format_frames(_SCORED)])
        rendered = ImageSequence.parse(result)
        return float(np.mean([case.score(rendered.path(f), case.truth.path(f)) for f in _SCORED]))


def region_similarity(folder: Path, sequence: str, options: Sequence[str]) -> float:
    """J of a DAVIS sequence with five frames painted."""
    plates, truths = (folder / kind / "480p" / sequence for kind in ("JPEGImages", "Annotations"))
    painted = davis.painted_frames(sorted(int(path.stem) for path in truths.glob("*.png")), 5)
    with tempfile.TemporaryDirectory(prefix="copycat-weights-") as out:
        return float(str(davis.run(plates, truths, painted, (), " ".join(map(_quoted, options)), Path(out))["j"]))


def _quoted(word: str) -> str:
    return f"'{word}'"


def main() -> None:
    """Prints a row for each case, size, budget and seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shots", type=Path)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases whose names begin so")
    parser.add_argument("--sizes", nargs="+", default=["Small", "Medium", "Large"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--sequences", nargs="+", default=list(PEOPLE))
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []

    def note(name: str, work: str, size: str, nothing: float | None, run: Callable[[list[str]], float]) -> None:
        for budget in options.budgets:
            for seed in options.seeds if budget else options.seeds[:1]:
                row: dict[str, record.Value] = {
                    "case": name,
                    "work": work,
                    "size": size,
                    "budget": budget,
                    "seed": seed,
                }
                row |= {"nothing": nothing, "weights": round(run(words(work, size, budget, seed)), 5)}
                if budget:
                    row["none"] = round(run(words("None", size, budget, seed)), 5)
                rows.append(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                record.write("initial_weights", rows, options.json)

    with tempfile.TemporaryDirectory(prefix="copycat-weights-") as out:
        for case in cases(options.shots, Path(out)):
            chosen = [work for work in case.works if work in options.works]
            if options.only and not case.name.startswith(tuple(options.only)):
                continue
            for work in chosen:
                for size in options.sizes:
                    note(case.name, work, size, round(case.nothing, 5), lambda o, c=case: score(c, o))
        if options.davis and "Human Matting" in options.works:
            for name in options.sequences:
                for size in options.sizes:
                    run = lambda o, n=name: region_similarity(options.davis, n, o)  # noqa: E731
                    note(f"davis {name}", "Human Matting", size, None, run)


if __name__ == "__main__":
    main()
