"""Does ``copycat review`` find the frames with the largest errors?

    python -m benchmarks.review SHOTS --davis DAVIS [--only t1 camel ...]

Each shot (``benchmarks.reduced_shots``, and the tuning sequences of DAVIS-2016 at half their size) is trained on a few
evenly spaced frames, rendered and reviewed. On the frames that were not painted, doubt is compared with the true error:
the mean absolute error of a matte, else the mean square error as displayed. ``rank`` is Spearman's rank correlation,
``auc`` the area under the ROC curve for the tenth of the frames with the largest errors, ``time`` the CPU time of the
review divided by that of the render, ``worst_error`` the largest error divided by the median. The signals' own rank
correlations stand beside it. Runs and measurements stay in ``--keep``, so another doubt costs no training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import copycat
import cv2
import numpy as np
import torch
from copycat.inference.review import doubts_of
from copycat.sequence import ImageSequence, format_frames, read_frame, read_info, write_frame
from copycat.sequence.colour import display
from numpy.typing import ArrayLike

from benchmarks import record
from benchmarks.davis import TUNING, painted_frames
from benchmarks.reduced_shots import SHOTS, prepare
from benchmarks.shots import PAINTOUT_TRAINING
from benchmarks.tasks import TRAINING

PAINTED = {**TRAINING, "paintout": PAINTOUT_TRAINING}
WORST = 0.1  # of the frames
SIGNALS = ("disagreement", "unlikeness", "chatter", "indecision")
Kept = dict[str, Any]
"""``painted``: indices; ``signals``, ``errors``: of each frame; ``time``."""


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's: the correlation of the ranks, for values that differ."""
    ranks = [np.argsort(np.argsort(np.asarray(values))) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def area_under_curve(scores: ArrayLike, errors: ArrayLike) -> float:
    """How often one of the worst tenth has a higher score than one of the others; a tie counts half."""
    order, values = np.argsort(np.asarray(errors)), np.asarray(scores)
    count = max(1, round(WORST * len(order)))
    worst, others = values[order[-count:]], values[order[:-count]]
    above, equal = worst[:, None] > others, worst[:, None] == others
    return float((above + 0.5 * equal).mean())


def sequences(name: str, shots: Path, davis: Path | None, out: Path) -> tuple[ImageSequence, ImageSequence]:
    """The plate and the truth of a shot, reduced, written below ``out`` if they are missing."""
    if name in SHOTS:
        every = range(SHOTS[name].first, SHOTS[name].first + SHOTS[name].count)
        task = prepare(name, shots, out, every, ())
        return task.source, task.truth
    if davis is None:
        raise SystemExit(f"{name} is a sequence of DAVIS: where is it (--davis)?")
    for side, folder, extension in (("input", "JPEGImages", "jpg"), ("truth", "Annotations", "png")):
        for path in sorted((davis / folder / "480p" / name).glob(f"*.{extension}")):
            target = out / side / f"{path.stem}.png"
            if not target.exists():
                channels = ("R", "G", "B") if side == "input" else read_info(path).channels[:1]
                pixels = read_frame(path, channels).pixels
                small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                write_frame(target, small.reshape(*small.shape[:2], -1), channels, dtype="uint8")
    return ImageSequence.parse(out / "input/%05d.png"), ImageSequence.parse(out / "truth/%05d.png")


def true_errors(result: ImageSequence, truth: ImageSequence, frames: Sequence[int]) -> list[float]:
    """The error of each frame: of a matte the mean absolute one, else the mean square as displayed."""
    errors = []
    for frame in frames:
        pictures = []
        for path in (result.path(frame), truth.path(frame)):
            info = read_info(path)
            channels = info.channels[:3] if len(info.channels) >= 3 else info.channels[:1]
            pictures.append(display(read_frame(path, channels).pixels, info.linear, channels))
        difference = (pictures[0] - pictures[1]).astype(np.float64)
        errors.append(float(np.abs(difference).mean() if len(channels) == 1 else (difference**2).mean()))
    return errors


def trained(out: Path, plate: ImageSequence, truth: ImageSequence, painted: Sequence[int], steps: int) -> Path:
    """The model of a run in ``out``, trained if it is missing."""
    if not list(out.glob("run_*.cat")):
        channels = read_info(truth.path(painted[0])).channels
        frames, learned = format_frames(sorted(painted)), ",".join(channels[:3])
        files = {"data_directory": str(out), "run_name": "run", "image_interval": 100_000}
        size = {"model_size": "Small", "crop_size": 64, "epochs": steps}  # all painted frames are in each step
        copycat.train(str(plate), str(truth), training_frames=frames, ground_truth_channels=learned, **files, **size)
    return max(out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)


def measured(out: Path, plate: ImageSequence, truth: ImageSequence, painted: Sequence[int], steps: int) -> Kept:
    """Trains, renders and reviews a shot."""
    model = copycat.load(trained(out / "runs", plate, truth, painted, steps), "cpu")
    began = time.process_time()
    result = ImageSequence.parse(out / f"result/%05d{plate.path(painted[0]).suffix}")
    copycat.infer(model, str(plate), str(result))
    rendered = time.process_time()
    found = copycat.review(model, str(plate)).frames
    reviewed = time.process_time()
    return {
        "painted": [index for index, one in enumerate(found) if one.painted],
        "signals": [[getattr(one, name) for name in SIGNALS] for one in found],
        "errors": true_errors(result, truth, [one.frame for one in found]),
        "time": (reviewed - rendered) / (rendered - began),
    }


def agreement(kept: Kept) -> record.Row:
    """How well the doubt of the frames that are not painted agrees with their true error."""
    signals = np.array(kept["signals"], np.float64)
    scores = {"rank": doubts_of(signals, kept["painted"]), **dict(zip(SIGNALS, signals.T, strict=True))}
    others = np.delete(np.arange(len(signals)), kept["painted"])
    errors = np.array(kept["errors"])[others]
    row = {
        name: round(rank_correlation(values[others], errors), 3)
        for name, values in scores.items()
        if not np.isnan(values).any()
    }
    area = round(area_under_curve(scores["rank"][others], errors), 3)
    spread = round(float(errors.max() / np.median(errors)), 2)
    return {"frames": len(others), "auc": area, **row, "worst_error": spread, "time": round(kept["time"], 2)}


def main() -> None:
    """Prints a row for each shot, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shots", type=Path, help="directory with tos_captain, dancer_alpha and paintout_table")
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--only", nargs="+", choices=[*SHOTS, *TUNING], help="by default all that there are")
    parser.add_argument("--steps", type=int, default=350, help="of each training")
    parser.add_argument("--keep", type=Path, default=Path("build/review"))
    record.add_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, record.Value]] = []
    for name in args.only or [*SHOTS, *(TUNING if args.davis else ())]:
        out = args.keep / name
        plate, truth = sequences(name, args.shots, args.davis, out)
        kept = out / "measured.json"
        if not kept.exists():
            painted = PAINTED.get(name) or painted_frames(plate.frames(), 5)
            kept.write_text(json.dumps(measured(out, plate, truth, painted, args.steps)))
        row = agreement(json.loads(kept.read_text()))
        rows.append({"shot": name, **row})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        named = {key: [float(str(one[key])) for one in rows if key in one] for key in rows[0] if key != "shot"}
        mean = {key: round(float(np.mean(values)), 3) for key, values in named.items()}
        record.write("review", [*rows, {"shot": "mean", **mean}], args.json)
    print("  ".join(f"{key} {value}" for key, value in mean.items()))


if __name__ == "__main__":
    main()
