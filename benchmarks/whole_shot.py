"""Ways to learn from frames that nobody painted, as variants of ``benchmarks.ablations.recipe``.

None has helped so far (``docs/explanation/benchmarks.md``), so the package has none of them; here they can be tried
again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import cv2
import numpy as np
import torch
from copycat import ops
from copycat.data import clean_plate, dataset, moving_plate, plate_alignment
from copycat.data.centres import difference_centres
from copycat.data.dataset import Dataset
from copycat.data.encodings import choose_encoding
from copycat.data.frames import as_float
from copycat.sequence import ImageSequence, parse_frames, read_frame, read_info, write_frame
from copycat.sequence.pairs import FramePair
from copycat.training import losses
from copycat.training.crops import recent_crops
from copycat.training.step import Learner
from torch import Tensor

if TYPE_CHECKING:
    from benchmarks.ablations.recipe import Task

Spread = Callable[[Dataset, ImageSequence], Dataset]

MOST_FRAMES = 24
_ROUND_TRIP, _ROUND_TRIP_SHARE = 1.5, 0.02  # pixels, and share of the flow's length, that there and back may miss
_COLOUR, _GRAIN = 0.08, 1.5  # largest difference of a colour; pixels by which colours are smoothed before
_AGREED = 0.2  # largest difference of the mattes from both sides
_MOST_STEPS = 8  # frames that a matte may come from one side alone
_EDGE = 3  # pixels to each side of an edge of the matte that are left out
_SURE = 0.05  # a teacher's matte this near to 0 or 1 becomes a target, if it stays near under a small change
_CHANGED = 0.1
_LIGHT, _NOISE = 0.1, 0.05  # standard deviations of that change: gain, and grain in those of the Input
MOST_BACKGROUNDS = 16
RGB, BEHIND = ("R", "G", "B"), ("behind.R", "behind.G", "behind.B")
_SAME = 0.05  # standard deviations that an unpainted pixel of the clean plate may differ by, beside twice its spread
_OUTSIDE = 0.01  # a matte below it shows the background
_STILL_NOISE = 0.02  # grain that must change nothing else, in units of the encoding
_STEADINESS = 4.0  # weight of the stability term


def chosen(frames: Sequence[int], painted: Sequence[int]) -> list[int]:
    """At most :data:`MOST_FRAMES` of the frames that are not painted, evenly spread."""
    others = [frame for frame in frames if frame not in painted]
    count = min(MOST_FRAMES, len(others))
    return [others[int((i + 0.5) * len(others) / count)] for i in range(count)]


def labelled_by_flow(data: Dataset, plate: ImageSequence) -> Dataset:
    """Unpainted frames of a shot with the mattes of painted ones, spread to them by optical flow.

    A pixel counts while the flow to the neighbour leads back to where it came from, and the colour is still that of the
    painted frame. What comes from both sides must agree. All others, and those near an edge, have the weight 0.

    Args:
        data: the painted frames of one shot, 8 bits, all of one size; the target is one matte.
        plate: the Input.
    """
    frames, pictures, painted = _frames(data, plate)
    views = [_View.of(picture) for picture in pictures]
    flows = [(_flow(a, b), _flow(b, a)) for a, b in pairwise(views)]
    traces: dict[int, list[_Trace]] = {}
    for forward in (True, False):
        for trace in _traces(views, flows, painted, forward):
            traces.setdefault(trace.frame, []).append(trace)
    mattes = {index: as_float(data.target_bank[pair, ..., 0].numpy()) for index, pair in painted.items()}
    unpainted = [index for index in range(len(frames)) if index not in painted]
    found = [_matte([(t, _sampled(mattes[t.source], t.at)) for t in traces[index]]) for index in unpainted]
    targets = np.stack([np.where(counts, 255 * matte + 0.5, 0) for matte, counts in found]).astype(np.uint8)
    masks = np.stack([counts for _, counts in found]).astype(np.float16)
    return _dataset(data, plate, [frames[i] for i in unpainted], [pictures[i] for i in unpainted], targets, masks)


def unlabelled(data: Dataset, plate: ImageSequence) -> Dataset:
    """Unpainted frames for a teacher (:class:`Taught`); arguments as for :func:`labelled_by_flow`."""
    frames, pictures, painted = _frames(data, plate)
    unpainted = [index for index in range(len(frames)) if index not in painted]
    size = len(unpainted), *pictures[0].shape[:2]
    targets, masks = np.zeros(size, np.uint8), np.ones(size, np.float16)
    return _dataset(data, plate, [frames[i] for i in unpainted], [pictures[i] for i in unpainted], targets, masks)


class Taught(Learner):
    """The averaged weights give crops of unpainted frames their target, wherever they are sure of a matte."""

    def _work(self, stage: Any) -> Tensor:
        count = recent_crops(self.batch) if stage.recent is not None else 0
        source, target, mask, _ = stage.sampler.crops(self._step, 0, self.batch)
        if count:
            random = torch.Generator().manual_seed(int(self._step))
            encoding = stage.data.target_encoding
            plain = source[:count].float()
            with torch.no_grad(), self.parameters.averaged():
                own, other = (
                    self.network(crops.to(source.dtype), None) * encoding.std[0] + encoding.mean[0]
                    for crops in (plain, _changed(plain, random))
                )
            sure = ((own < _SURE) & (other < _CHANGED)) | ((own > 1 - _SURE) & (other > 1 - _CHANGED))
            labels = ((own > 0.5).float() - encoding.mean[0]) / encoding.std[0]
            source = torch.cat([_changed(plain, random).to(source.dtype), source[count:]])
            target, mask = torch.cat([labels, target[count:]]), torch.cat([sure.to(mask.dtype), mask[count:]])
        return updated(self, *self._loss(self.network(source, None), target, self._scale, mask))


class Steady(Learner):
    """One crop of each step goes through the network twice, the second time with more grain, which has to be all that
    changes (after Eilertsen et al., "Single-Frame Regularization for Temporally Stable CNNs", CVPR 2019).
    """

    def _work(self, stage: Any) -> Tensor:
        source, target, mask, plate = stage.sampler.crops(self._step, 0, self.batch)
        output = self.network(source, plate)
        objective, found = self._loss(output, target, self._scale, mask)
        one = slice(int(self._step) % self.batch, int(self._step) % self.batch + 1)
        random, data = torch.Generator().manual_seed(int(self._step)), stage.data
        grain = _STILL_NOISE * torch.randn(source[one].shape, generator=random)
        grain = grain / torch.tensor(data.input_encoding.std).view(1, -1, 1, 1)
        again = self.network((source[one] + grain).to(source.dtype), None if plate is None else plate[one])
        wanted = output[one]
        for channel, origin in enumerate(data.residual):
            if origin >= 0:
                factor = data.input_encoding.std[origin] / data.target_encoding.std[channel]
                added = torch.zeros_like(wanted)
                added[:, channel] = factor * grain[:, origin]
                wanted = wanted + added
        change = ((again - wanted) * self._scale).square().mean()
        error = self._loss(output[one].detach(), target[one], self._scale, None)[1][0] + losses._FLOOR
        objective = objective + torch.log(1 + _STEADINESS * change / error) / self.batch
        return updated(self, objective, found)


def updated(learner: Learner, objective: Tensor, found: Tensor) -> Tensor:
    """Makes the step of an objective; returns what :class:`~copycat.training.losses.Loss` found."""
    objective.backward()  # type: ignore[no-untyped-call]
    learner.parameters.gather_gradient()
    learner._update(found[0])
    return found


def _changed(crops: Tensor, random: torch.Generator) -> Tensor:
    gain = 1 + _LIGHT * torch.randn(len(crops), 1, 1, 1, generator=random)
    return crops * gain + _NOISE * torch.randn(crops.shape, generator=random)


# -- the background of a shot ---------------------------------------------------------------------------------------


def with_background(task: Task, out: Path) -> Task:
    """The task, whose frames have the background behind their subject as three more channels.

    The background is the median of :data:`MOST_BACKGROUNDS` frames of the plate, painted or not, that are spread over
    the shot and aligned with the frame; of painted ones what lies outside of the matte. Where the subject was in most
    of them, it is still there.

    Args:
        task: a matte, channel A, from R, G and B.
        out: a folder for the frames.
    """
    painted = parse_frames(task.frames)
    frames = task.source.frames()
    encoding, pictures = None, {}
    for frame in sorted({*(frames[i] for i in clean_plate.frames_of(len(frames), MOST_BACKGROUNDS)), *painted}):
        values = torch.from_numpy(read_frame(task.source.path(frame), RGB).pixels)
        info = read_info(task.source.path(frame))
        whole = torch.tensor([[0, 0, values.shape[1], values.shape[0]]], dtype=torch.int32)
        encoding = encoding or choose_encoding(values[None], whole, RGB, info.linear)
        shown = None
        if frame in painted:
            shown = read_frame(task.truth.path(frame), ("A",)).pixels[..., 0] < _OUTSIDE
        pictures[frame] = moving_plate.painted_frame(clean_plate.normalised(values, encoding), shown)
    assert encoding is not None
    for frame in sorted({*painted, *task.held_out}):
        pixels = read_frame(task.source.path(frame), RGB).pixels
        values = clean_plate.normalised(torch.from_numpy(pixels), encoding)
        view = plate_alignment.View.of(moving_plate.grey(values))
        others = [picture for other, picture in pictures.items() if other != frame]
        with mock.patch.object(moving_plate, "_MOST_SEEN", MOST_BACKGROUNDS), plate_alignment.one_thread():
            planes = moving_plate.plate_of(view, values.shape[:2], others).planes[..., :3].astype(np.float32)
        behind = ops.denormalize(torch.from_numpy(planes).movedim(-1, 0)[None], encoding)[0].movedim(0, -1).numpy()
        both = np.concatenate([pixels, behind], axis=-1)
        write_frame(out / f"with.{frame:05d}.exr", both, (*RGB, *BEHIND), dtype="half")
    source = ImageSequence.parse(out / "with.%05d.exr")
    knobs = {**task.knobs, "input_channels": ",".join((*RGB, *BEHIND))}
    return replace(task, source=source, pair=replace(task.pair, input=str(source)), knobs=knobs)


@contextlib.contextmanager
def plate_of_the_shot(source: ImageSequence) -> Iterator[None]:
    """Makes clean plates of unpainted frames too, wherever these show what the painted ones show.

    Args:
        source: the Input.
    """
    original = clean_plate.of_frames

    def of_frames(bank: Tensor, valid: Tensor, encoding: ops.Encoding, mask: Tensor | None = None) -> Tensor:
        plate = original(bank, valid, encoding, mask)[0].float().numpy()
        others = [
            clean_plate.normalised(torch.from_numpy(read_frame(source.path(frame), RGB).pixels), encoding)
            for frame in chosen(source.frames(), ())
        ]
        middle, limit = plate[..., :-1], _SAME + 2 * np.exp(plate[..., -1:])
        for values in others:
            values[(np.abs(values - middle) > limit).any(axis=-1)] = np.nan
        painted = [clean_plate.normalised(one, encoding) for one in bank]
        found = clean_plate.summary(np.stack([*painted, *others]), gaps=True)
        return torch.from_numpy(found)[None].half()

    with mock.patch.object(clean_plate, "of_frames", of_frames):
        yield


@contextlib.contextmanager
def encodings_of_the_shot(source: ImageSequence) -> Iterator[None]:
    """Takes the encoding of the Input from unpainted frames too.

    Args:
        source: the Input.
    """

    def choose(bank: Tensor, valid: Tensor, channels: Sequence[str], *others: Any) -> ops.Encoding:
        if tuple(channels) != RGB or len(chosen_encodings) > 0:
            return choose_encoding(bank, valid, channels, *others)
        frames = chosen(source.frames(), ())
        pixels = np.stack([read_frame(source.path(frame), channels).pixels for frame in frames])
        whole = torch.cat([valid, valid[:1].expand(len(frames), -1)])
        floats = torch.from_numpy(np.concatenate([as_float(bank.numpy()), pixels]).astype(np.float32))
        chosen_encodings.append(choose_encoding(floats, whole, channels, *others))
        return chosen_encodings[0]

    chosen_encodings: list[ops.Encoding] = []
    with mock.patch.object(dataset, "choose_encoding", choose):
        yield


# -- frames and flow --------------------------------------------------------------------------------------------------


def _frames(data: Dataset, plate: ImageSequence) -> tuple[list[int], list[np.ndarray], dict[int, int]]:
    """Frame numbers in order, their pictures, and the pair of each index that is painted."""
    pairs = {pair.frame: index for index, pair in enumerate(data.pairs)}
    frames = sorted([*pairs, *chosen(plate.frames(), list(pairs))])
    pictures = [read_frame(plate.path(frame), data.input_channels, np.uint8).pixels for frame in frames]
    return frames, pictures, {index: pairs[frame] for index, frame in enumerate(frames) if frame in pairs}


def _dataset(
    data: Dataset,
    plate: ImageSequence,
    frames: list[int],
    pictures: list[np.ndarray],
    targets: np.ndarray,
    masks: np.ndarray,
) -> Dataset:
    inputs, targets, masks = np.stack(pictures), targets[..., None], masks[..., None]
    valid = np.tile(data.valid[:1].numpy(), (len(frames), 1))
    encodings = data.input_encoding, data.target_encoding
    centres, offsets = difference_centres(inputs, targets, valid, encodings, 0, masks)
    return replace(
        data,
        pairs=tuple(FramePair(plate.path(frame), data.pairs[0].ground_truth, None, frame) for frame in frames),
        input_bank=torch.from_numpy(inputs),
        target_bank=torch.from_numpy(targets),
        mask_bank=torch.from_numpy(masks),
        valid=torch.from_numpy(valid),
        centres=torch.from_numpy(centres),
        centre_offsets=torch.from_numpy(offsets),
        banks=None,
    )


@dataclass(frozen=True, eq=False)
class _View:
    """[H, W] uint8 grey values for the flow, and [H, W, C] colours without grain, 0 to 1."""

    grey: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray) -> _View:
        colours = cv2.GaussianBlur(picture, (0, 0), _GRAIN).astype(np.float32) / 255
        return cls(picture.mean(axis=-1).astype(np.uint8), colours)


@dataclass(frozen=True, eq=False)
class _Trace:
    """Where the pixels of a frame come from.

    Attributes:
        frame: its index.
        source, steps: index of the painted frame, and how far away that is.
        at: [H, W, 2] x and y in the painted frame.
        counts: [H, W], where that can be trusted.
    """

    frame: int
    source: int
    steps: int
    at: np.ndarray
    counts: np.ndarray


def _flow(a: _View, b: _View) -> np.ndarray:
    """[H, W, 2] (DIS: Kroeger et al., ECCV 2016)."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(finder.calc(a.grey, b.grey, None))  # type: ignore[call-overload]


def _traces(
    views: Sequence[_View], flows: Sequence[tuple[np.ndarray, np.ndarray]], painted: dict[int, int], forward: bool
) -> Iterator[_Trace]:
    """Follows each unpainted frame to the painted frame before it, or after it, through the flow there and back."""
    height, width = views[0].grey.shape
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    last: _Trace | None = None
    for index in range(len(views)) if forward else reversed(range(len(views))):
        if index in painted:
            last = _Trace(index, index, 0, here, np.ones((height, width), bool))
        elif last is not None:
            back, there = flows[last.frame][::-1] if forward else flows[index]
            at = here + back
            missed = np.linalg.norm(back + _sampled(there, at), axis=-1)
            counts = missed < _ROUND_TRIP + _ROUND_TRIP_SHARE * np.linalg.norm(back, axis=-1)
            counts &= ((at >= 0) & (at <= (width - 1, height - 1))).all(axis=-1)
            counts &= _sampled(last.counts.astype(np.float32), at) > 0.99
            origin = _sampled(last.at, at)
            difference = np.abs(_sampled(views[last.source].colours, origin) - views[index].colours).max(axis=-1)
            last = _Trace(index, last.source, last.steps + 1, origin, counts & (difference < _COLOUR))
            yield last


def _matte(found: Sequence[tuple[_Trace, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """A frame's matte from one side or both, and where it counts."""
    near = [trace.counts & (trace.steps <= _MOST_STEPS) for trace, _ in found]
    matte, counts = found[0][1], near[0]
    if len(found) == 2:
        here, there = (trace.counts for trace, _ in found)
        matte = np.where(there & ~here, found[1][1], matte)
        agreed = here & there & (np.abs(found[0][1] - found[1][1]) < _AGREED)
        counts = agreed | (near[0] & ~there) | (near[1] & ~here)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _EDGE + 1, 2 * _EDGE + 1))
    return matte, counts & (cv2.dilate(matte, disc) - cv2.erode(matte, disc) < 0.02)


def _sampled(field: np.ndarray, at: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, C] at [H, W, 2] x, y, linearly between pixels."""
    return np.asarray(cv2.remap(field, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
