"""Operators on whole pictures and banks: downsizing, value encoding, statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from copycat.ops import native
from copycat.ops.encoding import Encoding


@dataclass(frozen=True)
class Statistics:
    """Statistics of a bank per channel; NaN and infinite pixels are counted and left out of all other numbers."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    non_finite: tuple[int, ...]


def downsize(bank: Tensor, factor: int) -> Tensor:
    """Averages areas of factor x factor pixels; at the right and bottom edge over the existing pixels.

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


def normalize(
    x: Tensor, encoding: Encoding, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """Encodes pixels: value encoding, then ``(e - mean) / std``.

    Args:
        x: ``[B, C, H, W]`` in any memory format; float32, float16, bfloat16 or uint8.
        encoding: for the C channels.
        dtype: of the result: float32, float16 or bfloat16.
        device: of the result, by default x's. A GPU reads pinned memory of the host in place.

    Returns:
        ``[B, C, H, W]`` in channels-last memory.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    result: Tensor = torch.ops.copycat.recode(x, encoding.numbers(), False, dtype, device)
    return result


def denormalize(y: Tensor, encoding: Encoding, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `normalize`, on y's device, with the same errors; mattes are clamped to 0..1."""
    result: Tensor = torch.ops.copycat.recode(y, encoding.numbers(), True, dtype)
    for channel, matte in enumerate(encoding.matte):
        if matte:
            result[:, channel].clamp_(0, 1)
    return result


def denormalize_into(y: Tensor, encoding: Encoding, out: Tensor) -> None:
    """`denormalize` into memory that is there.

    Args:
        y: ``[B, C, H, W]`` as for `normalize`.
        encoding: for the C channels.
        out: ``[B, C, H, W]`` float32 of any strides, on y's device; or in pinned memory of the host, which a GPU writes
            in place.

    Raises:
        ValueError: an argument does not fit; the message names it and its value.
    """
    mattes = sum(1 << channel for channel, matte in enumerate(encoding.matte) if matte)
    torch.ops.copycat.decode_into(y, encoding.numbers(), mattes, out)


def statistics(bank: Tensor, valid: Tensor) -> Statistics:
    """Mean, standard deviation (of the population), extremes and the count of non-finite values, in one pass.

    Args:
        bank: ``[N, H, W, C]``.
        valid: ``[N, 4]`` int32 x0, y0, x1, y1 (half open) of the pixels to include.

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


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------


def _need_four_dimensions(tensor: Tensor, name: str) -> None:
    if tensor.dim() != 4:
        raise ValueError(f"{name} must have 4 dimensions, but its shape is {list(tensor.shape)}")


def _downsize_empty(bank: Tensor, factor: int) -> Tensor:
    _need_four_dimensions(bank, "bank")
    if factor not in (2, 4):
        raise ValueError(f"factor must be 2 or 4, not {factor}")
    count, height, width, channels = bank.shape
    return bank.new_empty((count, -(-height // factor), -(-width // factor), channels))


def _downsize(bank: Tensor, factor: int) -> Tensor:
    out = _downsize_empty(bank, factor)
    native.core.downsize(
        bank=native.capsule(bank), factor=factor, out=native.capsule(out), **native.launch_options(out)
    )
    return out


def _recode_empty(
    x: Tensor, encoding: Sequence[float], inverse: bool, dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    _need_four_dimensions(x, "x")
    return native.channels_last(tuple(x.shape), dtype, x.device if device is None else device)


def _recode(
    x: Tensor, encoding: Sequence[float], inverse: bool, dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    out = _recode_empty(x, encoding, inverse, dtype, device)
    native.core.recode(
        pixels=native.pixels(x),
        encoding=encoding,
        inverse=inverse,
        out=native.pixels(out),
        **native.launch_options(out),
    )
    return out


def _decode_into(y: Tensor, encoding: Sequence[float], mattes: int, out: Tensor) -> None:
    _need_four_dimensions(y, "y")
    _need_four_dimensions(out, "out")
    native.core.decode_into(
        pixels=native.pixels(y),
        encoding=encoding,
        mattes=mattes,
        out=native.pixels(out),
        **native.launch_options(y if y.is_cuda else out),
    )


def _decode_into_nothing(y: Tensor, encoding: Sequence[float], mattes: int, out: Tensor) -> None:
    _need_four_dimensions(y, "y")


def _statistics_empty(bank: Tensor, valid: Tensor) -> Tensor:
    _need_four_dimensions(bank, "bank")
    return bank.new_empty((bank.shape[3], 6), dtype=torch.float64)


def _statistics(bank: Tensor, valid: Tensor) -> Tensor:
    out = _statistics_empty(bank, valid)
    # Parts are joined in order, so that the result does not depend on the threads. The GPU sums a part in float32,
    # which stays precise over eight rows.
    parts = -(-bank.shape[0] * bank.shape[1] // 8)
    native.core.statistics(
        bank=native.capsule(bank),
        valid=native.capsule(valid.to(bank.device, non_blocking=bank.is_cuda)),
        partial=native.capsule(out.new_empty((parts, *out.shape))),
        out=native.capsule(out),
        **native.launch_options(out),
    )
    return out


native.register("downsize(Tensor bank, int factor) -> Tensor", _downsize, _downsize_empty)
native.register(
    "recode(Tensor x, float[] encoding, bool inverse, ScalarType dtype, Device? device=None) -> Tensor",
    _recode,
    _recode_empty,
)
native.register(
    "decode_into(Tensor y, float[] encoding, int mattes, Tensor(a!) out) -> ()", _decode_into, _decode_into_nothing
)
native.register("statistics(Tensor bank, Tensor valid) -> Tensor", _statistics, _statistics_empty)
