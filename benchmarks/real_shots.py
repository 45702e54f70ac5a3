"""How good is the picture on real shots? Five kinds of work, each trained on a few frames, scored on the others.

``python -m benchmarks.real_shots SHOTS`` (a directory with ``tos_captain``, ``dancer_alpha`` and ``paintout_table``)
trains and renders through the real command line, EXR in, EXR out, and prints the scores beside doing nothing:

- deblur (tos_captain, 1920x800): the Input is the plate under a disc defocus of our own; PSNR as displayed.
- repair (tos_captain): the Input is the plate with a blemish of 40 pixels that drifts over the face; PSNR inside and
  outside of it, as displayed.
- highlights (tos_captain): the plate spread to values from -0.1 to 60 gets a colour grade; relative error of what is
  above 1, and the extremes.
- matte (dancer_alpha, 640x360): rgb -> alpha; mean absolute error beside copying the nearest training frame's alpha.
- paintout (paintout_table, 768x432): a woman is painted out of the shot; PSNR inside the patch, as displayed.

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
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from copycat.contact_sheet import write_png
from copycat.sequence import ImageSequence, format_frames, read_frame, write_frame
from copycat.viewing import srgb

from benchmarks.flicker import Frame, flicker

RGB = ("R", "G", "B")
KNOBS = "--model-size Small --crop-size 128 --image-interval 1000 --checkpoint-interval 100000"


def main() -> None:
    """Prints one line per shot."""
    parser = argparse.ArgumentParser(description="Scores on real shots")
    parser.add_argument("shots", type=Path)
    parser.add_argument("--only", choices=("deblur", "repair", "highlights", "matte", "paintout"))
    parser.add_argument("--minutes", type=float, default=2.5, help="of training for each shot")
    parser.add_argument("--knobs", default=KNOBS, help="options of copycat train")
    parser.add_argument("--pictures", type=Path, help="where to put side-by-side pictures")
    asked = parser.parse_args()
    tasks = {"deblur": deblur, "repair": repair, "highlights": highlights, "matte": matte, "paintout": paintout}
    for name, task in tasks.items():
        if asked.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="copycat-shot-") as out:
                words = [*shlex.split(asked.knobs), "--minutes", str(asked.minutes)]
                print(f"{name:10} {task(asked.shots, Path(out), words, asked.pictures)}", flush=True)


def deblur(shots: Path, out: Path, knobs: Sequence[str], pictures: Path | None) -> str:
    """Learns to undo a defocus."""
    sharp = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    disc = np.zeros((9, 9), np.float32)
    cv2.circle(disc, (4, 4), 3, 1.0, -1)
    for frame in sharp.frames():
        pixels = read_frame(sharp.path(frame), RGB).pixels
        soft = cv2.filter2D(pixels, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
        write_frame(out / f"soft/soft.{frame:04d}.exr", soft, RGB, dtype="half")
    training = [1001, 1007, 1013, 1018, 1024]
    held_out = [frame for frame in sharp.frames() if frame not in training]
    cpu = work(out, out / "soft/soft.%04d.exr", sharp, training, held_out, knobs)
    soft_frames = ImageSequence.parse(out / "soft/soft.%04d.exr")
    made = ImageSequence.parse(out / "made/made.%04d.exr")
    before = [psnr(shown(soft_frames.path(f)), shown(sharp.path(f))) for f in held_out]
    after = [psnr(shown(made.path(f)), shown(sharp.path(f))) for f in held_out]
    draw(pictures, "deblur", [shown(s.path(held_out[9]))[200:600, 700:1300] for s in (soft_frames, made, sharp)])
    flickers = flickering(held_out, soft_frames, made, sharp)
    return f"doing nothing {np.mean(before):.2f} dB, copycat {np.mean(after):.2f} dB ({cpu:.0f} CPU-s); {flickers}"


def repair(shots: Path, out: Path, knobs: Sequence[str], pictures: Path | None) -> str:
    """Learns to remove a small blemish."""
    clean = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    masks = {}
    for frame in clean.frames():
        pixels = read_frame(clean.path(frame), RGB).pixels
        rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        offset = frame - clean.frames()[0]
        distance = np.hypot(columns - (900 + 4 * offset), rows - (330 + 2 * offset))
        masks[frame] = distance < 20
        opacity = 0.7 * np.clip((20 - distance) / 6, 0, 1)[..., None].astype(np.float32)
        stained = pixels * (1 - opacity) + np.array([0.12, 0.02, 0.02], np.float32) * opacity
        write_frame(out / f"stained/stained.{frame:04d}.exr", stained, RGB, dtype="half")
    training = [1001, 1007, 1013, 1018, 1024]
    held_out = [frame for frame in clean.frames() if frame not in training]
    cpu = work(out, out / "stained/stained.%04d.exr", clean, training, held_out, knobs)
    stained_frames = ImageSequence.parse(out / "stained/stained.%04d.exr")
    made = ImageSequence.parse(out / "made/made.%04d.exr")
    before, after, outside = [], [], []
    for frame in held_out:
        truth, result, mask = shown(clean.path(frame)), shown(made.path(frame)), masks[frame]
        before.append(psnr(shown(stained_frames.path(frame))[mask], truth[mask]))
        after.append(psnr(result[mask], truth[mask]))
        outside.append(psnr(result[~mask], truth[~mask]))
    draw(pictures, "repair", [shown(s.path(held_out[9]))[200:500, 750:1150] for s in (stained_frames, made, clean)])
    return (
        f"inside: doing nothing {np.mean(before):.2f} dB, copycat {np.mean(after):.2f} dB; "
        f"outside {np.mean(outside):.2f} dB ({cpu:.0f} CPU-s); {flickering(held_out, stained_frames, made, clean)}"
    )


def highlights(shots: Path, out: Path, knobs: Sequence[str], pictures: Path | None) -> str:
    """Learns a grade of a plate with highlights far above white and blacks below zero."""
    plate = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    grade = np.array([1.12, 1.0, 0.86], np.float32)
    for frame in plate.frames():
        pixels = read_frame(plate.path(frame), RGB).pixels
        wide = pixels + 240 * np.maximum(pixels - 0.6, 0) ** 2 - 0.1 * np.exp(-np.maximum(pixels, 0) / 0.01)
        wide = np.clip(wide, -0.1, 60).astype(np.float32)
        write_frame(out / f"wide/wide.{frame:04d}.exr", wide, RGB, dtype="half")
        write_frame(out / f"graded/graded.{frame:04d}.exr", wide * grade, RGB, dtype="half")
    training = [1001, 1007, 1013, 1018, 1024]
    held_out = [frame for frame in plate.frames() if frame not in training]
    graded = ImageSequence.parse(out / "graded/graded.%04d.exr")
    cpu = work(out, out / "wide/wide.%04d.exr", graded, training, held_out, knobs)
    made = ImageSequence.parse(out / "made/made.%04d.exr")
    errors, extremes = [], []
    for frame in held_out:
        result, truth = (read_frame(s.path(frame), RGB).pixels.astype(np.float64) for s in (made, graded))
        bright = truth > 1
        errors.append(np.abs(result - truth)[bright] / truth[bright])
        extremes.append([result.min(), truth.min(), result.max(), truth.max()])
    error = np.concatenate(errors)
    low, true_low, high, true_high = np.array(extremes).T
    draw(
        pictures,
        "highlights",
        [np.clip(srgb(read_frame(s.path(held_out[9]), RGB).pixels), 0, 1) for s in (made, graded)],
    )
    return (
        f"above 1: relative error {np.median(error):.2%} median, {np.percentile(error, 99):.2%} 99th percentile; "
        f"{low.min():.3f} to {high.max():.1f}, truth {true_low.min():.3f} to {true_high.max():.1f} ({cpu:.0f} CPU-s)"
    )


def matte(shots: Path, out: Path, knobs: Sequence[str], pictures: Path | None) -> str:
    """Learns a matte."""
    comp = ImageSequence.parse(shots / "dancer_alpha/comp.%04d.exr")
    truth = ImageSequence.parse(shots / "dancer_alpha/fg.%04d.exr")
    training = [1001, 1007, 1013, 1018, 1024]
    held_out = [frame for frame in comp.frames() if frame not in training]
    channels = ("--input-channels", "R,G,B", "--ground-truth-channels", "A")
    cpu = work(out, shots / "dancer_alpha/comp.%04d.exr", truth, training, held_out, [*knobs, *channels])
    made = ImageSequence.parse(out / "made/made.%04d.exr")

    def alpha(sequence: ImageSequence, frame: int) -> np.ndarray:
        return np.clip(read_frame(sequence.path(frame), ("A",)).pixels, 0, 1)

    nearest = [min(training, key=lambda t, f=frame: abs(t - f)) for frame in held_out]
    copied = [np.abs(alpha(truth, n) - alpha(truth, f)).mean() for n, f in zip(nearest, held_out, strict=True)]
    learned = [np.abs(alpha(made, f) - alpha(truth, f)).mean() for f in held_out]
    frame = held_out[7]
    grey = [np.repeat(alpha(s, frame), 3, axis=-1) for s in (made, truth)]
    draw(pictures, "matte", [shown(comp.path(frame)), *grey])
    plates = {f: 255 * shown(comp.path(f)) for f in held_out}

    def flickers(frame_of: Callable[[int], np.ndarray]) -> float:
        return mean_flicker(held_out, lambda f: Frame(plates[f], 255 * frame_of(f), 255 * alpha(truth, f)))

    nearest_of = dict(zip(held_out, nearest, strict=True))
    copying, learning = flickers(lambda f: alpha(truth, nearest_of[f])), flickers(lambda f: alpha(made, f))
    return (
        f"copying {np.mean(copied):.4f}, copycat {np.mean(learned):.4f} mean absolute error ({cpu:.0f} CPU-s); "
        f"flicker: copying {copying:.3f}, copycat {learning:.3f}"
    )


def paintout(shots: Path, out: Path, knobs: Sequence[str], pictures: Path | None) -> str:
    """Learns to paint somebody out."""
    plate = ImageSequence.parse(shots / "paintout_table/plate.%04d.exr")
    clean = ImageSequence.parse(shots / "paintout_table/clean.%04d.exr")
    training = [1001, 1006, 1012, 1017, 1023, 1028, 1034, 1040]
    held_out = [frame for frame in plate.frames() if frame not in training]
    cpu = work(out, shots / "paintout_table/plate.%04d.exr", clean, training, held_out, knobs)
    made = ImageSequence.parse(out / "made/made.%04d.exr")
    before, after, outside = [], [], []
    for frame in held_out:
        patch = cv2.imread(str(shots / f"paintout_table/patch.{frame:04d}.png"), 0) > 127
        truth = shown(clean.path(frame))
        before.append(psnr(shown(plate.path(frame))[patch], truth[patch]))
        after.append(psnr(shown(made.path(frame))[patch], truth[patch]))
        outside.append(psnr(shown(made.path(frame))[~patch], truth[~patch]))
    draw(pictures, "paintout", [shown(s.path(held_out[20])) for s in (plate, made, clean)])
    return (
        f"inside the patch: doing nothing {np.mean(before):.2f} dB, copycat {np.mean(after):.2f} dB; "
        f"outside {np.mean(outside):.2f} dB ({cpu:.0f} CPU-s); {flickering(held_out, plate, made, clean)}"
    )


def flickering(frames: Sequence[int], plate: ImageSequence, made: ImageSequence, truth: ImageSequence) -> str:
    """What a colour result flickers, and what its Input does."""
    sources = {"doing nothing": plate, "copycat": made}
    values = {
        name: mean_flicker(frames, lambda f, s=source: Frame(*(255 * shown(x.path(f)) for x in (plate, s, truth))))
        for name, source in sources.items()
    }
    return "flicker: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def mean_flicker(frames: Sequence[int], frame: Callable[[int], Frame]) -> float:
    """Mean flicker over the frames that are neighbours."""
    neighbours = [(a, b) for a, b in pairwise(frames) if b == a + 1]
    return float(np.nanmean([flicker((frame(a), frame(b))) for a, b in neighbours]))


def work(
    out: Path, plate: Path, truth: ImageSequence, training: list[int], held_out: list[int], knobs: Sequence[str]
) -> float:
    """Trains and renders through the command line; returns the CPU seconds of the training."""
    train = ["train", plate, truth, "--frames", format_frames(training), "--data-directory", out / "runs"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    copycat([*train, "--run-name", "run", *knobs])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = max((out / "runs").glob("run_*.cat"), key=lambda path: path.stat().st_mtime)
    copycat(["infer", model, plate, out / "made/made.%04d.exr", "--frames", format_frames(held_out)])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
