"""The tasks of ShotBench: frames that are painted, frames that are held out, and how a result is scored.

T1 and T2 are made from clips in a PyPI package (``benchmarks.tasks``); deblur, repair, paintout and matte from the real
shots (``benchmarks.shots``); ``davis-SEQUENCE`` from DAVIS-2016 (``benchmarks.davis``), five painted frames. All are
8-bit PNGs as displayed, which every tool reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.davis import TUNING, painted_frames
from benchmarks.regions import boundary_accuracy, region_similarity
from benchmarks.score import flicker8, score
from benchmarks.shots import SHOTS
from benchmarks.tasks import NEIGHBOURS, build, build_frames

# CPU-seconds of a training.
BUDGETS = {"t1": 600.0, "t2": 300.0, "deblur": 300.0, "repair": 300.0, "paintout": 300.0, "matte": 300.0}
_DAVIS, _DAVIS_BUDGET, _PAINTED = "davis-", 300.0, 5
NAMES = (*BUDGETS, *(_DAVIS + sequence for sequence in TUNING))


@dataclass(frozen=True)
class Task:
    """What a tool gets.

    Attributes:
        name: one of ``NAMES``, or ``davis-SEQUENCE``.
        folder: ``train`` and ``test``, each with ``src`` and ``dst`` and perhaps ``mask``, of ``%04d.png``.
        budget: CPU-seconds of a training.
        matte: whether the Ground Truth is a matte, grey in three channels.
    """

    name: str
    folder: Path
    budget: float
    matte: bool = False

    def scores(self, out: Path, render: Callable[[Path, Path], None]) -> dict[str, float]:
        """Renders and scores the held-out frames.

        Args:
            out: folder for the results: ``rendered``, and ``run`` for consecutive frames if the held-out ones are not.
            render: called with a folder of frames and one for the results, which get the frames' names.

        Returns:
            The figures of ``benchmarks.score``, or of :func:`matte_scores` for a matte, and ``flicker`` in 8-bit values
            where something stands still.
        """
        test, rendered = self.folder / "test", out / "rendered"
        render(test / "src", rendered)
        found = matte_scores(rendered, test) if self.matte else score(rendered, test)
        if self.name in NEIGHBOURS:
            test, rendered = build_frames(self.name, NEIGHBOURS[self.name], self.folder / "neighbours"), out / "run"
            render(test / "src", rendered)
        flicker = flicker8(rendered, test)
        return found if np.isnan(flicker) else found | {"flicker": flicker}


def prepare(name: str, directory: Path, shots: Path | None, davis: Path | None) -> Task:
    """Builds a task below ``directory`` if it is missing.

    Args:
        name: one of ``NAMES``, or ``davis-SEQUENCE``.
        shots: folder of the real shots.
        davis: folder with ``JPEGImages/480p`` and ``Annotations/480p``.

    Raises:
        ValueError: the name is unknown, or its frames are not at hand.
    """
    if name.startswith(_DAVIS):
        if davis is None:
            raise ValueError(f"{name}: --davis must name the folder of DAVIS, or --fetch gets it")
        folder = _build_davis(name.removeprefix(_DAVIS), davis, directory / name)
        return Task(name, folder, _DAVIS_BUDGET, matte=True)
    if name not in BUDGETS:
        raise ValueError(f"{name} is no task; there are {', '.join(BUDGETS)} and davis-SEQUENCE")
    if name in SHOTS and shots is None:
        raise ValueError(f"{name} is a real shot: --shots must name the folder of the shots")
    return Task(name, build(name, directory, shots), BUDGETS[name], matte=name == "matte")


def _build_davis(sequence: str, davis: Path, root: Path) -> Path:
    done = root / "complete"
    if done.exists():
        return root
    plates, truths = (davis / kind / "480p" / sequence for kind in ("JPEGImages", "Annotations"))
    numbers = sorted(int(path.stem) for path in truths.glob("*.png"))
    if not numbers:
        raise ValueError(f"{truths}: no .png, so {sequence} is no sequence of this DAVIS")
    painted = painted_frames(numbers, _PAINTED)
    for number in numbers:
        split = root / ("train" if number in painted else "test")
        for side, path in (("src", plates / f"{number:05d}.jpg"), ("dst", truths / f"{number:05d}.png")):
            image = cv2.imread(str(path))
            if image is None:
                raise ValueError(f"{path}: missing, or no picture")
            (split / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(split / side / f"{number:04d}.png"), image)
    done.touch()
    return root


def matte_scores(rendered: Path, test: Path) -> dict[str, float]:
    """Mean ``error`` (absolute, 0..1), ``j`` and ``f`` (percent) over the held-out mattes."""
    rows = []
    for path in sorted((test / "dst").glob("*.png")):
        truth, matte = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in (path, rendered / path.name))
        if matte is None or matte.shape != truth.shape:
            raise RuntimeError(f"{rendered / path.name}: missing, or of another size than the truth")
        regions = matte > 127, truth > 127
        error = np.abs(matte.astype(np.float64) - truth).mean() / 255
        rows.append((error, 100 * region_similarity(*regions), 100 * boundary_accuracy(*regions)))
    return dict(zip(("error", "j", "f"), map(float, np.mean(rows, axis=0)), strict=True))
