"""The clean plate of a shot whose camera moves: made anew for each frame, of the painted frames that are aligned to it.

Each painted frame that shows part of the frame is moved onto it (`copycat.data.plate_alignment`); the plate is their
median and their spread, as in `copycat.data.clean_plate`. With parallax (`copycat.data.parallax`) two layers in depth
are moved each by itself, and each pixel is taken from the one in which the painted frames agree. For a training each
pair has a plate of the other painted frames, so the network learns what it meets on frames that nobody painted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate, parallax, plate_alignment
from copycat.data.exposure import Exposure, Factors, usual_factors
from copycat.data.plate_alignment import Array, Matrix, View

LEAST_FRAMES = 3  # a pair's plate is made of two others, so that their spread teaches something
MOST_FRAMES = 12  # that a model keeps
_MOST_SEEN = 7  # that one plate is made of: those that show most of the frame
_LEAST_SEEN = 2  # that show a layer in depth
_PROBES = 3
_FAR_BELOW = 6.0  # dB
_GREY_PER_STD = 32
_LAYER_WINDOW = (9, 9)  # pixels over which the choice of a layer is averaged
_MOST_OFF = 0.15  # from the frame, in standard deviations: more is what is painted out
_REDUCED = 1.5  # a painted frame that is so much larger is averaged first
_GRID = 48  # points to a side at which overlap is counted
_ROWS = 1 << 19  # values that are worked on at a time
_Map = Callable[..., Iterator[Any]]  # ``map``, or that of a pool


@dataclass(frozen=True, eq=False)
class PaintedFrame:
    """A painted frame that plates are made of.

    Attributes:
        picture: [H, W, C] half, normalised.
        shown: [H, W] bool, the pixels that count; None for all.
        view: the same, as it is aligned.
    """

    picture: NDArray[np.float16]
    shown: NDArray[np.bool_] | None
    view: View


@dataclass(frozen=True, eq=False)
class FramePlate:
    """The clean plate of one frame.

    Attributes:
        planes: [H, W, C + 1] half, as of `clean_plate.of_frames`.
        sources: how many painted frames it is made of.
    """

    planes: NDArray[np.float16]
    sources: int


def grey(values: np.ndarray) -> Array:
    """[H, W, C] normalised values as [H, W] grey values for the alignment, 0 to 255."""
    result: Array = np.clip(values.mean(axis=-1, dtype=np.float32) * _GREY_PER_STD + 128, 0, 255).astype(np.float32)
    return result


def painted_frame(values: np.ndarray, shown: NDArray[np.bool_] | None = None) -> PaintedFrame:
    """A painted frame of its normalised values [H, W, C], and [H, W] which of them count."""
    return PaintedFrame(values.astype(np.float16), shown, View.of(grey(values), shown))


def plate_of(
    view: View,
    size: tuple[int, int],
    painted: Sequence[PaintedFrame],
    exposure: Exposure | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> FramePlate:
    """Makes the clean plate of a frame.

    Args:
        view: the frame, as it is aligned.
        size: its height and width.
        painted: the frames that the plate may be made of.
        exposure: of the frame, with which the painted ones are matched; None leaves theirs.
        pool: threads that share the work; the result does not depend on them.
    """
    each: _Map = pool.map if pool else map
    view.prepare()
    placed = []
    for frame, matrix in zip(painted, each(lambda one: plate_alignment.align(view, one.view), painted), strict=True):
        if matrix is not None and (overlap := _overlap(matrix, size, frame)) > 0:
            placed.append((overlap, frame, matrix))
    placed.sort(key=lambda one: -one[0])
    placed = placed[:_MOST_SEEN]
    depth = painted[0].picture.shape[2]
    if not placed:
        planes = np.empty((*size, clean_plate.channels(depth)), np.float16)
        planes[:] = clean_plate.summary(np.full((1, 1, 1, depth), np.nan, np.float32), gaps=True)
        return FramePlate(planes, 0)
    frames = [frame for _, frame, _ in placed]
    found = parallax.layers(view, [frame.view for frame in frames], [matrix for *_, matrix in placed])

    def moved(frame: PaintedFrame, matrix: Matrix) -> NDArray[np.float16]:
        picture = _moved(frame, matrix, size)
        return exposure.matched(picture) if exposure else picture

    plates = []
    for layer in found:
        sources = [(frame, matrix) for frame, matrix in zip(frames, layer, strict=True) if matrix is not None]
        if len(sources) >= min(_LEAST_SEEN, len(frames)):
            plates.append(_merged(list(each(moved, *zip(*sources, strict=True))), each))
    return FramePlate(plates[0] if len(plates) == 1 else _nearest(plates, view), len(placed))


def _merged(moved: Sequence[NDArray[np.float16]], each: _Map) -> NDArray[np.float16]:
    """[H, W, C + 1]: the median and the spread of painted frames that were moved onto the frame."""
    height, width, depth = moved[0].shape
    planes = np.empty((height, width, clean_plate.channels(depth)), np.float16)
    step = max(1, _ROWS // (len(moved) * width * depth))

    def merge(top: int) -> None:
        values = np.stack([one[top : top + step] for one in moved]).astype(np.float32)
        planes[top : top + step] = clean_plate.summary(values, gaps=True)

    for _ in each(merge, range(0, height, step)):
        pass
    return planes


def _nearest(plates: Sequence[NDArray[np.float16]], view: View) -> NDArray[np.float16]:
    """Picks each pixel's layer: where painted frames agree with each other and, if it is not painted out, the frame."""
    costs = []
    for planes in plates:
        layer_grey = plate_alignment.reduced(grey(planes[..., :-1].astype(np.float32)), view.factor)
        apart = plate_alignment.reduced(np.exp(planes[..., -1].astype(np.float32)), view.factor)
        off = cv2.blur(np.abs(layer_grey - view.grey) / _GREY_PER_STD, _LAYER_WINDOW)
        costs.append(cv2.blur(apart, _LAYER_WINDOW) + np.minimum(off, _MOST_OFF))
    chosen = np.argmin(np.stack(costs), axis=0).astype(np.uint8)
    if view.factor > 1:
        chosen = np.kron(chosen, np.ones((view.factor, view.factor), np.uint8))
    chosen = chosen[: plates[0].shape[0], : plates[0].shape[1], None]
    result = plates[0]
    for layer, planes in enumerate(plates[1:], 1):
        result = np.where(chosen == layer, planes, result)
    return result


def of_pairs(
    inputs: Tensor,
    targets: Tensor,
    valid: Tensor,
    *,
    encodings: tuple[ops.Encoding, ops.Encoding],
    residual: Sequence[int],
    mask: Tensor | None,
    plates: Tensor,
    progress: Callable[[int], None],
) -> tuple[list[PaintedFrame], Factors]:
    """Makes the clean plate of each pair, of the other painted frames.

    Args:
        inputs, targets: [N, H, W, C] frames.
        valid: [N, 4] int32, x0, y0, x1, y1 (half open) of each frame's pixels.
        encodings: of inputs and targets.
        residual: for each target channel, the input channel it starts from.
        mask: [N, H, W, 1] weights; a frame shows nothing where its weight is 0.
        plates: [N, H, W, C + 1] half, receives the plates.
        progress: called with the number of plates that are made; may raise.

    Returns:
        The painted frames that a model keeps, and what the work does to their exposure.
    """
    pairs = _Pairs(inputs, targets, valid, encodings, residual, mask)
    chosen = clean_plate.frames_of(len(targets), MOST_FRAMES)
    edit = pairs.edit(chosen)
    with plate_alignment.one_thread(), ThreadPoolExecutor(torch.get_num_threads(), "copycat-plate") as pool:
        try:
            painted = dict(zip(chosen, pool.map(pairs.painted, chosen), strict=True))

            def make(index: int) -> None:
                others = [frame for other, frame in painted.items() if other != index]
                plates[index] = torch.from_numpy(pairs.plate(index, others, edit).planes)

            for done, _ in enumerate(pool.map(make, range(len(targets))), 1):
                progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return list(painted.values()), edit


def gain_of_probes(
    inputs: Tensor,
    targets: Tensor,
    valid: Tensor,
    *,
    centres: Tensor,
    centre_offsets: Tensor,
    encodings: tuple[ops.Encoding, ops.Encoding],
    residual: Sequence[int],
    mask: Tensor | None,
    least: float,
) -> float | None:
    """How much nearer to the Ground Truth than the Input the plates of a few pairs lie, where these differ.

    Args:
        centres: [M, 2] x, y of pixels at which the pairs differ, sorted by frame; centre_offsets: [N + 1].
        inputs, targets, valid, encodings, residual, mask: as for `of_pairs`.
        least: what is asked for; far below it the first pair decides.

    Returns:
        Factor between the squared differences, in dB; None if the pairs do not differ.
    """
    differing = [i for i in range(len(targets)) if centre_offsets[i] < centre_offsets[i + 1]]
    if not differing:
        return None
    pairs = _Pairs(inputs, targets, valid, encodings, residual, mask)
    probes = [differing[i] for i in clean_plate.frames_of(len(differing), _PROBES)]
    probes = [*probes[1:], *probes[:1]]  # the middle of the shot has the most in common with the others
    changed = error = 0.0
    gain = None
    with plate_alignment.one_thread():
        chosen = clean_plate.frames_of(len(targets), MOST_FRAMES)
        painted, edit = {i: pairs.painted(i) for i in chosen}, pairs.edit(chosen)
        for index in probes:
            others = [frame for other, frame in painted.items() if other != index]
            x, y = centres[centre_offsets[index] : centre_offsets[index + 1]].long().numpy().T
            plate = pairs.plate(index, others, edit)
            truth = clean_plate.normalised(targets[index, y, x], encodings[1])
            source = clean_plate.normalised(inputs[index, y, x], encodings[0])[:, list(residual)]
            changed += float(np.square(source - truth).sum())
            shown = plate.planes[y, x].astype(np.float32)[:, :-1] if plate.sources else source
            error += float(np.square(shown - truth).sum())
            gain = 10 * math.log10(changed / max(error, 1e-9 * changed)) if changed > 0 else None
            if gain is not None and gain < least - _FAR_BELOW:
                break
    return gain


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Frame banks and how to read them; arguments as of `of_pairs`. Several threads may call its methods."""

    inputs: Tensor
    targets: Tensor
    valid: Tensor
    encodings: tuple[ops.Encoding, ops.Encoding]
    residual: Sequence[int]
    mask: Tensor | None

    def painted(self, index: int) -> PaintedFrame:
        """The Ground Truth of a pair."""
        return painted_frame(clean_plate.normalised(self.targets[index], self.encodings[1]), self.shown(index))

    def source(self, index: int) -> NDArray[np.float32]:
        """A pair's Input, [H, W, C] normalised, in the channels of the Ground Truth."""
        return clean_plate.normalised(self.inputs[index], self.encodings[0])[..., list(self.residual)]

    def plate(self, index: int, painted: Sequence[PaintedFrame], edit: Factors) -> FramePlate:
        """The plate of a pair's Input; ``edit`` as of `Exposure`."""
        source = self.source(index)
        exposure = Exposure(source, self.encodings[1], edit)
        return plate_of(View.of(grey(source), self.shown(index)), source.shape[:2], painted, exposure)

    def edit(self, indices: Sequence[int]) -> Factors:
        """What the work does to the exposure, as `Exposure` has it: the median over the pairs that show something."""
        factors = [found for index in indices if (found := self._edit(index)) is not None]
        return np.asarray(np.median(factors, axis=0) if factors else np.zeros(len(self.residual)), np.float64)

    def _edit(self, index: int) -> Factors | None:
        truth = clean_plate.normalised(self.targets[index], self.encodings[1])
        shown = self.shown(index)
        if shown is not None:
            truth[~shown] = np.nan
        return usual_factors(truth, self.source(index), self.encodings[1]) if shown is None or shown.any() else None

    def shown(self, index: int) -> NDArray[np.bool_] | None:
        """[H, W], which pixels of a pair count; None for all."""
        height, width = self.targets.shape[1:3]
        x0, y0, x1, y1 = self.valid[index].tolist()
        if self.mask is None and (x0, y0, x1, y1) == (0, 0, width, height):
            return None
        shown = np.zeros((height, width), bool)
        shown[y0:y1, x0:x1] = True if self.mask is None else self.mask[index, y0:y1, x0:x1, 0].numpy() > 0
        return shown


def _overlap(matrix: Matrix, size: tuple[int, int], frame: PaintedFrame) -> int:
    """How many points of a grid over the frame a painted frame shows."""
    y, x = (np.linspace(0, side - 1, _GRID) for side in size)
    u, v = plate_alignment.mapped(matrix, *np.meshgrid(x, y))
    height, width = frame.picture.shape[:2]
    inside = (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)
    if frame.shown is not None:
        column, row = (np.where(inside, part, 0).round().astype(int) for part in (u, v))
        inside &= frame.shown[row, column]
    return int(np.count_nonzero(inside))


def _moved(frame: PaintedFrame, matrix: Matrix, size: tuple[int, int]) -> NDArray[np.float16]:
    """[H, W, C] half: a painted frame moved onto another, NaN where it shows nothing."""
    picture = frame.picture.astype(np.float32)
    shown = None if frame.shown is None else frame.shown.astype(np.float32)
    zoom = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if zoom > _REDUCED:  # else the picture would be sampled too coarsely
        factor = round(zoom)
        picture = plate_alignment.reduced(picture, factor).reshape(*(-(-s // factor) for s in picture.shape[:2]), -1)
        matrix = plate_alignment.reduction(factor) @ matrix
        if shown is not None:
            shown = (plate_alignment.reduced(shown, factor) > 0.999).astype(np.float32)
    height, width = size
    result = np.empty((height, width, picture.shape[2]), np.float16)
    step = max(1, _ROWS // width)
    for top in range(0, height, step):
        rows = min(step, height - top)
        part = matrix @ np.array([[1, 0, 0], [0, 1, top], [0, 0, 1]])
        warped = _warped(picture, part, (rows, width), cv2.INTER_CUBIC).reshape(rows, width, -1)
        inside = _inside(part, (rows, width), picture.shape[:2])
        if shown is not None:
            inside &= _warped(shown, part, (rows, width), cv2.INTER_LINEAR) > 0.999
        warped[~inside] = np.nan
        result[top : top + rows] = warped
    return result


def _warped(picture: Array, matrix: Matrix, size: tuple[int, int], how: int) -> Array:
    """What of a picture lies under the pixels of another one of height and width ``size``; its edges repeat."""
    flags = how | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(picture, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _inside(matrix: Matrix, size: tuple[int, int], target: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a picture of height and width ``size`` a homography maps into one of ``target``.

    Each edge of the target is a straight line in the picture, so a pixel's side of it is a sum of two numbers.
    """
    u, v, w = matrix
    height, width = target
    inside = np.ones(size, bool)
    for a, b, c in (w, u + w / 2, v + w / 2, (width - 0.5) * w - u, (height - 0.5) * w - v):
        across, down = a * np.arange(size[1]), b * np.arange(size[0]) + c
        inside &= across >= -down[:, None]
    return inside
