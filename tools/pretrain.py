"""Trains the Initial Weights: Deblur, Upscale and Human Matting.

``python -m tools.pretrain deblur PHOTOS OUT.cat --size Small --minutes 60`` trains on patches of the photographs in the
folder PHOTOS (every .jpg below it), which it blurs, shrinks or puts in front of other photographs at random. Human
Matting needs ``--masks``: pictures named as the photographs, white where a person is. ``--start`` starts from other
weights. Ctrl-C ends the training and writes the weights, which are bfloat16, as the network computes.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
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

PATCH = 160
CROP = 128
PATCHES = 16  # in a data set
STEPS = 12  # with one data set
BATCH = 8
_MARGIN = 24  # cut off after a blur, whose radius is at most this

Photo = tuple[np.ndarray, np.ndarray | None]
Sample = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Trains until the time is up."""
    parser = argparse.ArgumentParser(description="Trains initial weights")
    parser.add_argument("task", choices=list(SAMPLES))
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--masks", type=Path, help="directory with NAME.png for photographs of people")
    parser.add_argument("--size", default="Small", choices=("Small", "Medium", "Large"))
    parser.add_argument("--start", type=Path, help="weights to start from, of the same size, for any kind of work")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    photos = read_photos(options.photos, options.masks if options.task == "human_matting" else None)
    print(f"{len(photos)} photographs", flush=True)
    device, _ = choose_device(True, "Auto")
    settings = Settings(model_size=options.size, crop_size=CROP)
    random = np.random.default_rng(0)
    make = SAMPLES[options.task]
    data = patches(photos, make, random)
    header = cat.ModelHeader.for_dataset(data, ROWS[options.size])
    weights = None
    if options.start:
        start = StartingPoint(str(options.start), *cat.load(options.start), shipped=True)
        weights = start.weights_for(header.channels_in, header.channels_out)
    learner = Learner(header, settings, device, BATCH, weights)
    plan = Schedule(0, options.minutes * 60, multi_resolution=False)
    began, step = time.process_time(), 0
    with contextlib.suppress(KeyboardInterrupt):
        while not plan.finished(step, elapsed := time.process_time() - began):
            if step % STEPS == 0:
                data = patches(photos, make, random)
                data = data.to(device)
            losses = learner.learn(data, step, plan.learning_rate(step, plan.progress(step, elapsed)), print)
            step += 1
            if step % 240 == 0:
                print(f"step {step}, {elapsed / 60:.1f} minutes, squared error {float(losses[2]):.6f}", flush=True)
                write(options.out, header, learner, step)
    write(options.out, header, learner, step)


def write(path: Path, header: cat.ModelHeader, learner: Learner, step: int) -> None:
    """Writes the average of the weights as a .cat of bfloat16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cat.save(path, replace(header, step=step), learner.parameters.average_by_name(), torch.bfloat16)


def read_photos(photos: Path, masks: Path | None) -> list[Photo]:
    """Photographs [H, W, 3] uint8 RGB, each with its mask [H, W] uint8, or None."""
    found: list[Photo] = []
    for path in sorted(photos.rglob("*.jpg")):
        photo = cv2.imread(str(path))
        if photo is None or min(photo.shape[:2]) < PATCH + 2 * _MARGIN:
            continue
        mask = masks / f"{path.stem}.png" if masks else None
        found.append((photo[..., ::-1], cv2.imread(str(mask), 0) if mask and mask.exists() else None))
    if not found:
        raise SystemExit(f"{photos}: there is no .jpg that is large enough")
    return found


def patches(photos: list[Photo], make: Callable[..., Sample], random: np.random.Generator) -> Dataset:
    """A data set of patches, at random in display or in logarithmic values, as shots come in both."""
    logarithmic = random.random() < 0.5
    samples = [make(photos, random) for _ in range(PATCHES)]
    source = np.stack([_coded(one, logarithmic) for one, _ in samples])
    colour = samples[0][1].shape[-1] == 3
    target = np.stack([_coded(one, logarithmic) if colour else one for _, one in samples])
    encodings = [_normalised(bank) for bank in (source, target)]
    names = ("R", "G", "B")
    return Dataset(
        pairs=(),
        input_bank=torch.from_numpy(source),
        target_bank=torch.from_numpy(target),
        mask_bank=None,
        valid=torch.tensor([[0, 0, PATCH, PATCH]] * PATCHES, dtype=torch.int32),
        centres=torch.zeros((0, 2), dtype=torch.int32),
        centre_offsets=torch.zeros(PATCHES + 1, dtype=torch.int32),
        input_channels=names,
        target_channels=names if colour else ("A",),
        residual=(0, 1, 2) if colour else (-1,),
        input_encoding=encodings[0],
        target_encoding=encodings[0] if colour else replace(encodings[1], matte=(True,)),
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


def _cut(photo: Photo, side: int, random: np.random.Generator, least: float) -> tuple[np.ndarray, np.ndarray | None]:
    """A square of a photograph in linear light, with its mask; shrunk at random, which hides the JPEG's blocks."""
    picture, mask = photo
    smallest = max(least, side / min(picture.shape[:2]))
    scale = float(np.exp(random.uniform(np.log(min(smallest, 1.0)), 0)))
    size = [max(side, round(extent * scale)) for extent in picture.shape[1::-1]]
    y, x = (int(random.integers(0, extent - side + 1)) for extent in size[::-1])
    flop = random.random() < 0.5

    def cut(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[y : y + side, x : x + side]
        return (small[:, ::-1] if flop else small).astype(np.float32) / 255

    gain = np.float32(2 ** random.uniform(-1, 1))
    return from_srgb(cut(picture)).astype(np.float32) * gain, None if mask is None else cut(mask)


def _deblur(photos: list[Photo], random: np.random.Generator) -> Sample:
    sharp, _ = _cut(photos[random.integers(len(photos))], PATCH + 2 * _MARGIN, random, 0.3)
    kind = random.random()
    if kind < 0.5:
        soft = cv2.filter2D(sharp, -1, _disc(random.uniform(0.7, 6)), borderType=cv2.BORDER_REFLECT_101)
    elif kind < 0.8:
        soft = cv2.GaussianBlur(sharp, (0, 0), random.uniform(0.5, 3), borderType=cv2.BORDER_REFLECT_101)
    else:
        kernel = _streak(random.uniform(2, 17), random.uniform(0, np.pi))
        soft = cv2.filter2D(sharp, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return np.maximum(soft[inner], 0), sharp[inner]


def _upscale(photos: list[Photo], random: np.random.Generator) -> Sample:
    sharp, _ = _cut(photos[random.integers(len(photos))], PATCH, random, 0.3)
    factor = random.choice((2, 4))
    filters = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    small = cv2.resize(sharp, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, (PATCH, PATCH), interpolation=filters[random.integers(3)])
    return np.maximum(soft, 0), sharp


def _human_matting(photos: list[Photo], random: np.random.Generator) -> Sample:
    people = [photo for photo in photos if photo[1] is not None]
    picture, mask = _cut(people[random.integers(len(people))], PATCH, random, 0.25)
    assert mask is not None
    if random.random() < 0.5:
        others = [photo for photo in photos if photo[1] is None]
        behind, _ = _cut(others[random.integers(len(others))], PATCH, random, 0.3)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.8)
        picture = picture * mask[..., None] + behind * (1 - mask[..., None])
    return picture, mask[..., None]


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


SAMPLES: dict[str, Callable[[list[Photo], np.random.Generator], Sample]] = {
    "deblur": _deblur,
    "upscale": _upscale,
    "human_matting": _human_matting,
}


if __name__ == "__main__":
    main()
