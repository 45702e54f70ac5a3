"""The kernels as torch operators: cutting crops, downsizing, value encoding and statistics.

This is the only importer of ``copycat._core``. Each operator is registered with torch (``torch.ops.copycat``), so that
torch.compile and CUDA graphs can hold it; none of them carries a gradient. The device of the output picks the kernel,
CUDA kernels run on torch's current stream, and CPU kernels use ``torch.get_num_threads()`` threads.

Banks are ``[N, H, W, C]`` in float32, float16, bfloat16 or uint8 (where 255 stands for 1), at any strides. A CUDA
kernel reads a bank in device memory or in pinned host memory. A wrong argument is a ValueError that names it and its
value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # public, but torch's stubs do not say so

from copycat import _core

__all__ = [
    "LANES",
    "Encoding",
    "Statistics",
    "build_info",
    "check_crop",
    "crop_positions",
    "cuda_available",
    "denormalize",
    "downsize",
    "gate",
    "gate_gradient",
    "normalize",
    "residual_norm",
    "residual_norm_gradient",
    "sample_crops",
    "statistics",
]

LANES = 16  # the channels of `gate` and `residual_norm` are multiples of it
_PIXELS_PER_PART = 1024  # whose gradients are summed in float32 before they are joined


@dataclass(frozen=True)
class Encoding:
    """How the values of each channel become what the network sees, ``y = (e(x) - mean) / std``.

    ``e`` is the identity where ``log_scale`` is 0, else the signed logarithm ``sign(x) * log1p(log_scale * |x|)``,
    which keeps negatives and tames scene-linear highlights.

    Attributes:
        log_scale: per channel, 0 or more.
        mean: per channel, of e(x).
        std: per channel, of e(x), above 0.
    """

    log_scale: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def identity(cls, channels: int) -> Encoding:
        """The encoding that changes nothing."""
        return cls((0.0,) * channels, (0.0,) * channels, (1.0,) * channels)

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Encoding:
        """The inverse of `to_dict`; raises KeyError when a list is missing."""
        return cls(*(tuple(float(value) for value in numbers[name]) for name in ("log_scale", "mean", "std")))

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for a file's header."""
        return {name: list(values) for name, values in asdict(self).items()}

    def select(self, indices: Sequence[int]) -> Encoding:
        """The encoding of the given channels, in the given order."""
        return Encoding(*(tuple(values[i] for i in indices) for values in (self.log_scale, self.mean, self.std)))

    def _numbers(self) -> list[float]:
        return [*self.log_scale, *self.mean, *self.std]


@dataclass(frozen=True)
class Statistics:
    """Per channel numbers of a bank; pixels that are NaN or infinite are counted and left out of all the others."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    non_finite: tuple[int, ...]


def build_info() -> dict[str, Any]:
    """What was compiled in: version, compiler, cpu_instructions, cuda, cuda_version and cuda_architectures."""
    return dict(_core.build_info())


def cuda_available() -> bool:
    """Whether the kernels were compiled for CUDA and torch and they both find a device and its driver."""
    return torch.cuda.is_available() and _core.cuda_device_count() > 0


def sample_crops(
    input_bank: Tensor,
    target_bank: Tensor,
    *,
    crop: tuple[int, int],
    batch: int,
    step: int | Tensor,
    seed: int,
    input_encoding: Encoding,
    target_encoding: Encoding,
    valid: Tensor,
    mask_bank: Tensor | None = None,
    centres: Tensor | None = None,
    centre_offsets: Tensor | None = None,
    centre_share: float = 0.0,
    flip: float = 0.0,
    flop: float = 0.0,
    turn: float = 0.0,
    crops_per_pair: int = 1,
    first_sample: int = 0,
    total_samples: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    out: tuple[Tensor, Tensor, Tensor | None] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cuts, turns and encodes the crops of one training step, input and target alike, in one launch.

    What is drawn depends on (seed, step, sample) and the data set alone. Frames come in passes over the data set in a
    new order each time, without replacement; a batch as large as the data set takes every pair once. A crop is turned,
    then mirrored left-right (flop), then upside down (flip).

    `valid`, `centres` and `centre_offsets` may lie on the CPU or on the output's device. On the CPU their values are
    checked by every call and, for a GPU, copied there, which a CUDA graph cannot hold. On a GPU nobody waits to look at
    them: check them before they go there (`check_crop`). A wrong rectangle cannot make a kernel read outside the frame.

    Args:
        input_bank: ``[N, H, W, Ci]``.
        target_bank: ``[N, H, W, Co]``; its dtype may differ from the input's.
        crop: height and width in pixels, after turning. It must fit into every valid rectangle, and, when turned, so
            must its transpose.
        batch: number of crops B.
        step: number of the training step; an int64 scalar tensor when a CUDA graph is to go on counting.
        seed: 0 to 2^64 - 1.
        input_encoding: for the Ci channels.
        target_encoding: for the Co channels.
        valid: ``[N, 4]`` int32, x0, y0, x1, y1 (half open) of the pixels that hold data; crops lie inside.
        mask_bank: ``[N, H, W, 1]``, cut alike but not encoded.
        centres: ``[M, 2]`` int32 x, y, sorted by frame: places worth looking at.
        centre_offsets: ``[N + 1]`` int32, where the centres of each frame begin.
        centre_share: probability that a crop contains a centre of its frame, at a random place in the crop, shifted
            where needed to stay inside the valid rectangle. Frames without centres are drawn from evenly.
        flip: probability of turning upside down.
        flop: probability of mirroring left-right.
        turn: probability of turning by 90, 180 or 270 degrees.
        crops_per_pair: crops in a row that come from the same pair.
        first_sample: number of this call's first sample within the step, for one rank of several.
        total_samples: samples of the step over all ranks; `batch` when None.
        dtype: of the outputs when `out` is None: float32, float16 or bfloat16.
        device: of the outputs when `out` is None; the input bank's when None. A GPU that is to read pinned banks must
            be named.
        out: buffers of an earlier call to write to.

    Returns:
        Input ``[B, Ci, h, w]``, target ``[B, Co, h, w]`` and, with a mask, mask ``[B, 1, h, w]``, in channels-last
        memory.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    if out is None:
        device = input_bank.device if device is None else device
        sizes = [(batch, bank.shape[-1], *crop) for bank in (input_bank, target_bank)]
        input_out, target_out = (_channels_last(size, dtype, device) for size in sizes)
        mask_out = None if mask_bank is None else _channels_last((batch, 1, *crop), dtype, device)
    else:
        input_out, target_out, mask_out = out
    torch.ops.copycat.sample_crops(
        input_bank,
        target_bank,
        mask_bank,
        input_out,
        target_out,
        mask_out,
        input_encoding._numbers(),
        target_encoding._numbers(),
        list(crop),
        valid,
        centres,
        centre_offsets,
        *_split_step(step),
        _signed(seed),
        [centre_share, flip, flop, turn],
        [crops_per_pair, first_sample, batch if total_samples is None else total_samples],
    )
    return input_out, target_out, mask_out


def crop_positions(
    frame_size: tuple[int, int],
    *,
    crop: tuple[int, int],
    batch: int,
    step: int | Tensor,
    seed: int,
    valid: Tensor,
    centres: Tensor | None = None,
    centre_offsets: Tensor | None = None,
    centre_share: float = 0.0,
    flip: float = 0.0,
    flop: float = 0.0,
    turn: float = 0.0,
    crops_per_pair: int = 1,
    first_sample: int = 0,
    total_samples: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Where `sample_crops` cuts with the same arguments.

    Args:
        frame_size: height and width of the bank's frames.
        device: where to compute; that of `valid` when None. The others: see `sample_crops`.

    Returns:
        ``[B, 5]`` int32: frame, x and y of the rectangle's top left in the frame, mirroring
        (1 flip, 2 flop), quarter turns against the clock. The rectangle is as high as the crop is wide when the number
        of turns is odd.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    out = torch.empty((batch, 5), dtype=torch.int32, device=valid.device if device is None else device)
    torch.ops.copycat.crop_positions(
        out,
        list(frame_size),
        list(crop),
        valid,
        centres,
        centre_offsets,
        *_split_step(step),
        _signed(seed),
        [centre_share, flip, flop, turn],
        [crops_per_pair, first_sample, batch if total_samples is None else total_samples],
    )
    return out


def check_crop(valid: Tensor, crop: tuple[int, int], *, turn: float = 0.0) -> None:
    """Checks once, before `valid` goes to a GPU, that a crop fits into every rectangle.

    Args:
        valid: ``[N, 4]`` int32 on any device.
        crop: height and width.
        turn: probability of a quarter turn; when above 0 the transposed crop must fit too.

    Raises:
        ValueError: a rectangle is too small; the message names the frame and the sizes.
    """
    height, width = (max(crop), max(crop)) if turn > 0 else crop
    for frame, (x0, y0, x1, y1) in enumerate(valid.tolist()):
        if x1 - x0 < width or y1 - y0 < height:
            raise ValueError(
                f"crop of {width} x {height} does not fit into the {x1 - x0} x {y1 - y0} valid pixels of frame {frame}"
            )


def downsize(bank: Tensor, factor: int) -> Tensor:
    """Averages areas of factor x factor pixels; at the right and bottom edge over the pixels that exist.

    Args:
        bank: ``[N, H, W, C]``.
        factor: 2 or 4.

    Returns:
        ``[N, ceil(H / factor), ceil(W / factor), C]`` in the bank's dtype, averaged in float32 and rounded to nearest.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    result: Tensor = torch.ops.copycat.downsize(bank, factor)
    return result


def normalize(x: Tensor, encoding: Encoding, dtype: torch.dtype = torch.float32) -> Tensor:
    """Encodes pixels: value encoding, then ``(e - mean) / std``.

    Args:
        x: ``[B, C, H, W]`` in any memory format; float32, float16, bfloat16 or uint8.
        encoding: for the C channels.
        dtype: of the result: float32, float16 or bfloat16.

    Returns:
        ``[B, C, H, W]`` in channels-last memory, on x's device.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    result: Tensor = torch.ops.copycat.recode(x, encoding._numbers(), False, dtype)
    return result


def denormalize(y: Tensor, encoding: Encoding, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `normalize`, with the same arguments, result and errors."""
    result: Tensor = torch.ops.copycat.recode(y, encoding._numbers(), True, dtype)
    return result


def statistics(bank: Tensor, valid: Tensor) -> Statistics:
    """Mean, standard deviation (of the population), extremes and the count of non-finite values, in one pass.

    Args:
        bank: ``[N, H, W, C]``.
        valid: ``[N, 4]`` int32 x0, y0, x1, y1 (half open) of the pixels to look at.

    Returns:
        The numbers per channel; a channel without any finite value gets 0 for all of them.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    rows = torch.ops.copycat.statistics(bank, valid).tolist()
    count = [row[0] for row in rows]
    return Statistics(
        mean=tuple(row[1] for row in rows),
        std=tuple(math.sqrt(row[2] / max(row[0], 1.0)) for row in rows),
        minimum=tuple(row[3] if n else 0.0 for row, n in zip(rows, count, strict=True)),
        maximum=tuple(row[4] if n else 0.0 for row, n in zip(rows, count, strict=True)),
        non_finite=tuple(int(row[5]) for row in rows),
    )


def gate(x: Tensor) -> Tensor:
    """The product of the halves of each pixel's channels; on the CPU only, as the three after it.

    Args:
        x: ``[P, 2C]`` without gaps, float32 or bfloat16, C a multiple of LANES.

    Returns:
        ``[P, C]``.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    result: Tensor = torch.ops.copycat.gate(x)
    return result


def gate_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient ``[P, 2C]`` of `gate`'s argument from that of its result ``[P, C]``."""
    result: Tensor = torch.ops.copycat.gate_gradient(x, gradient.contiguous())
    return result


def residual_norm(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``sum = x + branch * scale``, and its layer normalisation over the channels with epsilon 1e-6.

    Args:
        x: ``[P, C]`` without gaps, float32 or bfloat16, C a multiple of LANES; the others are of its dtype.
        branch: ``[P, C]``, and its ``[C]`` scale; None when there is nothing to add.
        scale: see branch.
        weight: ``[C]``, and the ``[C]`` bias of the normalisation; None when only the sum is wanted.
        bias: see weight.

    Returns:
        sum and normalised sum, ``[P, C]``; empty where there is no branch or no weight.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    total, normed = torch.ops.copycat.residual_norm(x, branch, scale, weight, bias)
    return total, normed


def residual_norm_gradient(
    total: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor | None,
    total_gradient: Tensor | None,
    normed_gradient: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `residual_norm`'s arguments from those of its results; the same on any number of threads.

    Args:
        total: the sum, or x where there was no branch.
        branch: as given to `residual_norm`, and so are scale and weight.
        scale: see branch.
        weight: see branch.
        total_gradient: ``[P, C]``; None when nothing flows back to the sum.
        normed_gradient: ``[P, C]``, with a weight.

    Returns:
        The gradients of x (empty without a weight: it is then `total_gradient`) and of the branch, ``[P, C]``, and
        float32 ``[3, C]``: of weight, bias and scale, 0 where there was none.
    """
    of_x, of_branch, numbers = torch.ops.copycat.residual_norm_gradient(
        total, branch, scale, weight, total_gradient, normed_gradient
    )
    return of_x, of_branch, numbers


def _channels_last(size: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(tuple(size), dtype=dtype, device=device, memory_format=torch.channels_last)


def _split_step(step: int | Tensor) -> tuple[int, Tensor | None]:
    return (0, step) if isinstance(step, Tensor) else (step, None)


def _signed(seed: int) -> int:
    """A 64-bit seed as torch's signed integer."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be 0 to 2^64 - 1, not {seed}")
    return seed - 2**64 if seed >= 2**63 else seed


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------


def _capsule(tensor: Tensor | None) -> _core.Capsule | None:
    return None if tensor is None else to_dlpack(tensor.detach())


def _pixels(tensor: Tensor | None) -> _core.Capsule | None:
    """[B, C, H, W] seen as the kernels see it, [B, H, W, C]."""
    return None if tensor is None else to_dlpack(tensor.detach().permute(0, 2, 3, 1))


def _numbers(encoding: Sequence[float]) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    third = len(encoding) // 3
    return encoding[:third], encoding[third : 2 * third], encoding[2 * third :]


def _place(tensor: Tensor) -> dict[str, int]:
    stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
    return {"threads": torch.get_num_threads(), "stream": stream}


def _near(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """The tensor where the kernel can see it; nobody waits for a copy to a GPU."""
    return None if tensor is None else tensor.to(device, non_blocking=device.type == "cuda")


def _rule(
    device: torch.device,
    crop: Sequence[int],
    valid: Tensor,
    centres: Tensor | None,
    centre_offsets: Tensor | None,
    step: int,
    step_tensor: Tensor | None,
    seed: int,
    probabilities: Sequence[float],
    samples: Sequence[int],
) -> _core.CropRule:
    size = (crop[0], crop[1])
    if centres is not None and not len(centres):
        centres = centre_offsets = None  # no pair differs anywhere
    if device.type != "cpu" and valid.device.type == "cpu":
        check_crop(valid, size, turn=probabilities[3])
    return _core.CropRule(
        crop=size,
        valid=_capsule(_near(valid, device)),
        centres=_capsule(_near(centres, device)),
        centre_offsets=_capsule(_near(centre_offsets, device)),
        step_tensor=_capsule(step_tensor),
        step=step,
        seed=seed % 2**64,
        centre_share=probabilities[0],
        flip=probabilities[1],
        flop=probabilities[2],
        turn=probabilities[3],
        crops_per_pair=samples[0],
        first_sample=samples[1],
        total_samples=samples[2],
    )


def _sample_crops(
    input_bank: Tensor,
    target_bank: Tensor,
    mask_bank: Tensor | None,
    input_out: Tensor,
    target_out: Tensor,
    mask_out: Tensor | None,
    input_encoding: Sequence[float],
    target_encoding: Sequence[float],
    crop: Sequence[int],
    valid: Tensor,
    centres: Tensor | None,
    centre_offsets: Tensor | None,
    step: int,
    step_tensor: Tensor | None,
    seed: int,
    probabilities: Sequence[float],
    samples: Sequence[int],
) -> None:
    if (mask_bank is None) != (mask_out is None):
        raise ValueError("mask_bank and the mask's output belong together, but one of them is None")
    _core.sample_crops(
        input_bank=_capsule(input_bank),
        target_bank=_capsule(target_bank),
        mask_bank=_capsule(mask_bank),
        input_out=_pixels(input_out),
        target_out=_pixels(target_out),
        mask_out=_pixels(mask_out),
        input_encoding=_numbers(input_encoding),
        target_encoding=_numbers(target_encoding),
        rule=_rule(
            input_out.device, crop, valid, centres, centre_offsets, step, step_tensor, seed, probabilities, samples
        ),
        **_place(input_out),
    )


def _crop_positions(
    out: Tensor,
    frame_size: Sequence[int],
    crop: Sequence[int],
    valid: Tensor,
    centres: Tensor | None,
    centre_offsets: Tensor | None,
    step: int,
    step_tensor: Tensor | None,
    seed: int,
    probabilities: Sequence[float],
    samples: Sequence[int],
) -> None:
    _core.crop_positions(
        frame_height=frame_size[0],
        frame_width=frame_size[1],
        out=_capsule(out),
        rule=_rule(out.device, crop, valid, centres, centre_offsets, step, step_tensor, seed, probabilities, samples),
        **_place(out),
    )


def _downsize_empty(bank: Tensor, factor: int) -> Tensor:
    if bank.dim() != 4:
        raise ValueError(f"bank must have 4 dimensions, but its shape is {list(bank.shape)}")
    if factor not in (2, 4):
        raise ValueError(f"factor must be 2 or 4, not {factor}")
    count, height, width, channels = bank.shape
    return bank.new_empty((count, -(-height // factor), -(-width // factor), channels))


def _downsize(bank: Tensor, factor: int) -> Tensor:
    out = _downsize_empty(bank, factor)
    _core.downsize(bank=_capsule(bank), factor=factor, out=_capsule(out), **_place(out))
    return out


def _recode_empty(x: Tensor, encoding: Sequence[float], inverse: bool, dtype: torch.dtype) -> Tensor:
    if x.dim() != 4:
        raise ValueError(f"x must have 4 dimensions, but its shape is {list(x.shape)}")
    return _channels_last(x.shape, dtype, x.device)


def _recode(x: Tensor, encoding: Sequence[float], inverse: bool, dtype: torch.dtype) -> Tensor:
    out = _recode_empty(x, encoding, inverse, dtype)
    _core.recode(pixels=_pixels(x), encoding=_numbers(encoding), inverse=inverse, out=_pixels(out), **_place(out))
    return out


def _statistics_empty(bank: Tensor, valid: Tensor) -> Tensor:
    if bank.dim() != 4:
        raise ValueError(f"bank must have 4 dimensions, but its shape is {list(bank.shape)}")
    return bank.new_empty((bank.shape[3], 6), dtype=torch.float64)


def _statistics(bank: Tensor, valid: Tensor) -> Tensor:
    out = _statistics_empty(bank, valid)
    # Parts are joined in order, so that the result does not depend on the threads. The GPU sums a part in float32,
    # which stays precise over eight rows.
    parts = -(-bank.shape[0] * bank.shape[1] // 8)
    partial = out.new_empty((parts, *out.shape))
    _core.statistics(
        bank=_capsule(bank),
        valid=_capsule(_near(valid, bank.device)),
        partial=_capsule(partial),
        out=_capsule(out),
        **_place(out),
    )
    return out


def _gate_empty(x: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1] // 2))


def _gate(x: Tensor) -> Tensor:
    out = _gate_empty(x)
    _core.gate(x=_capsule(x), out=_capsule(out), threads=torch.get_num_threads())
    return out


def _gate_gradient_empty(x: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(x)


def _gate_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    out = torch.empty_like(x)
    _core.gate_gradient(x=_capsule(x), gradient=_capsule(gradient), out=_capsule(out), threads=torch.get_num_threads())
    return out


def _like_or_empty(x: Tensor, wanted: bool) -> Tensor:
    return torch.empty_like(x) if wanted else x.new_empty(0)


def _residual_norm_empty(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    return _like_or_empty(x, branch is not None), _like_or_empty(x, weight is not None)


def _residual_norm(
    x: Tensor, branch: Tensor | None, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    total, normed = _residual_norm_empty(x, branch, scale, weight, bias)
    _core.residual_norm(
        x=_capsule(x),
        branch=_capsule(branch),
        scale=_capsule(scale),
        weight=_capsule(weight),
        bias=_capsule(bias),
        sum=_capsule(None if branch is None else total),
        normed=_capsule(None if weight is None else normed),
        threads=torch.get_num_threads(),
    )
    return total, normed


def _residual_norm_gradient_empty(
    total: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor | None,
    total_gradient: Tensor | None,
    normed_gradient: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        _like_or_empty(total, weight is not None),
        _like_or_empty(total, branch is not None),
        total.new_empty((3, total.shape[1]), dtype=torch.float32),
    )


def _residual_norm_gradient(
    total: Tensor,
    branch: Tensor | None,
    scale: Tensor | None,
    weight: Tensor | None,
    total_gradient: Tensor | None,
    normed_gradient: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_branch, numbers = _residual_norm_gradient_empty(
        total, branch, scale, weight, total_gradient, normed_gradient
    )
    _core.residual_norm_gradient(
        sum=_capsule(total),
        branch=_capsule(branch),
        scale=_capsule(scale),
        weight=_capsule(weight),
        sum_gradient=_capsule(total_gradient),
        normed_gradient=_capsule(normed_gradient),
        x_gradient=_capsule(None if weight is None else of_x),
        branch_gradient=_capsule(None if branch is None else of_branch),
        partial=_capsule(numbers.new_empty((-(-total.shape[0] // _PIXELS_PER_PART), *numbers.shape))),
        out=_capsule(numbers),
        threads=torch.get_num_threads(),
    )
    return of_x, of_branch, numbers


def _no_result(*_: object) -> None:
    """What an operator that only writes to its arguments makes of tensors without data."""


def _register() -> object:
    # Not torch.library.custom_op: its first call imports torch's compiler, seconds of a start.
    library: Any = torch.library.Library("copycat", "DEF")  # type: ignore[no-untyped-call]
    rule = (
        "int[] crop, Tensor valid, Tensor? centres, Tensor? centre_offsets, int step, Tensor? step_tensor, int seed, "
        "float[] probabilities, int[] samples"
    )
    for schema, kernel, fake in (
        (
            "sample_crops(Tensor input_bank, Tensor target_bank, Tensor? mask_bank, Tensor(a!) input_out, "
            "Tensor(b!) target_out, Tensor(c!)? mask_out, float[] input_encoding, float[] target_encoding, "
            f"{rule}) -> ()",
            _sample_crops,
            _no_result,
        ),
        (f"crop_positions(Tensor(a!) out, int[] frame_size, {rule}) -> ()", _crop_positions, _no_result),
        ("downsize(Tensor bank, int factor) -> Tensor", _downsize, _downsize_empty),
        (
            "recode(Tensor x, float[] encoding, bool inverse, ScalarType dtype) -> Tensor",
            _recode,
            _recode_empty,
        ),
        ("statistics(Tensor bank, Tensor valid) -> Tensor", _statistics, _statistics_empty),
        ("gate(Tensor x) -> Tensor", _gate, _gate_empty),
        ("gate_gradient(Tensor x, Tensor gradient) -> Tensor", _gate_gradient, _gate_gradient_empty),
        (
            "residual_norm(Tensor x, Tensor? branch, Tensor? scale, Tensor? weight, Tensor? bias) -> (Tensor, Tensor)",
            _residual_norm,
            _residual_norm_empty,
        ),
        (
            "residual_norm_gradient(Tensor total, Tensor? branch, Tensor? scale, Tensor? weight, "
            "Tensor? total_gradient, Tensor? normed_gradient) -> (Tensor, Tensor, Tensor)",
            _residual_norm_gradient,
            _residual_norm_gradient_empty,
        ),
    ):
        name = schema.partition("(")[0]
        library.define(schema)
        library.impl(name, kernel, "CPU")
        library.impl(name, kernel, "CUDA")
        torch.library.register_fake(f"copycat::{name}", fake, lib=library)
    return library


_LIBRARY = _register()  # the operators live as long as it does
