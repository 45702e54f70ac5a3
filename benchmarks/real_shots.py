"""How good is the picture on real shots? Five kinds of work, each trained on a few frames, scored on the others.

``python -m benchmarks.real_shots SHOTS`` (a directory with ``tos_captain``, ``dancer_alpha`` and ``paintout_table``)
trains and renders the shots of ``benchmarks.shots`` through the real command line, EXR in, EXR out, and prints the
scores beside doing nothing:

- deblur: PSNR as displayed.
- repair, paintout: PSNR inside and outside the repaired area, as displayed.
- highlights: relative error of values above 1, and the extremes.
- matte: mean absolute error beside copying the nearest training frame's alpha.

The flicker (``benchmarks.flicker``) is that of neighbouring held-out frames, in 8-bit values as displayed, beside that
of the Input; for the matte, of copying the nearest training frame.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, format_frames, read_frame
from copycat.sequence.colour import srgb
from copycat.training.pictures import write_png

from benchmarks import record
from benchmarks.flicker import Frame, flicker, neighbours
from benchmarks.shotbench.clock import children_seconds
from benchmarks.shots import RGB, SHOTS, Shot

KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"


def main() -> None:
    """Prints one line per shot."""
    parser = argparse.ArgumentParser(description="Scores on real shots")
    parser.add_argument("shots", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SHOTS), default=list(SHOTS))
    parser.add_argument("--minutes", type=float, default=2.5, help="of training for each shot")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--pictures", type=Path, help="folder for side-by-side pictures")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="the results' folder instead of benchmarks/results")
    options = parser.parse_args()
    scores = {"highlights": bright, "matte": covered}
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="copycat-shot-") as out:
            shot = SHOTS[name](options.shots, Path(out))
            words = [*shlex.split(options.knobs), "--minutes", str(options.minutes)]
            result, cpu = work(Path(out), shot, words)
            figures, images = scores.get(name, coloured)(shot, result)
            draw(options.pictures, name, images)
        figures["cpu_seconds"] = cpu
        row: record.Row = {"shot": name, "minutes": options.minutes, **figures}
        record.write(f"real_shots-{name}", [row], options.json and options.json / f"real_shots-{name}.json")
        print(f"{name:10} " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)


# Figures by name; those of doing nothing end in ``_nothing``. And the pictures of a frame to look at.
Scores = tuple[dict[str, float], list[np.ndarray]]


def coloured(shot: Shot, result: ImageSequence) -> Scores:
    """``psnr``, or with a mask ``inside`` and ``outside``, in dB as displayed; ``flicker``."""
    sources = {"_nothing": shot.plate, "": result}
    parts = {"inside": shot.inside, "outside": lambda f: ~shot.inside(f)} if shot.mask else {"psnr": _everywhere}
    figures = {}
    for part, mask in parts.items():
        for suffix, source in sources.items():
            found = [psnr(shown(source.path(f))[mask(f)], shown(shot.truth.path(f))[mask(f)]) for f in shot.held_out]
            figures[part + suffix] = float(np.mean(found))
    for suffix, source in sources.items():
        figures["flicker" + suffix] = mean_flicker(
            shot, lambda f, s=source: Frame(*(255 * shown(x.path(f)) for x in (shot.plate, s, shot.truth)))
        )
    frame = shot.held_out[len(shot.held_out) // 2]
    window = np.s_[200:600, 700:1300] if "tos_captain" in str(shot.truth) else np.s_[:, :]
    return figures, [shown(s.path(frame))[window] for s in (shot.plate, result, shot.truth)]


def _everywhere(frame: int) -> slice:
    return np.s_[:]


def bright(shot: Shot, result: ImageSequence) -> Scores:
    """Relative error of values above 1 (``error_median``, ``error_99``), and the extremes of result and truth."""
    errors, extremes = [], []
    for frame in shot.held_out:
        ours, truth = (read_frame(s.path(frame), RGB).pixels.astype(np.float64) for s in (result, shot.truth))
        above = truth > 1
        errors.append(np.abs(ours - truth)[above] / truth[above])
        extremes.append([ours.min(), truth.min(), ours.max(), truth.max()])
    error = np.concatenate(errors)
    low, true_low, high, true_high = np.array(extremes).T
    figures = {"error_median": np.median(error), "error_99": np.percentile(error, 99)}
    figures |= {"low": low.min(), "true_low": true_low.min(), "high": high.max(), "true_high": true_high.max()}
    pictures = [shown(s.path(shot.held_out[9])) for s in (result, shot.truth)]
    return {name: float(value) for name, value in figures.items()}, pictures


def covered(shot: Shot, result: ImageSequence) -> Scores:
    """``error``, a matte's mean absolute error, and ``flicker``; ``_nothing`` copies the nearest training frame."""

    def alpha(sequence: ImageSequence, frame: int) -> np.ndarray:
        return np.clip(read_frame(sequence.path(frame), ("A",)).pixels, 0, 1)

    nearest = {f: min(shot.training, key=lambda t, f=f: abs(t - f)) for f in shot.held_out}
    results: dict[str, Callable[[int], np.ndarray]] = {
        "_nothing": lambda f: alpha(shot.truth, nearest[f]),
        "": lambda f: alpha(result, f),
    }
    figures = {}
    for suffix, matte in results.items():
        error = np.mean([np.abs(matte(f) - alpha(shot.truth, f)).mean() for f in shot.held_out])
        figures["error" + suffix] = float(error)
        figures["flicker" + suffix] = mean_flicker(
            shot, lambda f, m=matte: Frame(*(255 * x for x in (shown(shot.plate.path(f)), m(f), alpha(shot.truth, f))))
        )
    frame = shot.held_out[7]
    grey = [np.repeat(alpha(s, frame), 3, axis=-1) for s in (result, shot.truth)]
    return figures, [shown(shot.plate.path(frame)), *grey]


def mean_flicker(shot: Shot, frame: Callable[[int], Frame]) -> float:
    """Mean flicker over the held-out frames that are neighbours."""
    return float(np.nanmean([flicker([(frame(a), frame(b))]) for a, b in neighbours(shot.held_out)]))


def work(out: Path, shot: Shot, knobs: Sequence[str]) -> tuple[ImageSequence, float]:
    """Trains and renders through the command line; returns the result and the training's CPU-seconds."""
    train = ["train", shot.plate, shot.truth, "--frames", format_frames(list(shot.training)), "--run-name", "run"]
    train += ["--ground-truth-channels", ",".join(shot.target_channels), "--data-directory", out / "runs"]
    before = children_seconds()
    copycat([*train, *knobs])
    cpu = children_seconds() - before
    model = max((out / "runs").glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(["infer", model, shot.plate, out / "result/result.%04d.exr", "--frames", format_frames(shot.held_out)])
    return ImageSequence.parse(out / "result/result.%04d.exr"), cpu


def copycat(words: Sequence[object]) -> None:
    """Runs the command line quietly."""
    command = [str(word) for word in words]
    print("$ copycat", shlex.join(command), flush=True)
    subprocess.run([sys.executable, "-m", "copycat", *command], check=True, stdout=subprocess.DEVNULL)


def shown(path: Path) -> np.ndarray:
    """A scene-linear frame as a display shows it, [H, W, 3] in 0..1."""
    return np.clip(srgb(read_frame(path, RGB).pixels), 0, 1).astype(np.float32)


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 1."""
    return float(-10 * np.log10(max(np.mean((result.astype(np.float64) - truth) ** 2), 1e-10)))


def draw(pictures: Path | None, name: str, images: Sequence[np.ndarray]) -> None:
    """Writes input, result and truth side by side, at most 640 pixels wide each."""
    if pictures is None:
        return
    pictures.mkdir(parents=True, exist_ok=True)
    scale = min(1.0, 640 / images[0].shape[1])
    small = [cv2.resize(i, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for i in images]
    write_png(pictures / f"{name}.png", np.concatenate(small, axis=1))


if __name__ == "__main__":
    main()
