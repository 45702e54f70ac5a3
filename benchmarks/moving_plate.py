"""How good is a paint-out where the camera moves?

``python -m benchmarks.moving_plate SHOTS`` (a directory with ``paintout_table``) trains the shots of
``benchmarks.moved_shots`` through the real command line on eight painted frames, locked off, moved and with parallax,
renders the other frames and scores them as ``benchmarks.real_shots`` does: PSNR inside and outside the patch, flicker.
``--plates Off`` trains without a clean plate. ``--pictures`` gets strips of consecutive frames: plate, result, truth.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence
from copycat.training.pictures import write_png

from benchmarks import record
from benchmarks.moved_shots import KINDS, SIZE, build
from benchmarks.real_shots import KNOBS, coloured, shown, work
from benchmarks.shots import Shot

_CONSECUTIVE = 6


def strip(shot: Shot, result: ImageSequence) -> np.ndarray:
    """Consecutive frames below each other, each beside its plate and its truth, [H, W, 3] at half size."""
    runs = [shot.held_out[i : i + _CONSECUTIVE] for i in range(len(shot.held_out) - _CONSECUTIVE + 1)]
    frames = next((run for run in runs if run[-1] - run[0] == _CONSECUTIVE - 1), shot.held_out[:_CONSECUTIVE])
    rows = [np.concatenate([shown(s.path(f)) for s in (shot.plate, result, shot.truth)], axis=1) for f in frames]
    return np.asarray(cv2.resize(np.concatenate(rows), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def main() -> None:
    """Prints and records a row for each training."""
    parser = argparse.ArgumentParser(description="Paint-outs where the camera moves")
    parser.add_argument("shots", type=Path, help="directory with paintout_table")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--plates", nargs="+", default=["Auto"], help="values of the knob Clean Plate")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, help="height and width of the window")
    parser.add_argument("--minutes", type=float, default=2.5, help="of each training")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--pictures", type=Path, help="folder for strips of frames")
    record.add_option(parser)
    args = parser.parse_args()
    rows: list[record.Row] = []
    for kind in args.only:
        with tempfile.TemporaryDirectory(prefix="copycat-moved-") as folder:
            shot = build(kind, args.shots, Path(folder) / "shot", tuple(args.size))
            for plate in args.plates:
                words = [*shlex.split(args.knobs), "--minutes", str(args.minutes), "--clean-plate", plate]
                result, cpu = work(Path(folder) / plate, shot, words)
                figures = coloured(shot, result)[0] | {"cpu_seconds": cpu}
                rows.append({"shot": kind, "clean_plate": plate, "minutes": args.minutes, **figures})
                record.write("moving_plate", rows, args.json)
                numbers = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
                print(f"{kind:10} Clean Plate {plate:6} {numbers}", flush=True)
                if args.pictures:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    write_png(args.pictures / f"{kind}-{plate}.png", strip(shot, result))


if __name__ == "__main__":
    main()
