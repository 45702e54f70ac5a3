"""The clean plate of a locked-off shot (knob Clean Plate): the median of the Ground Truth frames at each pixel.

When the camera stands still and something is painted out, the background behind it is visible on other painted frames.
The network gets their median and their spread as extra input channels, so it copies the background instead of
memorising it. The clean plate covers the format of the training frames; a picture is placed on it by its origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from copycat import ops
from copycat.errors import CopycatError

Kind = Literal["none", "still", "moving"]
"""Whether there is a clean plate: one for all frames, or one for each (`copycat.data.moving_plate`)."""

LEAST_FRAMES = 2
_FEW = 2  # frames that say nothing of what moves: a graded shot that stands still agrees with itself too
_UNCHANGED = 0.01  # of the squared difference where pairs differ most: less is no change
_SAMPLED_SIDE = 256  # pixels of a frame's height and width at which a change is looked for
_MOST_FRAMES = 24  # more cost time and change little
AGREEMENT = 0.05
_LEAST_SPREAD = 0.03
_UNKNOWN_SPREAD = 1.0  # of pixels that no frame shows: the spread of the picture's values
_BLOCK = 1 << 22  # values per block of rows
_PROXIES = (1, 2, 4)


class PlacementError(CopycatError):
    """A picture has no certain position on the clean plate."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a picture lies in the frame that it was cut from. Origin top left, as in files.

    Attributes:
        origin: x, y of the picture's top left pixel in the frame; negative in overscan.
        format: width and height of the whole frame in the picture's pixels; None takes the picture's own size.
        scale: render scale of the picture, 0.5 for a half-size proxy; None when nobody says it.
    """

    origin: tuple[int, int] = (0, 0)
    format: tuple[int, int] | None = None
    scale: float | None = None


def channels(count: int) -> int:
    """Channels of the clean plate for ``count`` target channels: one median each, and the spread."""
    return count + 1


def of_frames(bank: Tensor, valid: Tensor, encoding: ops.Encoding, mask: Tensor | None = None) -> Tensor:
    """Makes the clean plate of painted frames.

    Args:
        bank: [N, H, W, C] Ground Truth, finite.
        valid: [N, 4] int32, x0, y0, x1, y1 (half open) of each frame's pixels.
        encoding: of the channels.
        mask: [N, H, W, 1] weights; a frame shows nothing where its weight is 0.

    Returns:
        [1, H, W, C + 1] half: the normalised medians, and the logarithm of the mean distance from them (the spread).
    """
    chosen = frames_of(len(bank))
    valid, height, width, depth = valid[chosen], *bank.shape[1:]
    gaps = mask is not None or not bool((valid == torch.tensor([0, 0, width, height])).all())
    plate = torch.empty((1, height, width, channels(depth)), dtype=torch.float16)
    step = max(1, _BLOCK // (len(chosen) * width * depth))
    for y in range(0, height, step):
        values = normalised(bank[chosen, y : y + step], encoding)
        if gaps:
            rows, columns = np.arange(y, y + values.shape[1])[:, None], np.arange(width)
            for frame, (x0, y0, x1, y1) in zip(values, valid.tolist(), strict=True):
                frame[(rows < y0) | (rows >= y1) | (columns < x0) | (columns >= x1)] = np.nan
            if mask is not None:
                values[mask[chosen, y : y + step, :, 0].numpy() == 0] = np.nan
        plate[0, y : y + step] = torch.from_numpy(summary(values, gaps))
    return plate


def summary(values: np.ndarray, gaps: bool) -> np.ndarray:
    """The median of frames and how far they lie from it.

    Args:
        values: [N, H, W, C] float32, normalised; changed where no frame shows anything.
        gaps: whether pixels of frames that show nothing are NaN, in all channels.

    Returns:
        [H, W, C + 1] float32, as `of_frames`.
    """
    nowhere = np.isnan(values[..., 0]).all(axis=0) if gaps else None
    if nowhere is not None:
        values[:, nowhere] = 0
    middle = _median(values)
    distances = np.abs(values - middle)
    spread = _mean_of_shown(distances) if gaps else distances.mean(axis=(0, -1))
    if nowhere is not None:
        spread[nowhere] = _UNKNOWN_SPREAD
    return np.concatenate([middle, np.log(spread + _LEAST_SPREAD)[..., None]], axis=-1)


def _mean_of_shown(distances: np.ndarray) -> np.ndarray:
    """[N, H, W, C] -> [H, W]: the mean over frames and channels, ``np.nanmean`` where a frame shows all or nothing."""
    sums = distances[..., 0].copy()
    for channel in range(1, distances.shape[-1]):  # far faster than a sum over so short an axis
        sums += distances[..., channel]
    count = distances.shape[-1] * np.count_nonzero(~np.isnan(sums), axis=0)
    return np.asarray(np.nansum(sums, axis=0) / count, np.float32)


def is_shown(
    inputs: Tensor,
    targets: Tensor,
    centres: Tensor,
    centre_offsets: Tensor,
    encodings: tuple[ops.Encoding, ops.Encoding],
    residual: Sequence[int],
    mask: Tensor | None = None,
) -> bool:
    """Whether the other painted frames show, at the same pixels, what a painted frame shows.

    Args:
        inputs, targets: [N, H, W, C] frames.
        centres: [M, 2] x, y of pixels at which the pairs differ, sorted by frame; centre_offsets: [N + 1].
        encodings: of inputs and targets.
        residual: for each target channel, the input channel it starts from, or -1.
        mask: [N, H, W, 1] weights; a frame shows nothing where its weight is 0.

    Returns:
        True if, at the centres, the median of the other frames is far nearer to a Ground Truth than its Input is; of
        two frames only if most of their pixels are those of the Input.
    """
    if len(targets) < LEAST_FRAMES or min(residual) < 0:
        return False
    edit = error = 0.0
    count = 0
    chosen = frames_of(len(targets))
    frames = torch.tensor(chosen)[:, None]
    for row, index in enumerate(chosen):
        x, y = centres[centre_offsets[index] : centre_offsets[index + 1]].long().T
        if not len(x):
            continue
        painted = normalised(targets[frames, y, x], encodings[1])
        truth, others = painted[row], np.delete(painted, row, axis=0)
        if mask is not None:
            hidden = np.delete(mask[frames, y, x, 0].numpy() == 0, row, axis=0)
            others[hidden] = np.nan
            others[:, hidden.all(axis=0)] = 0  # no frame shows it, so no frame agrees
        source = normalised(inputs[index, y, x], encodings[0])[:, list(residual)]
        edit += float(np.square(source - truth).sum())
        count += len(x)
        error += float(np.square(_median(others) - truth).sum())
    if not (edit > 0 and error <= AGREEMENT * edit):
        return False
    return len(targets) > _FEW or _usual_change(inputs, targets, encodings, residual) <= _UNCHANGED * edit / count


def _usual_change(
    inputs: Tensor, targets: Tensor, encodings: tuple[ops.Encoding, ops.Encoding], residual: Sequence[int]
) -> float:
    """The median of the squared differences of pairs; arguments as of `is_shown`."""
    steps = [max(1, side // _SAMPLED_SIDE) for side in inputs.shape[1:3]]
    some = np.s_[:, :: steps[0], :: steps[1]]
    source = normalised(inputs[some], encodings[0])[..., list(residual)]
    return float(np.median(np.square(source - normalised(targets[some], encodings[1])).sum(axis=-1)))


def of_crops(
    plate: Tensor,
    rule: ops.CropRule,
    *,
    step: int | Tensor,
    batch: int,
    first_sample: int = 0,
    total_samples: int | None = None,
) -> Tensor:
    """Cuts the clean plate under crops, turned and mirrored as the crops are.

    Args:
        plate: [1, H, W, C], or [N, H, W, C] with a plate for each pair.
        rule, step, batch, first_sample, total_samples: which crops; see :func:`copycat.ops.sample_crops`.

    Returns:
        [B, C, h, w].
    """
    positions = ops.crop_positions(
        (plate.shape[1], plate.shape[2]),
        rule,
        step=step,
        batch=batch,
        first_sample=first_sample,
        total_samples=total_samples,
        device=plate.device,
    )
    height, width = rule.crop
    frame, x, y, mirrored, quarters = (positions[:, i, None, None] for i in range(5))
    i = torch.arange(height, device=positions.device)[None, :, None]
    j = torch.arange(width, device=positions.device)[None, None, :]
    # The inverse of the sampler's transform: turn anticlockwise, mirror, turn upside down.
    i = torch.where(mirrored & 1 > 0, height - 1 - i, i)
    j = torch.where(mirrored & 2 > 0, width - 1 - j, j)
    last_row, last_column = height - 1 - i, width - 1 - j
    down = torch.where(
        quarters == 0, i, torch.where(quarters == 1, j, torch.where(quarters == 2, last_row, last_column))
    )
    right = torch.where(
        quarters == 0, j, torch.where(quarters == 1, last_row, torch.where(quarters == 2, last_column, i))
    )
    of_frame = frame.long() if len(plate) > 1 else 0
    return plate[of_frame, (y + down).long(), (x + right).long()].movedim(-1, 1)


def placement_in_host(
    plate_size: tuple[int, int], bounds: tuple[int, int, int, int], scale: float | None = None
) -> Placement:
    """Places a compositing host's picture, assuming that the shot's frame begins at 0, 0 of the host's coordinates.

    A picture of the frame's size is the frame. One that holds the whole frame has a border, and one that lies inside
    but not in the corner was cut out; a smaller one in the corner may also have been cropped and moved there.

    Args:
        plate_size: height and width of the clean plate.
        bounds: x1, y1, x2, y2 of the picture in its pixels, half open, origin bottom left.
        scale: render scale; None if unknown.

    Raises:
        PlacementError: the position is not certain.
    """
    x1, y1, x2, y2 = bounds
    size = (y2 - y1, x2 - x1)
    if fits(plate_size, size, scale):
        return Placement(format=size[::-1], scale=scale)
    rows, columns = (round(side * (scale or 1)) for side in plate_size)
    holds = x1 <= 0 and y1 <= 0 and x2 >= columns and y2 >= rows
    inside = min(x1, y1) >= 0 and max(x1, y1) > 0 and x2 <= columns and y2 <= rows
    if holds or inside:
        return Placement(origin=(x1, rows - y2), format=(columns, rows), scale=scale or 1)
    raise PlacementError(
        f"the model knows the Clean Plate of a shot of {plate_size[1]}x{plate_size[0]}, and where the picture of "
        f"{size[1]}x{size[0]} at {x1}, {y1} lies in it is not certain; use the whole frame, or a model that is trained "
        "with Clean Plate Off"
    )


def check_placement(plate_size: tuple[int, int], size: tuple[int, int], placement: Placement) -> None:
    """Refuses a picture whose position on the clean plate is not certain.

    A frame is the clean plate's own when it has the same size, or that size at the render scale. A frame without a
    render scale may also be a proxy of exactly 1/2 or 1/4. Anything else may be a crop or another shot.

    Args:
        plate_size: height and width of the clean plate.
        size: height and width of the picture.
        placement: of the picture.

    Raises:
        PlacementError: the frame has another size.
    """
    width, height = placement.format or size[::-1]
    if not fits(plate_size, (height, width), placement.scale):
        at = f" at a scale of {placement.scale:g}" if placement.scale and placement.scale != 1 else ""
        raise PlacementError(
            f"the model knows the Clean Plate of a shot of {plate_size[1]}x{plate_size[0]}, the frame is "
            f"{width}x{height}{at}; a model for other framings is trained with Clean Plate Off"
        )


def fits(plate_size: tuple[int, int], size: tuple[int, int], scale: float | None = None) -> bool:
    """Whether frames of this height and width are the clean plate's own, or a proxy; see `check_placement`."""
    scales = [scale] if scale else [1 / divisor for divisor in _PROXIES]
    return any(_is_scaled(size, plate_size, one) for one in scales)


def _is_scaled(size: tuple[int, int], full_size: tuple[int, int], scale: float) -> bool:
    """Whether each side of ``size`` is the scaled side of ``whole``, rounded up or down."""
    return all(
        math.floor(side * scale - 1e-6) <= scaled <= math.ceil(side * scale + 1e-6) and scaled > 0
        for scaled, side in zip(size, full_size, strict=True)
    )


def under_picture(plate: Tensor, size: tuple[int, int], placement: Placement) -> Tensor:
    """The part of a clean plate that lies under a picture.

    Beyond the frame there is no clean plate: its border repeats there, with the widest spread that it has.

    Args:
        plate: [1, C + 1, H, W] medians and spread.
        size: height and width of the picture.
        placement: of the picture, as `check_placement` accepts it.

    Returns:
        [1, C + 1, height, width].
    """
    (height, width), (x, y) = size, placement.origin
    columns, rows = placement.format or (width, height)
    if plate.shape[-2:] != (rows, columns):
        plate = functional.interpolate(plate.float(), (rows, columns), mode="bilinear", align_corners=False)
    if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
        return plate[..., y : y + height, x : x + width]
    down = torch.arange(y, y + height, device=plate.device)
    right = torch.arange(x, x + width, device=plate.device)
    part = plate[..., down.clamp(0, rows - 1)[:, None], right.clamp(0, columns - 1)]
    inside = ((down >= 0) & (down < rows))[:, None] & (right >= 0) & (right < columns)
    part[:, -1] = torch.where(inside, part[:, -1], plate[:, -1].max())
    return part


def frames_of(count: int, most: int = _MOST_FRAMES) -> list[int]:
    """Indices of the frames that make the clean plate: all, or an even spread."""
    return [round(index) for index in np.linspace(0, count - 1, min(count, most))]


def _median(values: np.ndarray) -> np.ndarray:
    """``np.nanmedian`` of [N, ...] over N, several times as fast: numpy selects pixel by pixel, this compares planes.

    ``values`` are float32, at most 127 of them.
    """
    missing = np.isnan(values)
    ordered = np.where(missing, np.float32(np.inf), values)
    lower = np.empty_like(ordered[0])
    for i, j in _comparisons(len(ordered)):
        np.minimum(ordered[i], ordered[j], out=lower)
        np.maximum(ordered[i], ordered[j], out=ordered[j])
        ordered[i] = lower
    last = len(ordered) - 1
    if not missing.any():
        result: np.ndarray = (ordered[last // 2] + ordered[(last + 1) // 2]) / 2
        return result
    lasts = last - missing.sum(axis=0, dtype=np.int8)
    low, high = (_picked(ordered, index) for index in (lasts // 2, (lasts + 1) // 2))
    return np.where(lasts < 0, np.float32(np.nan), (low + high) / 2)


def _picked(planes: np.ndarray, index: np.ndarray) -> np.ndarray:
    """For each pixel the value of the plane of that index; of the first where there is none."""
    result: np.ndarray = planes[0].copy()
    for i, plane in enumerate(planes[1:], 1):
        np.copyto(result, plane, where=index == i)
    return result


@cache
def _comparisons(count: int) -> list[tuple[int, int]]:
    """Batcher's merge exchange (Knuth, TAOCP 5.2.2, algorithm M): what to compare and exchange, in order, to sort."""
    pairs = []
    top = 1 << max(count - 1, 0).bit_length() - 1 if count > 1 else 0
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return pairs


def normalised(values: Tensor, encoding: ops.Encoding) -> np.ndarray:
    """[..., C] -> [..., C], encoded and normalised."""
    shape = values.shape
    planes = ops.normalize(values.reshape(1, -1, 1, shape[-1]).movedim(-1, 1), encoding)
    result: np.ndarray = planes.movedim(1, -1).reshape(shape).float().numpy()
    return result
