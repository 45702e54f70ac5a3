"""Is a preset as good on its own kind of work as the defaults?

``python -m benchmarks.ablations.presets SHOTS --budget 60`` trains each preset and the defaults for as many CPU-seconds
of one thread on a shot of the preset's work, Small with crops of 128. It prints PSNR on the held-out frames;
``inside`` is that inside the repaired area.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from copycat.settings.presets import NONE, PRESETS, preset_values

from benchmarks import record
from benchmarks.ablations.recipe import BASE, Task, train

WORK = {"Roto": "matte", "Clean-up": "paintout", "Beauty": "repair", "Deblur": "deblur", "Grade": "highlights"}


def main() -> None:
    """Prints a row for each work and preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shots", type=Path)
    parser.add_argument("--budget", type=float, default=60.0, help="CPU-seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--frames", type=Path, default=Path("build/tasks"))
    record.add_option(parser)
    args = parser.parse_args()
    rows: list[record.Row] = []
    print("| work | preset | steps | PSNR | inside |")
    print("|---|---|---|---|---|")
    for preset in args.only:
        task = Task.of(WORK[preset], args.frames, args.shots)
        for name in (NONE, preset):
            variant = replace(BASE, knobs={**BASE.knobs, **preset_values(name)})
            found = train(task, variant, args.budget, args.seed)
            rows.append({"work": WORK[preset], "preset": name, **found})
            record.write("presets", rows, args.json)
            cells = (f"{found[key]:.2f}" if key in found else "" for key in ("psnr", "inside"))
            print(f"| {WORK[preset]} | {name} | {found['steps']:.0f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
