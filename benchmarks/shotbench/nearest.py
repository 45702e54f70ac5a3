"""Doing nothing, as a tool: ``python -m benchmarks.shotbench.nearest FROM FRAMES RENDERED`` copies, for each picture of
FRAMES, the picture of FROM with the nearest number.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def main() -> None:
    """Copies the pictures under the names of FRAMES."""
    source, frames, rendered = map(Path, sys.argv[1:])
    pictures = {int(path.stem): path for path in source.glob("*.png")}
    rendered.mkdir(parents=True)
    for path in frames.glob("*.png"):
        nearest = min(pictures, key=lambda number, frame=int(path.stem): abs(number - frame))
        shutil.copyfile(pictures[nearest], rendered / path.name)


if __name__ == "__main__":
    main()
