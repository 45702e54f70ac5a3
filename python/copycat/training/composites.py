"""Composites: frame pairs made of the painted ones, from which a matte learns what a few painted frames do not show.

A composite is a painted frame's subject, moved, turned, scaled and bent, over the background of that or another painted
frame, moved too, each a little brighter or darker (after Khoreva et al., "Lucid Data Dreaming", 2017). The network then
meets the subject in other places, before other parts of the background, and half out of the frame. Where the subject
was, the background is filled from around it.

Half of a bank's frames are the painted ones and half composites. These are made anew, in place, before their crops
would repeat much, so a step hardly takes longer and a recorded graph goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from copycat.data.dataset import Dataset
from copycat.machine import free_memory
from copycat.settings.tables import Settings

_LIGHT, _COLOUR = 0.1, 0.03  # standard deviations of the gains' logarithms, of all channels and of each
_BENDS = (5, 7)  # points of the grid that bends a subject
_REPEATS = 1.0  # how often crops cover a composite before it is made anew
_FULL = 0.5  # a matte that covers more than this leaves no background to speak of: the frame moves as a whole
_EMPTY = 0.01
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class _Limits:
    """What a picture goes through: factor of its size, degrees, shear, and shares of its height to move and bend by."""

    factor: float
    degrees: float
    shear: float
    move: float
    bend: float


_SUBJECT = _Limits(1.4, 15.0, 0.15, 0.25, 0.012)
_BACKGROUND = _Limits(1.2, 5.0, 0.05, 0.15, 0.0)


# With more painted frames, the crops that composites take from these cost more than they gain
# (``docs/explanation/benchmarks.md``).
_FEW = 1


_SHORT = "memory is short: the matte is trained on the painted frames alone"


def are_used(data: Dataset, settings: Settings, note: Callable[[str], None]) -> bool:
    """Whether to train a data set on composites too.

    Args:
        data: the data set.
        settings: of the training.
        note: called with a sentence where the user may expect composites and gets none.
    """
    reason = why_not(data, settings)
    if reason and (settings.composites == "On" or reason == _SHORT):
        note(f"there are no Composites: {reason}")
    return not reason


def why_not(data: Dataset, settings: Settings) -> str:
    """Why a data set gets no composites; empty if it gets some."""
    if settings.composites == "Off":
        return "they are off"
    mattes = data.target_encoding.matte
    if not (mattes and all(mattes)):
        return "the Ground Truth is no matte"
    if max(data.residual) >= 0:
        return "the Input has the matte too"
    if data.clean_plate is not None:
        return "there is a Clean Plate"
    if settings.composites == "Auto" and len(data) > _FEW:
        return f"{len(data)} frames are painted, and more than {_FEW} learns better without them"
    if 2 * sum(bank.nbytes for bank in _banks(data)) + data.input_bank.nbytes > _SHARE_OF_MEMORY * free_memory():
        return _SHORT
    return ""


def _banks(data: Dataset) -> list[Tensor]:
    return [bank for bank in (data.input_bank, data.target_bank, data.mask_bank) if bank is not None]


def with_room(data: Dataset) -> Dataset:
    """The data set with each pair twice; :class:`Composites` turns the second half of the banks into composites."""
    mask = data.mask_bank
    centres = len(data.centres)
    return replace(
        data,
        input_bank=torch.cat([data.input_bank] * 2),
        target_bank=torch.cat([data.target_bank] * 2),
        mask_bank=None if mask is None else torch.cat([mask] * 2),
        valid=torch.cat([data.valid] * 2),
        centres=torch.cat([data.centres] * 2),
        centre_offsets=torch.cat([data.centre_offsets, data.centre_offsets[1:] + centres]),
    )


def painted(data: Dataset) -> Dataset:
    """The inverse of :func:`with_room`; the banks are views."""
    count = len(data.input_bank) // 2
    centres = len(data.centres) // 2
    return replace(
        data,
        input_bank=data.input_bank[:count],
        target_bank=data.target_bank[:count],
        mask_bank=None if data.mask_bank is None else data.mask_bank[:count],
        valid=data.valid[:count],
        centres=data.centres[:centres],
        centre_offsets=data.centre_offsets[: count + 1],
    )


class Composites:
    """Makes the second half of a data set's banks, anew every so many steps. For one thread alone.

    Attributes:
        data: what is trained on: the painted pairs, then as many composites.
        interval: steps after which the composites are made anew.
    """

    def __init__(self, data: Dataset, seed: int, crop: tuple[int, int], batch: int) -> None:
        """Fills the backgrounds; the composites are made before the first step.

        Args:
            data: from :func:`with_room`, its banks where they stay.
            seed: of the training.
            crop: height and width of the crops.
            batch: crops in a step of all processes.
        """
        self.data = data
        self._seed = seed
        self._count = len(data.input_bank) // 2
        self._windows = [_Window(*window) for window in data.valid[: self._count].tolist()]
        pixels = data.input_bank.shape[1] * data.input_bank.shape[2]
        crops = batch / (2 * self._count)  # of a composite in a step
        self.interval = max(1, round(_REPEATS * pixels / (crop[0] * crop[1] * crops)))
        self._round: int | None = None
        self._backgrounds = torch.empty_like(data.input_bank[: self._count])
        self._subjects: list[_Subject] = []
        for index, window in enumerate(self._windows):
            matte = self._pixels(data.target_bank, index).amax(1, keepdim=True)
            hole = F.max_pool2d((matte > _EMPTY).float(), 5, stride=1, padding=2) > 0
            if data.mask_bank is not None:
                hole |= self._pixels(data.mask_bank, index) == 0
            _store(filled(self._pixels(data.input_bank, index), hole), self._backgrounds[index], window)
            self._subjects.append(_Subject.of(matte, window))
        self._painted_centres = data.centres[: len(data.centres) // 2].clone()

    def renew(self, step: int) -> None:
        """Makes the composites of the step that comes after ``step`` steps, unless they are there."""
        number = step // self.interval
        if number == self._round:
            return
        if self.data.input_bank.is_pinned():
            torch.cuda.synchronize(self.data.centres.device)  # earlier steps may still read the banks
        for index in range(self._count):
            self._make(index, np.random.default_rng((self._seed, self.data.level, number, index)))
        self._round = number

    def _make(self, index: int, random: np.random.Generator) -> None:
        data, window, subject = self.data, self._windows[index], self._subjects[index]
        picture, mattes = (self._pixels(bank, index) for bank in (data.input_bank, data.target_bank))
        weights = None if data.mask_bank is None else self._pixels(data.mask_bank, index)
        move = Move.draw(random, _SUBJECT, subject.centre, window, picture.shape[1])
        grid = move.grid(window, picture.device)
        if subject.fills_the_frame:
            picture, mattes = sampled(picture, grid, "reflection"), sampled(mattes, grid, "reflection")
            weights = None if weights is None else _sampled_weights(weights, grid)
        else:
            matte = mattes.amax(1, keepdim=True)
            subject_alone = picture - (1 - matte) * self._pixels(self._backgrounds, index)  # premultiplied
            if weights is not None:
                subject_alone = subject_alone * (weights > 0)
            subject_alone, mattes, matte = (sampled(part, grid, "zeros") for part in (subject_alone, mattes, matte))
            matte = matte.clamp(0, 1)
            # Half of them before their own background, half before any of the same place in the frame.
            others = [i for i, other_window in enumerate(self._windows) if other_window == window]
            other = others[random.integers(len(others))] if random.random() < 0.5 else index
            behind = Move.draw(random, _BACKGROUND, window.middle, window, picture.shape[1])
            ground = behind.grid(window, picture.device)
            background = sampled(self._pixels(self._backgrounds, other), ground, "reflection")
            picture = move.lit(subject_alone) + (1 - matte) * behind.lit(background)
            if weights is not None:
                assert data.mask_bank is not None
                weights = torch.where(matte > 0, _sampled_weights(weights, grid), 1.0)
                weights = weights * _sampled_weights(self._pixels(data.mask_bank, other), ground)
        at = self._count + index
        _store(picture, data.input_bank[at], window)
        _store(mattes.clamp(0, 1), data.target_bank[at], window)
        if weights is not None and data.mask_bank is not None:
            _store(weights, data.mask_bank[at], window)
        first, last = data.centre_offsets[index : index + 2].tolist()
        data.centres[len(self._painted_centres) :][first:last] = move.goals(self._painted_centres[first:last], window)

    def _pixels(self, bank: Tensor, index: int) -> Tensor:
        """The valid pixels of a frame, [1, C, H, W] float32; those of 8 bits divided by 255."""
        window = self._windows[index]
        pixels = bank[index, window.y0 : window.y1, window.x0 : window.x1].movedim(-1, 0)[None].float()
        return pixels / 255 if bank.dtype == torch.uint8 else pixels


@dataclass(frozen=True)
class _Window:
    """The pixels of a frame that hold data, half open."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def middle(self) -> tuple[float, float]:
        """x, y in the frame."""
        return (self.x0 + self.x1 - 1) / 2, (self.y0 + self.y1 - 1) / 2


@dataclass(frozen=True)
class _Subject:
    """What is to know of a frame's matte: its middle x, y, and whether there is hardly a background."""

    centre: tuple[float, float]
    fills_the_frame: bool

    @classmethod
    def of(cls, matte: Tensor, window: _Window) -> _Subject:
        """That of a matte [1, 1, H, W]."""
        total = float(matte.sum())
        if total <= 0:
            return cls(window.middle, False)
        rows, columns = (matte[0, 0].sum(axis) for axis in (1, 0))
        y, x = (float((line * torch.arange(len(line), device=line.device)).sum()) / total for line in (rows, columns))
        return cls((window.x0 + x, window.y0 + y), float(matte.mean()) > _FULL)


@dataclass(frozen=True)
class Move:
    """Where each pixel of a picture comes from, and how much brighter it is.

    Attributes:
        matrix: [2, 3], (x, y, 1) of an output pixel to x, y in the source, in pixels of the frame.
        bend: [2, rows, columns] float32 pixels that are added at a grid of points spread over the picture; or None.
        gain: [C] float32.
    """

    matrix: np.ndarray
    bend: np.ndarray | None
    gain: np.ndarray

    @classmethod
    def draw(
        cls, random: np.random.Generator, limits: _Limits, centre: tuple[float, float], window: _Window, channels: int
    ) -> Move:
        """A random one around a point x, y of a window, for a picture of so many channels."""
        height = window.size[0]
        scale = math.exp(random.uniform(-1, 1) * math.log(limits.factor))
        angle = math.radians(random.uniform(-limits.degrees, limits.degrees))
        slant = random.uniform(-limits.shear, limits.shear)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn @ np.array([[1, slant], [0, 1]]) / scale
        if random.random() < 0.5:
            matrix = matrix @ np.diag([-1.0, 1.0])
        goal = np.asarray(centre) + random.uniform(-limits.move, limits.move, 2) * height
        goal = np.clip(goal, [window.x0, window.y0], [window.x1 - 1, window.y1 - 1])  # it stays in the frame
        offset = np.asarray(centre) - matrix @ goal
        bend = random.normal(0, limits.bend * height, (2, *_BENDS)).astype(np.float32) if limits.bend else None
        gain = np.exp(random.normal(0, _LIGHT) + random.normal(0, _COLOUR, channels)).astype(np.float32)
        return cls(np.hstack([matrix, offset[:, None]]), bend, gain)

    def grid(self, window: _Window, device: torch.device) -> Tensor:
        """The argument of :func:`sampled` for a picture that is a window of the frame, [1, H, W, 2]."""
        x = torch.arange(window.x0, window.x1, dtype=torch.float32, device=device)
        y = torch.arange(window.y0, window.y1, dtype=torch.float32, device=device)[:, None]
        height, width = window.size
        places = []
        for (a, b, c), low, length in zip(self.matrix.tolist(), (window.x0, window.y0), (width, height), strict=True):
            places.append((a * x + b * y + (c - low + 0.5)) * (2 / length) - 1)
        grid = torch.stack(places, dim=-1)[None]
        if self.bend is None:
            return grid
        bend = torch.from_numpy(self.bend).to(device)[None]
        shifts = F.interpolate(bend, size=window.size, mode="bicubic", align_corners=True)
        return grid + shifts.movedim(1, -1) * torch.tensor([2 / width, 2 / height], device=device)

    def lit(self, picture: Tensor) -> Tensor:
        """[1, C, H, W] times the gain."""
        return picture * torch.from_numpy(self.gain).to(picture.device).view(1, -1, 1, 1)

    def goals(self, points: Tensor, window: _Window) -> Tensor:
        """Where source pixels [M, 2] int32 x, y come to lie, but for the bend, in the window."""
        matrix, offset = (torch.from_numpy(part).to(points.device, torch.float32) for part in (
            np.linalg.inv(self.matrix[:, :2]), self.matrix[:, 2]
        ))  # fmt: skip
        goals = ((points.float() - offset) @ matrix.T).round()
        low = torch.tensor((window.x0, window.y0), device=points.device)
        high = torch.tensor((window.x1 - 1, window.y1 - 1), device=points.device)
        return torch.minimum(torch.maximum(goals, low), high).to(torch.int32)


def sampled(picture: Tensor, grid: Tensor, outside: str) -> Tensor:
    """[1, C, H, W] resampled with a bicubic filter; ``outside`` is zeros or reflection."""
    return F.grid_sample(picture, grid, mode="bicubic", padding_mode=outside, align_corners=False)


def _sampled_weights(weights: Tensor, grid: Tensor) -> Tensor:
    """[1, 1, H, W] weights of a mask resampled, 0 wherever a pixel of weight 0 takes part."""
    both = torch.cat([weights, F.max_pool2d((weights == 0).float(), 5, stride=1, padding=2)], dim=1)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return torch.where(moved[:, 1:] > 0, 0.0, moved[:, :1])


def filled(picture: Tensor, hole: Tensor) -> Tensor:
    """A picture [1, C, H, W] whose hole [1, 1, H, W] is filled smoothly from around it.

    Averages of areas of 2, 4, 8, ... pixels, without the hole, are put back from the coarsest to the finest.
    """
    weight = (~hole).float()
    levels = [(picture * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append(tuple(F.avg_pool2d(part, 2, ceil_mode=True) for part in levels[-1]))  # type: ignore[arg-type]
    result = levels[-1][0] / levels[-1][1].clamp(min=1e-6)
    for values, share in reversed(levels[:-1]):
        size = values.shape[-2:]
        coarse = F.interpolate(result, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
        result = torch.where(share > 0.5, values / share.clamp(min=1e-6), coarse)
    return torch.where(hole, result, picture)


def _store(pixels: Tensor, frame: Tensor, window: _Window) -> None:
    """Writes [1, C, H, W] to the window of a frame [H, W, C] of a bank, rounded to its type."""
    values = pixels[0].movedim(0, -1)
    if frame.dtype == torch.uint8:
        values = (values * 255).round_().clamp_(0, 255)
    elif frame.dtype == torch.float16:
        values = values.clamp(-65504, 65504)
    frame[window.y0 : window.y1, window.x0 : window.x1] = values.to(frame.dtype)
