"""What are Small, Medium and Large good for? PSNR over time, and over steps.

``python -m benchmarks.ablations.sizes SHOTS`` trains each size on five frames of each shot of
``benchmarks.reduced_shots``, one whole training for each of ``--budgets`` CPU-seconds of one thread, and scores
frames in between. Frames are reduced and crops are 64, so that a training is as far in a quarter of the time.
``--sizes`` also takes the other rows that Medium and Large were chosen from.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

from copycat.model.network import ROWS, Row
from copycat.sequence import format_frames

from benchmarks import record
from benchmarks.ablations.recipe import train
from benchmarks.reduced_shots import SHOTS, prepare

TRAINED = tuple(ninths / 9 for ninths in (0, 2, 4, 7, 9))
HELD_OUT = tuple((ninths + 0.5) / 9 for ninths in range(9))
_TWICE = (2, 2, 2)
SIZES = ROWS | {
    "Small, twice the blocks": Row(32, _TWICE, 2, _TWICE, widest=64),
    "Medium, 64 wide": Row(64, (1, 1, 1), 1, widest=128),
    "Medium until 2026-11-26": Row(48),
    "Large, 64 wide": Row(64, _TWICE, 2, _TWICE, widest=128),
    "Large until 2026-11-26": Row(64),
}


def main() -> None:
    """Prints a row for each training as it ends."""
    parser = argparse.ArgumentParser(description="Model sizes over time")
    parser.add_argument("shots", type=Path, help="directory with tos_captain, dancer_alpha and paintout_table")
    parser.add_argument("--only", nargs="+", choices=list(SHOTS), default=list(SHOTS))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(ROWS))
    parser.add_argument("--budgets", type=int, nargs="+", default=[60, 300])
    parser.add_argument("--by-steps", action="store_true", help="the budgets are steps, not CPU-seconds")
    parser.add_argument("--keep", type=Path, default=Path("build/sizes"), help="frames, and scores of what was trained")
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    unit = "_steps" if options.by_steps else ""
    print("| shot | size | budget | steps | PSNR |\n|---|---|---|---|---|", flush=True)
    for name, budget, size in product(options.only, options.budgets, options.sizes):
        shot, kept = SHOTS[name], options.keep / name / f"{size}_{budget}{unit}.json"
        if not kept.exists():
            trained = shot.at(*TRAINED)
            task = prepare(name, options.shots, kept.parent, trained, shot.at(*HELD_OUT))
            variant = replace(shot.variant, row=SIZES[size])
            scored = train(replace(task, frames=format_frames(trained)), variant, budget, 0, options.by_steps)
            kept.write_text(json.dumps(scored))
        scored = json.loads(kept.read_text())
        rows.append({"shot": name, "size": size, "budget": budget, **scored})
        record.write("sizes-steps" if options.by_steps else "sizes", rows, options.json)
        print(f"| {name} | {size} | {budget} | {scored['steps']:.0f} | {scored['psnr']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
