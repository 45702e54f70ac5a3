"""How good is the picture on real shots? Five kinds of work, each trained on a few frames, scored on the others.

``python -m benchmarks.real_shots SHOTS`` (a directory with ``tos_captain``, ``dancer_alpha`` and ``paintout_table``)
trains and renders the shots of ``benchmarks.shots`` through the real command line, EXR in, EXR out, and prints the
scores beside doing nothing:

- deblur: PSNR as displayed.
- repair, paintout: PSNR inside and outside of what was to be repaired, as displayed.
- highlights: relative error of what is above 1, and the extremes.
- matte: mean absolute error beside copying the nearest training frame's alpha.

Each line ends with the flicker (``benchmarks.flicker``) of the held-out frames that are neighbours, in 8-bit values as
displayed, beside that of the Input (of copying the nearest training frame, for the matte).
"""

from __future__ import annotations

import argparse
import resource
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

from benchmarks.flicker import Frame, flicker, neighbours
from benchmarks.shots import RGB, SHOTS, Shot

KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"


def main() -> None:
    """Prints one line per shot."""
    parser = argparse.ArgumentParser(description="Scores on real shots")
    parser.add_argument("shots", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SHOTS), default=list(SHOTS))
    parser.add_argument("--minutes", type=float, default=2.5, help="of training for each shot")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--pictures", type=Path, help="where to put side-by-side pictures")
    asked = parser.parse_args()
    scores = {"highlights": bright, "matte": covered}
    for name in asked.only:
        with tempfile.TemporaryDirectory(prefix="copycat-shot-") as out:
            shot = SHOTS[name](asked.shots, Path(out))
            words = [*shlex.split(asked.knobs), "--minutes", str(asked.minutes)]
            made, cpu = work(Path(out), shot, words)
            line, images = scores.get(name, coloured)(shot, made)
            draw(asked.pictures, name, images)
        print(f"{name:10} {line} ({cpu:.0f} CPU-s)", flush=True)


Scores = tuple[str, list[np.ndarray]]


def coloured(shot: Shot, made: ImageSequence) -> Scores:
    """PSNR of colour pictures as displayed; the line, and the pictures of a frame to look at."""
    sources = {"doing nothing": shot.plate, "copycat": made}
    parts = {"inside": shot.inside, "outside": lambda frame: ~shot.inside(frame)} if shot.mask else {"": _everywhere}
    words = []
    for part, mask in parts.items():
        for name, source in sources.items():
            found = [psnr(shown(source.path(f))[mask(f)], shown(shot.truth.path(f))[mask(f)]) for f in shot.held_out]
            words.append(f"{part} {name} {np.mean(found):.2f} dB".strip())
    for name, source in sources.items():
        value = mean_flicker(
            shot, lambda f, s=source: Frame(*(255 * shown(x.path(f)) for x in (shot.plate, s, shot.truth)))
        )
        words.append(f"flicker {name} {value:.3f}")
    frame = shot.held_out[len(shot.held_out) // 2]
    window = np.s_[200:600, 700:1300] if "tos_captain" in str(shot.truth) else np.s_[:, :]
    return ", ".join(words), [shown(s.path(frame))[window] for s in (shot.plate, made, shot.truth)]


def _everywhere(frame: int) -> slice:
    return np.s_[:]


def bright(shot: Shot, made: ImageSequence) -> Scores:
    """Relative error of what is above white, and the extremes."""
    errors, extremes = [], []
    for frame in shot.held_out:
        result, truth = (read_frame(s.path(frame), RGB).pixels.astype(np.float64) for s in (made, shot.truth))
        above = truth > 1
        errors.append(np.abs(result - truth)[above] / truth[above])
        extremes.append([result.min(), truth.min(), result.max(), truth.max()])
    error = np.concatenate(errors)
    low, true_low, high, true_high = np.array(extremes).T
    line = (
        f"above 1: relative error {np.median(error):.2%} median, {np.percentile(error, 99):.2%} 99th percentile; "
        f"{low.min():.3f} to {high.max():.1f}, truth {true_low.min():.3f} to {true_high.max():.1f}"
    )
    return line, [shown(s.path(shot.held_out[9])) for s in (made, shot.truth)]


def covered(shot: Shot, made: ImageSequence) -> Scores:
    """Mean absolute error of a matte, and of the nearest training frame's."""

    def alpha(sequence: ImageSequence, frame: int) -> np.ndarray:
        return np.clip(read_frame(sequence.path(frame), ("A",)).pixels, 0, 1)

    nearest = {f: min(shot.training, key=lambda t, f=f: abs(t - f)) for f in shot.held_out}
    results: dict[str, Callable[[int], np.ndarray]] = {
        "copying": lambda f: alpha(shot.truth, nearest[f]),
        "copycat": lambda f: alpha(made, f),
    }
    words = []
    for name, result in results.items():
        error = np.mean([np.abs(result(f) - alpha(shot.truth, f)).mean() for f in shot.held_out])
        value = mean_flicker(
            shot, lambda f, r=result: Frame(*(255 * x for x in (shown(shot.plate.path(f)), r(f), alpha(shot.truth, f))))
        )
        words.append(f"{name} mean absolute error {error:.4f}, flicker {value:.3f}")
    frame = shot.held_out[7]
    grey = [np.repeat(alpha(s, frame), 3, axis=-1) for s in (made, shot.truth)]
    return ", ".join(words), [shown(shot.plate.path(frame)), *grey]


def mean_flicker(shot: Shot, frame: Callable[[int], Frame]) -> float:
    """Mean flicker over the held-out frames that are neighbours."""
    return float(np.nanmean([flicker([(frame(a), frame(b))]) for a, b in neighbours(shot.held_out)]))


def work(out: Path, shot: Shot, knobs: Sequence[str]) -> tuple[ImageSequence, float]:
    """Trains and renders through the command line; returns the result and the CPU seconds of the training."""
    train = ["train", shot.plate, shot.truth, "--frames", format_frames(list(shot.training)), "--run-name", "run"]
    train += ["--ground-truth-channels", ",".join(shot.target_channels), "--data-directory", out / "runs"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    copycat([*train, *knobs])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = max((out / "runs").glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(["infer", model, shot.plate, out / "made/made.%04d.exr", "--frames", format_frames(shot.held_out)])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ImageSequence.parse(out / "made/made.%04d.exr"), cpu


def copycat(words: Sequence[object]) -> None:
    """Runs the command line quietly."""
    command = [str(word) for word in words]
    print("$ copycat", shlex.join(command), flush=True)
    subprocess.run([sys.executable, "-m", "copycat", *command], check=True, stdout=subprocess.DEVNULL)


def shown(path: Path) -> np.ndarray:
    """A scene-linear frame as a display shows it, [H, W, 3] in 0..1."""
    return np.clip(srgb(read_frame(path, RGB).pixels), 0, 1).astype(np.float32)


def psnr(made: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 1."""
    return float(-10 * np.log10(max(np.mean((made.astype(np.float64) - truth) ** 2), 1e-10)))


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
