"""How good are mattes from a few painted frames? DAVIS-2016 validation at 480p, through the real command line.

    python -m benchmarks.davis DAVIS --painted 5 --budget 175 [--only camel goat ...] [--knobs "..."]
    python -m benchmarks.davis DAVIS --painted 5 --steps 2000 ...

DAVIS is a folder with ``JPEGImages/480p`` and ``Annotations/480p``. ``--painted`` frames of each sequence are trained
on (evenly spaced, the first and the last among them; 1 is the first frame). All others are rendered and scored: J
(region) and F (boundary) in percent, and the mean absolute error. A budget is spent as wall time, on idle cores; on a
busy machine ``--steps`` makes trainings comparable, and the rows say what CPU time they took. ``--tuning`` takes the
ten sequences that settings may be chosen on, ``--report`` the other ten. ``--keep FOLDER`` keeps each run and its
mattes there. Published J of the twenty: OSVOS 79.8 from one frame, up to 86.9 with more (Caelles et al., CVPR 2017),
XMem 90.4 from one (Cheng and Schwing, ECCV 2022); both were trained on large data sets before.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import record
from benchmarks.real_shots import copycat
from benchmarks.regions import boundary_accuracy, region_similarity
from benchmarks.shotbench.clock import children_seconds

TUNING = (
    "bmx-trees", "camel", "car-roundabout", "dance-twirl", "dog",
    "drift-chicane", "goat", "kite-surf", "parkour", "scooter-black",
)  # fmt: skip
KNOBS = "--model-size Small --crop-size 128 --image-interval 100000 --checkpoint-interval 100000"
# Start-up counts too, so the training gets a little less than the budget.
RESERVE = 14.0


def painted_frames(numbers: Sequence[int], count: int) -> list[int]:
    """``count`` of the frames, evenly spaced, the first and the last among them; one is the first."""
    return [numbers[round(i)] for i in np.linspace(0, len(numbers) - 1, count)] if count > 1 else [numbers[0]]


def run(plates: Path, truths: Path, painted: Sequence[int], length: Sequence[str], knobs: str, out: Path) -> record.Row:
    """Trains on the painted frames and scores all others.

    Args:
        plates: folder with ``%05d.jpg``; truths: the same with ``.png``, white where the subject is.
        painted: frame numbers that are trained on.
        length: the option of copycat train that says how long to train.
        knobs: options of copycat train.
        out: an empty directory.
    """
    frames = ",".join(map(str, painted))
    command = ["train", str(plates), str(truths), "--data-directory", str(out), "--run-name", "run"]
    command += [*length, "--training-frames", frames, "--ground-truth-channels", "Y"]
    before = children_seconds()
    copycat([*command, *shlex.split(knobs)])
    spent = children_seconds() - before
    model = max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(["infer", model, plates, out / "rendered" / "%05d.png"])
    found = scores(out / "rendered", truths, painted)
    return {**found, "steps": int(model.stem.split("_")[-1]), "cpu_seconds": round(spent, 1)}


def scores(rendered: Path, truths: Path, painted: Sequence[int]) -> dict[str, float]:
    """J, F and the mean absolute error of the frames that are not painted; arguments as of :func:`run`."""
    found = [
        _score(rendered / path.name, path) for path in sorted(truths.glob("*.png")) if int(path.stem) not in painted
    ]
    region, boundary, error = map(float, np.mean(found, axis=0))
    return {"j": round(100 * region, 2), "f": round(100 * boundary, 2), "error": round(error, 5)}


def _score(rendered: Path, truth: Path) -> tuple[float, float, float]:
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (rendered, truth)]
    if images[0] is None or images[0].shape != images[1].shape:
        raise RuntimeError(f"{rendered}: missing, or of another size than the truth")
    regions = [image > 127 for image in images]
    error = float(np.abs(images[0] / 255.0 - regions[1]).mean())
    return region_similarity(*regions), boundary_accuracy(*regions), error


def main() -> None:
    """Prints a row for each sequence, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("davis", type=Path)
    parser.add_argument("--painted", type=int, default=5)
    parser.add_argument("--budget", type=float, default=175.0, help="CPU-seconds of a training, its start included")
    parser.add_argument("--steps", type=int, help="of a training, instead of a budget")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--only", nargs="+", metavar="SEQUENCE")
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the runs and mattes")
    record.add_option(parser)
    options = parser.parse_args()
    plates, truths = (options.davis / kind / "480p" for kind in ("JPEGImages", "Annotations"))
    names = sorted(path.name for path in truths.iterdir())
    if options.tuning or options.report:
        names = [name for name in names if (name in TUNING) == options.tuning]
    if options.only:
        names = options.only
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    length = ["--minutes", f"{(options.budget - RESERVE) / options.threads / 60:.4f}"]
    budget = f"{options.budget:.0f}s"
    if options.steps:  # all painted frames are in each step, so an epoch is one
        length, budget = ["--epochs", str(options.steps)], f"{options.steps}steps"
    rows: list[dict[str, record.Value]] = []
    for name in names:
        numbers = sorted(int(path.stem) for path in (truths / name).glob("*.png"))
        painted = painted_frames(numbers, options.painted)
        with tempfile.TemporaryDirectory(prefix="copycat-davis-") as temporary:
            out = options.keep / name if options.keep else Path(temporary)
            out.mkdir(parents=True, exist_ok=True)
            found = run(plates / name, truths / name, painted, length, options.knobs, out)
        rows.append({"sequence": name, **found})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        mean: dict[str, record.Value] = {"sequence": "mean"}
        mean |= {key: round(float(np.mean([float(str(row[key])) for row in rows])), 4) for key in found}
        record.write(f"davis-{options.painted}-{budget}", [*rows, mean], options.json)
    print("  ".join(f"{key} {value}" for key, value in mean.items()))


if __name__ == "__main__":
    main()
