"""A matte rendered as it is and with ``--steady``: PSNR, error and flicker. And what the same would do to colours.

``python -m benchmarks.steady SHOTS --davis DAVIS --runs KEEP`` renders what ``benchmarks.davis --keep KEEP`` trained.

``python -m benchmarks.steady SHOTS`` trains on the shot ``matte`` of ``benchmarks.shots``, or takes ``--model``. With
``--t1 MODEL``, trained on the common task T1, the result's difference from the plate is averaged in the same way.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from copycat.inference.model import load
from copycat.inference.steady import REACH, look_at, neighbourhood, steadied
from copycat.runs import Run, read_provenance
from copycat.sequence import ImageSequence, format_frames, read_frame

from benchmarks import davis, record
from benchmarks.flicker import Frame, flicker
from benchmarks.real_shots import KNOBS, copycat, covered, psnr, work
from benchmarks.shots import RGB, SHOTS, Shot
from benchmarks.tasks import NEIGHBOURS, build_frames


def main() -> None:
    """Prints one line without and one with steadying."""
    parser = argparse.ArgumentParser(description="Steadied mattes")
    parser.add_argument("shots", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--model", type=Path, help="a model instead of a training")
    parser.add_argument("--t1", type=Path, metavar="MODEL", help="of the common task T1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result instead of benchmarks/results")
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages/480p and Annotations/480p")
    parser.add_argument("--runs", type=Path, metavar="KEEP", help="a folder of benchmarks.davis, instead of the shot")
    options = parser.parse_args()
    if options.runs:
        if not options.davis:
            parser.error("--runs needs --davis")
        sequences(options.davis, options.runs, options.json)
        return
    rows: list[record.Row] = []
    with tempfile.TemporaryDirectory(prefix="copycat-steady-") as folder:
        out = Path(folder)
        shot = SHOTS["matte"](options.shots, out)
        model = options.model
        if model is None:
            work(out, shot, [*shlex.split(options.knobs), "--minutes", str(options.minutes)])
            model = out / "runs/run"
        for name, more in (("plain", []), ("steady", ["--steady"])):
            result = ImageSequence.parse(out / name / "result.%04d.exr")
            copycat(["infer", model, shot.plate, result, "--frames", format_frames(shot.held_out), *more])
            figures = covered(shot, result)[0]
            row: record.Row = {"psnr": _psnr(shot, result), **{key: figures[key] for key in ("error", "flicker")}}
            rows.append({"shot": "matte", "render": name, **row})
        rows += colours(options.t1, out) if options.t1 else []
    for row in rows:
        print(row)
    record.write("steady", rows, options.json)


def sequences(truths: Path, runs: Path, result: Path | None) -> None:
    """Prints J, F and error of each kept run of DAVIS, plain and steadied."""
    rows: list[record.Row] = []
    for folder in sorted(path.parent for path in runs.glob("*/run.json")):
        run, name = Run(folder, "run"), folder.name
        painted = [int(frame["frame"]) for frame in read_provenance(run)["frames"]]
        plates = truths / "JPEGImages/480p" / name
        with tempfile.TemporaryDirectory(prefix="copycat-steady-") as out:
            for render, more in (("plain", []), ("steady", ["--steady"])):
                rendered = Path(out) / render
                copycat(["infer", folder / "run", plates, rendered / "%05d.png", *more])
                found = davis.scores(rendered, truths / "Annotations/480p" / name, painted)
                rows.append({"sequence": name, "render": render, **found})
                print(rows[-1], flush=True)
    for render in ("plain", "steady"):
        some = [row for row in rows if row["render"] == render]
        mean = {key: round(float(np.mean([float(str(row[key])) for row in some])), 5) for key in ("j", "f", "error")}
        rows.append({"sequence": "mean", "render": render, **mean})
        print(rows[-1])
    record.write("steady-davis", rows, result)


def colours(model_path: Path, out: Path) -> list[record.Row]:
    """T1's neighbouring frames, whose effect (result less plate) is averaged where the plate stands still."""
    model = load(model_path, "cpu")
    scored = NEIGHBOURS["t1"]
    numbers = range(scored[0] - REACH, scored[-1] + REACH + 1)
    folder = build_frames("t1", numbers, out / "t1")
    plates, truths = (
        {f: read_frame(folder / side / f"{f:04d}.png", RGB).pixels for f in numbers} for side in ("src", "dst")
    )
    looks = {f: look_at(plate, model(plate) - plate, (0, 0), model.header) for f, plate in plates.items()}
    rows: list[record.Row] = []
    for name in ("plain", "steady"):
        results = {}
        for frame in scored:
            others = [looks[one] for one in neighbourhood(frame, numbers) if one != frame and name == "steady"]
            results[frame] = np.clip(plates[frame] + steadied(looks[frame], others, (0, 1, 2)), 0, 1)
        frames = [Frame(*(255 * of[f] for of in (plates, results, truths))) for f in scored]
        row = {
            "psnr": float(np.mean([psnr(results[f], truths[f]) for f in scored])),
            "flicker": flicker(pairwise(frames)),
        }
        rows.append({"shot": "t1", "render": name, **row})
    return rows


def _psnr(shot: Shot, result: ImageSequence) -> float:
    """Mean over the held-out frames, peak 1, in dB."""

    def matte(sequence: ImageSequence, frame: int) -> np.ndarray:
        return np.clip(read_frame(sequence.path(frame), ("A",)).pixels.astype(np.float64), 0, 1)

    errors = [np.square(matte(result, frame) - matte(shot.truth, frame)).mean() for frame in shot.held_out]
    return float(np.mean(-10 * np.log10(errors)))


if __name__ == "__main__":
    main()
