"""What gives better mattes from a few painted frames for the same CPU time?

``python -m benchmarks.ablations.mattes DAVIS --painted 5 --budget 80 --only chosen "Composites Off"`` trains variants
of ``benchmarks.ablations.recipe`` on sequences of DAVIS-2016 for this many CPU-seconds of one thread (CPU time, so that
a busy machine does not change the result much) and prints J, in percent, of every fifth frame that was not trained on.
Variants are chosen on the sequences of ``benchmarks.davis.TUNING`` alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from copycat.model import tiles
from copycat.sequence import ImageSequence, read_frame
from copycat.sequence.pairs import Pair

from benchmarks import record
from benchmarks.ablations.recipe import VARIANTS, Task, Variant, fit
from benchmarks.davis import TUNING, painted_frames
from benchmarks.regions import region_similarity

WEAK = ("bmx-trees", "dance-twirl", "kite-surf")


def task_of(davis: Path, name: str, painted: int) -> Task:
    """A sequence of DAVIS with so many painted frames."""
    source, truth = (ImageSequence.parse(str(davis / kind / "480p" / name)) for kind in ("JPEGImages", "Annotations"))
    numbers = truth.frames()
    trained = painted_frames(numbers, painted)
    held_out = [number for number in numbers if number not in trained][2::5]
    frames = ",".join(map(str, trained))
    knobs: dict[str, object] = {"ground_truth_channels": "Y"}
    pair = Pair(*(str(davis / kind / "480p" / name) for kind in ("JPEGImages", "Annotations")))
    return Task(pair, frames, source, truth, None, tuple(held_out), knobs)


def score(task: Task, variant: Variant, budget: float, seed: int, by_steps: bool = False) -> dict[str, float]:
    """Trains a variant; returns its steps and J in percent."""
    header, weights = fit(task, variant, budget, seed, by_steps=by_steps)
    network = header.network()
    network.load_state_dict(weights)
    scores = []
    for frame in task.held_out:
        image = torch.from_numpy(read_frame(task.source.path(frame), header.channels_in).pixels).movedim(-1, 0)
        result = tiles.render(network, image, (header.input_encoding, header.target_encoding))
        truth = read_frame(task.truth.path(frame), header.channels_out).pixels
        scores.append(region_similarity(result[0].numpy() > 0.5, truth[..., 0] > 0.5))
    return {"j": round(100 * float(np.mean(scores)), 2), "steps": header.step}


def main() -> None:
    """Prints a row per variant and sequence, the mean over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("davis", type=Path)
    parser.add_argument("--painted", type=int, default=5)
    parser.add_argument("--budget", type=float, default=80.0, help="CPU-seconds, or steps with --by-steps")
    parser.add_argument("--by-steps", action="store_true", help="for a busy machine")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=["chosen", "Composites Off"])
    parser.add_argument("--sequences", nargs="+", choices=TUNING, default=list(WEAK), metavar="SEQUENCE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    record.add_option(parser)
    args = parser.parse_args()
    rows: list[record.Row] = []
    for name in args.only:
        for sequence in args.sequences:
            task = task_of(args.davis, sequence, args.painted)
            found = [score(task, VARIANTS[name], args.budget, seed, args.by_steps) for seed in args.seeds]
            mean = {key: round(float(np.mean([row[key] for row in found])), 2) for key in found[0]}
            rows.append({"variant": name, "sequence": sequence, "seeds": len(found), **mean})
            length = f"{args.budget:.0f}{'steps' if args.by_steps else 's'}"
            record.write(f"mattes-{args.painted}-{length}", rows, args.json)
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)


if __name__ == "__main__":
    main()
