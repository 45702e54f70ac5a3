"""What is a third painted frame worth, and what do frames that nobody painted give instead?

``python -m benchmarks.ablations.two_frames SHOTS`` trains each shot of ``benchmarks.reduced_shots`` on its first and
last frame, on these and the middle one, and on the two with each way to use the other frames, all for as many steps,
and prints the PSNR of held-out frames. Crops are 64 and frames reduced, so that it takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from copycat.sequence import ImageSequence, format_frames

from benchmarks import record, whole_shot
from benchmarks.ablations.recipe import Task, train
from benchmarks.reduced_shots import SHOTS, prepare

HELD_OUT = 6
TWO, THREE = (0.0, 1.0), (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Way:
    """How a shot is learned.

    Attributes:
        painted: the frames, as fractions of the shot.
        knobs: of the training.
        changed: what is different meanwhile, made of the plate.
        task: changes the task, and may write files to a folder.
        shots: those that it is for.
    """

    painted: tuple[float, ...] = TWO
    knobs: Mapping[str, object] = field(default_factory=dict)
    changed: Callable[[ImageSequence], AbstractContextManager[object]] = nullcontext
    task: Callable[[Task, Path], Task] | None = None
    shots: tuple[str, ...] = tuple(SHOTS)


WAYS = {
    "two": Way(),
    "three": Way(THREE),
    "two, Clean Plate Off": Way(knobs={"clean_plate": "Off"}, shots=("paintout",)),
    "two, Clean Plate of the shot": Way(changed=whole_shot.plate_of_the_shot, shots=("paintout",)),
    "three, Clean Plate of the shot": Way(THREE, changed=whole_shot.plate_of_the_shot, shots=("paintout",)),
    "two, Composites Off": Way(knobs={"composites": "Off"}, shots=("matte",)),
    "two, background of the shot": Way(task=whole_shot.with_background, shots=("matte",)),
    "two, encodings of the shot": Way(changed=whole_shot.encodings_of_the_shot),
}


def main() -> None:
    """Prints a row for each way."""
    parser = argparse.ArgumentParser(description="The worth of a third painted frame")
    parser.add_argument("shots", type=Path, help="directory with tos_captain, dancer_alpha and paintout_table")
    parser.add_argument("--only", nargs="+", choices=list(SHOTS), default=list(SHOTS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", type=Path, default=Path("build/two_frames"), help="folder for the reduced frames")
    record.add_option(parser)
    options = parser.parse_args()
    rows: list[record.Row] = []
    torch.set_num_threads(1)
    for way in options.ways:
        chosen, found = WAYS[way], {}
        for name in (name for name in options.only if name in chosen.shots):
            shot = SHOTS[name]
            held_out = shot.at(*((i + 0.5) / HELD_OUT for i in range(HELD_OUT)))
            folder = options.keep / name
            every = range(shot.first, shot.first + shot.count)
            needed = [*shot.at(*THREE), *whole_shot.chosen(every, ())]
            task = prepare(name, options.shots, folder, needed, held_out)
            task = replace(task, frames=format_frames(shot.at(*chosen.painted)))
            if chosen.task:
                task = chosen.task(task, folder / way)
            variant = replace(shot.variant, knobs={**shot.variant.knobs, **chosen.knobs})
            with chosen.changed(task.source):
                scored = [train(task, variant, options.steps, seed, by_steps=True) for seed in options.seeds]
            found[name] = round(float(np.mean([one["psnr"] for one in scored])), 2)
            rows.append({"way": way, "shot": name, "seeds": len(scored), "steps": options.steps, "psnr": found[name]})
            record.write("two_frames", rows, options.json)
            print(f"{way:30} {name:10} {found[name]:.2f} dB, {scored[0]['cpu_seconds']:.0f} CPU-seconds", flush=True)
        print(f"{way:30} mean       {np.mean(list(found.values())):.2f} dB", flush=True)


if __name__ == "__main__":
    main()
