"""Trains the Initial Weights: Deblur, Upscale and Human Matting.

``python -m tools.pretrain deblur PHOTOS OUT.cat --size Small --minutes 60`` trains on patches of the photographs in the
folder PHOTOS (every .jpg below it), which it blurs or shrinks at random. For Human Matting PHOTOS is the folder that
``tools.people`` made. ``--start`` starts from other weights. Ctrl-C ends the training and writes the weights, which
are bfloat16, as the network computes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from copycat.data.dataset import Dataset
from copycat.data.devices import choose_device
from copycat.data.encodings import LOG_SCALE
from copycat.model import cat
from copycat.model.network import ROWS
from copycat.model.starting_point import StartingPoint
from copycat.ops import Encoding
from copycat.sequence.colour import from_srgb, srgb
from copycat.settings.tables import Settings
from copycat.training.schedule import Schedule
from copycat.training.step import Learner

from tools.scenes import People

SOURCES = Path(__file__).parents[1] / "python/copycat/initial_weights/SOURCE.tsv"
PATCHES = 16  # in a data set
_MARGIN = 24  # cut off after a blur, whose radius is at most this

Sample = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Work:
    """What weights are trained for.

    Attributes:
        patch: pixels on each side of what a data set holds.
        crop: Crop Size; a patch that is not larger is taken whole, as it must be where a person should fit in.
        batch: crops in a step.
        steps: until a data set gets other patches.
        kept: data sets whose patches stay in the next one: with those of one alone, steps that follow one another would
            learn these few people by heart.
        l1: L1 Weight. Much below the floor of the loss a crop counts by its error, not by the logarithm of it: crops
            without people, which are soon right, would outweigh all others. As much as the squared error it keeps
            doubt about large areas from becoming a haze of small values.
        l2: L2 Weight.
        rate: share of a training's learning rate.
        outputs: channels.
    """

    patch: int = 160
    crop: int = 128
    batch: int = 8
    steps: int = 12
    kept: int = 0
    l1: float = 1.0
    l2: float = 1.0
    rate: float = 1.0
    outputs: tuple[str, ...] = ("R", "G", "B")


WORKS = {
    "deblur": Work(),
    "upscale": Work(),
    "human_matting": Work(patch=192, crop=256, batch=4, steps=8, kept=7, l1=8e-4, l2=8e-4, rate=0.3, outputs=("A",)),
}
_SIDE = Work.patch
_REPORTED = 240  # steps between two lines
# Values of a matte lie at -1 and 1.
_MATTE = Encoding((0.0,), (0.5,), (0.5,), (True,))


def main() -> None:
    """Trains until the time is up."""
    parser = argparse.ArgumentParser(description="Trains initial weights")
    parser.add_argument("work", choices=list(WORKS))
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="Small", choices=("Small", "Medium", "Large"))
    parser.add_argument("--start", type=Path, help="weights to start from, of the same size, for any kind of work")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    work, random = WORKS[options.work], np.random.default_rng(0)
    make = sampler(options.work, options.photos)
    device, _ = choose_device(True, "Auto")
    settings = Settings(model_size=options.size, crop_size=work.crop, l1_weight=work.l1, l2_weight=work.l2)
    data = patches(work, make, random)
    header = cat.ModelHeader.for_dataset(data, ROWS[options.size])
    header = replace(header, run=f"Initial Weights {options.work}", sources=tuple(sources(options.work)))
    weights = None
    if options.start:
        start = StartingPoint(str(options.start), *cat.load(options.start), shipped=True)
        weights = start.weights_for(header.channels_in, header.channels_out)
    learner = Learner(header, settings, device, work.batch, weights)
    plan = Schedule(0, options.minutes * 60, multi_resolution=False)
    began, step, sums = time.process_time(), 0, torch.zeros(3, device=device)
    with contextlib.suppress(KeyboardInterrupt):
        while not plan.finished(step, elapsed := time.process_time() - began):
            if step % work.steps == 0:
                data = patches(work, make, random, data).to(device)
            rate = work.rate * plan.learning_rate(step, plan.progress(step, elapsed))
            sums += learner.learn(data, step, rate, print)
            step += 1
            if step % _REPORTED == 0:
                absolute, squared = (sums[1:] / _REPORTED).tolist()
                sums.zero_()
                error = f"mean error {absolute:.5f}, squared {squared:.6f}"
                print(f"step {step}, {elapsed / 60:.1f} minutes, {error}", flush=True)
                write(options.out, header, learner, step)
    write(options.out, header, learner, step)


def write(path: Path, header: cat.ModelHeader, learner: Learner, step: int) -> None:
    """Writes the average of the weights as a .cat of bfloat16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cat.save(path, replace(header, step=step), learner.parameters.average_by_name(), torch.bfloat16)


def sampler(work: str, folder: Path) -> Callable[[np.random.Generator], Sample]:
    """Makes samples for a work from the pictures in a folder."""
    if work == "human_matting":
        people = People.read(folder)
        return partial(people.scene, WORKS[work].patch)
    photos = read_photos(folder)
    print(f"{len(photos)} photographs", flush=True)
    return partial({"deblur": _deblur, "upscale": _upscale}[work], photos)


def sources(work: str) -> Iterator[str]:
    """A sentence for each picture that a work is trained on: its name, licence and source."""
    with SOURCES.open(newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if work in row["works"].split(", "):
                yield f"{row['file']}, {row['licence']}, {row['source']}"


def read_photos(folder: Path) -> list[np.ndarray]:
    """Photographs [H, W, 3] uint8 RGB."""
    found: list[np.ndarray] = []
    for path in sorted(folder.rglob("*.jpg")):
        photo = cv2.imread(str(path))
        if photo is not None and min(photo.shape[:2]) >= _SIDE + 2 * _MARGIN:
            found.append(photo[..., ::-1])
    if not found:
        raise SystemExit(f"{folder}: there is no .jpg that is large enough")
    return found


def patches(
    work: Work,
    make: Callable[[np.random.Generator], Sample],
    random: np.random.Generator,
    before: Dataset | None = None,
) -> Dataset:
    """A data set of patches, at random in display or in logarithmic values, as shots come in both.

    Args:
        work: what they are for.
        make: makes a sample.
        random: all that is drawn.
        before: the data set whose newest patches stay, as many as the work keeps.
    """
    logarithmic = random.random() < 0.5
    samples = [make(random) for _ in range(PATCHES)]
    source = np.stack([_coded(one, logarithmic) for one, _ in samples])
    colour = work.outputs != ("A",)
    if colour:
        target = np.stack([_coded(one, logarithmic) for _, one in samples])
        encoding = target_encoding = _normalised(source)
    else:
        source = np.stack([_of_a_shot(one, random) for one in source])
        target = np.stack([one for _, one in samples])
        encoding, target_encoding = Encoding.identity(3), _MATTE
    names = ("R", "G", "B")
    banks = [torch.from_numpy(source), torch.from_numpy(target)]
    if before is not None and work.kept:
        older = (bank[-work.kept * PATCHES :].cpu() for bank in (before.input_bank, before.target_bank))
        banks = [torch.cat(pair) for pair in zip(older, banks, strict=True)]
    count = len(banks[0])
    return Dataset(
        pairs=(),
        input_bank=banks[0],
        target_bank=banks[1],
        mask_bank=None,
        valid=torch.tensor([[0, 0, work.patch, work.patch]] * count, dtype=torch.int32),
        centres=torch.zeros((0, 2), dtype=torch.int32),
        centre_offsets=torch.zeros(count + 1, dtype=torch.int32),
        input_channels=names,
        target_channels=work.outputs,
        residual=(0, 1, 2) if colour else (-1,),
        input_encoding=encoding,
        target_encoding=target_encoding,
        linear=logarithmic,
        level=1,
        data_hash="",
    )


def _coded(linear: np.ndarray, logarithmic: bool) -> np.ndarray:
    coded = np.log1p(LOG_SCALE * linear) / np.log1p(LOG_SCALE) if logarithmic else srgb(linear).clip(0, 1)
    return coded.astype(np.float32)


def _normalised(bank: np.ndarray) -> Encoding:
    count = bank.shape[-1]
    mean, std = bank.mean((0, 1, 2)), bank.std((0, 1, 2))
    return Encoding((0.0,) * count, tuple(map(float, mean)), tuple(max(float(s), 0.05) for s in std))


def _of_a_shot(patch: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A patch in the units of a shot of its own, whose mean and deviation differ from the patch's."""
    mean, std = patch.mean((0, 1)), np.maximum(patch.std((0, 1)), 0.03)
    std = std * np.exp(random.normal(0, 0.3) + random.normal(0, 0.08, 3))
    mean = mean + std * (random.normal(0, 0.35) + random.normal(0, 0.1, 3))
    return ((patch - mean) / std).astype(np.float32)


def _cut(picture: np.ndarray, side: int, random: np.random.Generator, least: float) -> np.ndarray:
    """A square of a photograph in linear light; shrunk at random, which hides the JPEG's blocks."""
    smallest = max(least, side / min(picture.shape[:2]))
    scale = float(np.exp(random.uniform(np.log(min(smallest, 1.0)), 0)))
    size = [max(side, round(extent * scale)) for extent in picture.shape[1::-1]]
    y, x = (int(random.integers(0, extent - side + 1)) for extent in size[::-1])
    flop = random.random() < 0.5
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[y : y + side, x : x + side]
    shown = (small[:, ::-1] if flop else small).astype(np.float32) / 255
    if random.random() < 0.5:  # a frame of a film is not sharp to the pixel
        shown = cv2.GaussianBlur(shown, (0, 0), random.uniform(0.3, 1.3), borderType=cv2.BORDER_REFLECT_101)
    return from_srgb(shown).astype(np.float32) * np.float32(2 ** random.uniform(-1, 1))


def _degraded(sharp: np.ndarray, change: Callable[[np.ndarray], np.ndarray], random: np.random.Generator) -> np.ndarray:
    """A change made in linear light, as a lens makes it, or of the values on a display, as most programs make it."""
    if random.random() < 0.5:
        return np.maximum(change(sharp), 0)
    return from_srgb(np.maximum(change(srgb(sharp).astype(np.float32)), 0)).astype(np.float32)


def _deblur(photos: list[np.ndarray], random: np.random.Generator) -> Sample:
    sharp = _cut(photos[random.integers(len(photos))], _SIDE + 2 * _MARGIN, random, 0.3)
    kind, kernel, sigma = random.random(), None, random.uniform(0.5, 3)
    if kind < 0.5:
        kernel = _disc(random.uniform(0.7, 6))
    elif kind < 0.7:
        kernel = _streak(random.uniform(2, 17), random.uniform(0, np.pi))

    def softened(image: np.ndarray) -> np.ndarray:
        if kernel is None:
            return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)

    soft = _degraded(sharp, softened, random)
    inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return soft[inner], sharp[inner]


def _upscale(photos: list[np.ndarray], random: np.random.Generator) -> Sample:
    sharp = _cut(photos[random.integers(len(photos))], _SIDE, random, 0.3)
    factor = random.choice((2, 4))
    enlarge = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[random.integers(3)]

    def shrunk_and_enlarged(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (_SIDE, _SIDE), interpolation=enlarge)

    return _degraded(sharp, shrunk_and_enlarged, random), sharp


def _disc(radius: float) -> np.ndarray:
    side = 2 * int(np.ceil(radius)) + 1
    fine = np.zeros((side * 8, side * 8), np.float32)
    cv2.circle(fine, (side * 4, side * 4), max(1, round(radius * 8)), 1.0, -1)
    kernel = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return kernel / kernel.sum()


def _streak(length: float, angle: float) -> np.ndarray:
    side = 2 * int(np.ceil(length / 2)) + 1
    fine, middle = np.zeros((side * 8, side * 8), np.float32), np.array([side * 4, side * 4])
    reach = np.array([np.cos(angle), np.sin(angle)]) * length * 4
    ends = [tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(fine, ends[0], ends[1], 1.0, 8)
    kernel = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return kernel / kernel.sum()


if __name__ == "__main__":
    main()
