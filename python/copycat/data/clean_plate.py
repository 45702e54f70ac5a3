"""The clean plate of a locked-off shot (knob Clean Plate): what its painted frames show at each place.

Where the camera stands still and something is painted out, what is behind it is on the other painted frames. The
network is told their median at each pixel, and how far they lie apart there, so that it need not learn by heart what
it can copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from copycat import ops

LEAST_FRAMES = 3  # the median of fewer is the truth that is to be learned
_MOST_FRAMES = 24  # more cost time and change little
_AGREEMENT = 0.05
_LEAST_SPREAD = 0.03
_BLOCK = 1 << 22  # values that are looked at together


def channels(count: int) -> int:
    """Planes of the clean plate of ``count`` target channels: the medians, and how far the frames lie apart."""
    return count + 1


def of_frames(bank: Tensor, valid: Tensor, encoding: ops.Encoding) -> Tensor:
    """The clean plate of painted frames.

    Args:
        bank: [N, H, W, C] Ground Truth, finite.
        valid: [N, 4] int32, x0, y0, x1, y1 (half open) of each frame's pixels.
        encoding: of the channels.

    Returns:
        [1, H, W, C + 1] half: the normalised medians, and the logarithm of the mean distance from them.
    """
    chosen = _chosen(len(bank))
    valid, height, width, depth = valid[chosen], *bank.shape[1:]
    whole = bool((valid == torch.tensor([0, 0, width, height])).all())
    plate = torch.empty((1, height, width, channels(depth)), dtype=torch.float16)
    step = max(1, _BLOCK // (len(chosen) * width * depth))
    for y in range(0, height, step):
        values = _normalised(bank[chosen, y : y + step], encoding)
        if not whole:
            rows, columns = np.arange(y, y + values.shape[1])[:, None], np.arange(width)
            for frame, (x0, y0, x1, y1) in zip(values, valid.tolist(), strict=True):
                frame[(rows < y0) | (rows >= y1) | (columns < x0) | (columns >= x1)] = np.nan
            # Where no frame has data no crop lies either.
            values[:, np.isnan(values).all(axis=(0, -1))] = 0
        middle = _median(values, gaps=not whole)
        spread = (np.mean if whole else np.nanmean)(np.abs(values - middle), axis=(0, -1))
        planes = np.concatenate([middle, np.log(spread + _LEAST_SPREAD)[..., None]], axis=-1)
        plate[0, y : y + step] = torch.from_numpy(planes)
    return plate


def is_shown(
    inputs: Tensor,
    targets: Tensor,
    centres: Tensor,
    centre_offsets: Tensor,
    encodings: tuple[ops.Encoding, ops.Encoding],
    residual: Sequence[int],
) -> bool:
    """Whether what is to be painted can be seen on the other painted frames, at the same place.

    Args:
        inputs, targets: [N, H, W, C] frames.
        centres: [M, 2] x, y where the pairs differ, sorted by frame; centre_offsets: [N + 1].
        encodings: of inputs and targets.
        residual: for each target channel, the input channel it starts from, or -1.

    Returns:
        True where, at these places, the median of the other frames is far nearer to a Ground Truth than its Input is.
    """
    if len(targets) < LEAST_FRAMES or min(residual) < 0:
        return False
    edit = error = 0.0
    chosen = _chosen(len(targets))
    frames = torch.tensor(chosen)[:, None]
    for place, index in enumerate(chosen):
        x, y = centres[centre_offsets[index] : centre_offsets[index + 1]].long().T
        if not len(x):
            continue
        painted = _normalised(targets[frames, y, x], encodings[1])
        others = _median(np.delete(painted, place, axis=0))
        source = _normalised(inputs[index, y, x], encodings[0])[:, list(residual)]
        edit += float(np.square(source - painted[place]).sum())
        error += float(np.square(others - painted[place]).sum())
    return edit > 0 and error <= _AGREEMENT * edit


def of_crops(
    plate: Tensor,
    rule: ops.CropRule,
    *,
    step: int | Tensor,
    batch: int,
    first_sample: int = 0,
    total_samples: int | None = None,
) -> Tensor:
    """The clean plate where crops lie, turned and mirrored as they are.

    Args:
        plate: [1, H, W, C].
        rule, step, batch, first_sample, total_samples: which crops; see :func:`copycat.ops.sample_crops`.

    Returns:
        [B, C, h, w].
    """
    places = ops.crop_positions(
        (plate.shape[1], plate.shape[2]),
        rule,
        step=step,
        batch=batch,
        first_sample=first_sample,
        total_samples=total_samples,
        device=plate.device,
    )
    height, width = rule.crop
    x, y, mirrored, quarters = (places[:, i, None, None] for i in range(1, 5))
    i = torch.arange(height, device=places.device)[None, :, None]
    j = torch.arange(width, device=places.device)[None, None, :]
    # Back the way that a crop is made: turned against the clock, then mirrored, then turned upside down.
    i = torch.where(mirrored & 1 > 0, height - 1 - i, i)
    j = torch.where(mirrored & 2 > 0, width - 1 - j, j)
    last_row, last_column = height - 1 - i, width - 1 - j
    down = torch.where(
        quarters == 0, i, torch.where(quarters == 1, j, torch.where(quarters == 2, last_row, last_column))
    )
    right = torch.where(
        quarters == 0, j, torch.where(quarters == 1, last_row, torch.where(quarters == 2, last_column, i))
    )
    return plate[0, (y + down).long(), (x + right).long()].movedim(-1, 1)


def fits(plate_size: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a clean plate can lie under frames of this height and width: as it is, or scaled as a whole."""
    (height, width), (rows, columns) = plate_size, size
    return abs(rows / height - columns / width) <= 1 / height + 1 / width


def of_frame(plate: Tensor, size: tuple[int, int]) -> Tensor:
    """A network's clean plate [1, C, H, W] in the size of a frame, which is another in a host's proxy mode."""
    if plate.shape[-2:] == size:
        return plate
    return functional.interpolate(plate.float(), size, mode="bilinear", align_corners=False)


def _chosen(count: int) -> list[int]:
    """Which of so many frames are looked at: all, or some spread evenly."""
    places = np.linspace(0, count - 1, min(count, _MOST_FRAMES))
    return [round(place) for place in places]


def _median(values: np.ndarray, gaps: bool = False) -> np.ndarray:
    """The median of [N, ...] over N, equal to numpy's and faster: numpy sorts many columns at once, but selects in one.

    Args:
        values: float32.
        gaps: whether NaN is no value, as in ``np.nanmedian``; else it makes the median NaN, as in ``np.median``.
    """
    ordered = np.sort(values, axis=0)  # NaN comes last
    if gaps:
        last = np.count_nonzero(~np.isnan(ordered), axis=0, keepdims=True) - 1
        low, high = (np.take_along_axis(ordered, at, axis=0)[0] for at in (last // 2, (last + 1) // 2))
    else:
        last = len(ordered) - 1
        low, high = ordered[last // 2], ordered[(last + 1) // 2]
        high = np.where(np.isnan(ordered[-1]), ordered[-1], high)
    middle: np.ndarray = (low + high) / 2
    return middle


def _normalised(values: Tensor, encoding: ops.Encoding) -> np.ndarray:
    """[..., C] -> the same, as the network sees them."""
    shape = values.shape
    planes = ops.normalize(values.reshape(1, -1, 1, shape[-1]).movedim(-1, 1), encoding)
    made: np.ndarray = planes.movedim(1, -1).reshape(shape).float().numpy()
    return made
