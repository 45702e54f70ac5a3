"""Cuts the crops of a training step out of frame banks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from copycat.ops import native
from copycat.ops.encoding import Encoding

# The channels that are red, green and blue of one picture.
Layer = tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class CropRule:
    """Which crops are drawn. A crop depends on (seed, step, sample) and on this rule only.

    Frames are drawn without replacement: each pass over the data set takes every pair once, in a new order. A crop is
    turned, then mirrored left-right (flop), then upside down (flip).

    Gain ``x g``, contrast ``(x - p) c + p`` and saturation ``l + s (x - l)`` are applied in this order, each with its
    own probability, to file values, before they are encoded; nothing is clipped. ``g``, ``c`` and ``s`` are log-uniform
    in 0.5 to 2, and the same for input and target. The pivot ``p`` is 0.18 for a channel with a logarithmic encoding,
    else 0.5; ``l`` is the ITU-R BT.709 luminance. Only the layers given to `sample_crops` change.

    `valid`, `centres` and `centre_offsets` may lie on the CPU or on the output's device. Every call checks values on
    the CPU and, for a GPU, copies them, which a CUDA graph cannot record. Values on a GPU are not checked: call
    `check_crop` first. No value can make a kernel read outside the frame.

    Attributes:
        crop: height and width in pixels, after turning. It must fit into every valid rectangle; if crops are turned,
            its transpose must too.
        seed: 0 to 2^64 - 1.
        valid: ``[N, 4]`` int32, x0, y0, x1, y1 (half open) of the pixels with data; crops lie inside.
        centres: ``[M, 2]`` int32 x, y, sorted by frame: the difference centres.
        centre_offsets: ``[N + 1]`` int32: the centres of frame i are ``centre_offsets[i]`` to
            ``centre_offsets[i + 1] - 1``.
        centre_share: probability that a crop contains a difference centre of its frame, at a random position in the
            crop, shifted if needed to stay inside the valid rectangle. Frames without centres are sampled uniformly.
        flip: probability of turning upside down.
        flop: probability of mirroring left-right.
        turn: probability of turning by 90, 180 or 270 degrees.
        gain, contrast, saturation: probabilities of changing them.
        crops_per_pair: consecutive crops from the same pair.
    """

    crop: tuple[int, int]
    seed: int
    valid: Tensor
    centres: Tensor | None = None
    centre_offsets: Tensor | None = None
    centre_share: float = 0.0
    flip: float = 0.0
    flop: float = 0.0
    turn: float = 0.0
    gain: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    crops_per_pair: int = 1

    def _arguments(
        self, step: int | Tensor, batch: int, first_sample: int, total_samples: int | None
    ) -> tuple[object, ...]:
        """The operators' arguments for the samples of a step, in the order of _RULE."""
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be 0 to 2^64 - 1, not {self.seed}")
        return (
            list(self.crop),
            self.valid,
            self.centres,
            self.centre_offsets,
            *((0, step) if isinstance(step, Tensor) else (step, None)),
            self.seed - 2**64 if self.seed >= 2**63 else self.seed,  # torch's integers are signed
            [self.centre_share, self.flip, self.flop, self.turn, self.gain, self.contrast, self.saturation],
            [self.crops_per_pair, first_sample, batch if total_samples is None else total_samples],
        )


def sample_crops(
    input_bank: Tensor,
    target_bank: Tensor,
    rule: CropRule,
    *,
    step: int | Tensor,
    batch: int,
    input_encoding: Encoding,
    target_encoding: Encoding,
    input_layers: Sequence[Layer] = (),
    target_layers: Sequence[Layer] = (),
    mask_bank: Tensor | None = None,
    first_sample: int = 0,
    total_samples: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    out: tuple[Tensor, Tensor, Tensor | None] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cuts, turns, grades and encodes the crops of one training step, in one launch.

    Args:
        input_bank: ``[N, H, W, Ci]``.
        target_bank: ``[N, H, W, Co]``; its dtype may differ from the input's.
        rule: which crops are drawn.
        step: number of the training step; in a CUDA graph, which cannot change a number, an int64 scalar tensor.
        batch: number of crops B.
        input_encoding: encoding of the Ci channels.
        target_encoding: encoding of the Co channels.
        input_layers: the layers of the Ci channels that are graded.
        target_layers: the layers of the Co channels that are graded.
        mask_bank: ``[N, H, W, 1]``, cut at the same positions but not encoded.
        first_sample: number of this call's first sample within the step, for one rank of several.
        total_samples: samples of the step over all ranks; by default `batch`.
        dtype: of the outputs if `out` is None: float32, float16 or bfloat16.
        device: of the outputs if `out` is None; by default the input bank's. Required if a GPU reads pinned banks.
        out: an earlier call's result, to be overwritten.

    Returns:
        Input ``[B, Ci, h, w]``, target ``[B, Co, h, w]`` and, with a mask bank, mask ``[B, 1, h, w]``, all in
        channels-last memory.

    Raises:
        ValueError: an argument is invalid; the message names it and its value.
    """
    if out is None:
        device = input_bank.device if device is None else device
        sizes = [(batch, bank.shape[-1], *rule.crop) for bank in (input_bank, target_bank)]
        input_out, target_out = (native.channels_last(size, dtype, device) for size in sizes)
        mask_out = None if mask_bank is None else native.channels_last((batch, 1, *rule.crop), dtype, device)
    else:
        input_out, target_out, mask_out = out
    torch.ops.copycat.sample_crops(
        input_bank,
        target_bank,
        mask_bank,
        input_out,
        target_out,
        mask_out,
        input_encoding.numbers(),
        target_encoding.numbers(),
        [channel for layer in input_layers for channel in layer],
        [channel for layer in target_layers for channel in layer],
        *rule._arguments(step, batch, first_sample, total_samples),
    )
    return input_out, target_out, mask_out


def crop_positions(
    frame_size: tuple[int, int],
    rule: CropRule,
    *,
    step: int | Tensor,
    batch: int,
    first_sample: int = 0,
    total_samples: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """The positions at which `sample_crops` cuts if it gets the same arguments.

    Args:
        frame_size: height and width of the bank's frames.
        rule, step, batch, first_sample, total_samples: as for `sample_crops`.
        device: that computes; by default that of the rule's `valid`.

    Returns:
        ``[B, 5]`` int32: frame, x and y of the rectangle's top left, mirroring (1 flip, 2 flop, 3 both), quarter turns
        counterclockwise. For an odd number of turns the rectangle is as high as the crop is wide.

    Raises:
        ValueError: an argument is invalid; the message names it and its value.
    """
    out = torch.empty((batch, 5), dtype=torch.int32, device=rule.valid.device if device is None else device)
    arguments = rule._arguments(step, batch, first_sample, total_samples)
    torch.ops.copycat.crop_positions(out, list(frame_size), *arguments)
    return out


def check_crop(valid: Tensor, crop: tuple[int, int], *, turn: float = 0.0) -> None:
    """Checks that a crop fits into every rectangle; call it before `valid` is copied to a GPU.

    Args:
        valid: ``[N, 4]`` int32 on any device.
        crop: height and width.
        turn: probability of a quarter turn; above 0 the transposed crop must fit too.

    Raises:
        ValueError: a rectangle is too small; the message names the frame and the sizes.
    """
    height, width = (max(crop), max(crop)) if turn > 0 else crop
    for frame, (x0, y0, x1, y1) in enumerate(valid.tolist()):
        if x1 - x0 < width or y1 - y0 < height:
            raise ValueError(
                f"crop of {width} x {height} does not fit into the {x1 - x0} x {y1 - y0} valid pixels of frame {frame}"
            )


# --- the operators: torch's schema outside, DLPack capsules inside ----------------------------------------------------

_RULE = (
    "int[] crop, Tensor valid, Tensor? centres, Tensor? centre_offsets, int step, Tensor? step_tensor, int seed, "
    "float[] probabilities, int[] samples"
)


def _native_rule(
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
) -> native.core.CropRule:
    def on_device(tensor: Tensor | None) -> native.core.Capsule | None:
        """The tensor in the kernel's memory; a copy to a GPU does not block."""
        return None if tensor is None else native.capsule(tensor.to(device, non_blocking=device.type == "cuda"))

    centre_share, flip, flop, turn, gain, contrast, saturation = probabilities
    crops_per_pair, first_sample, total_samples = samples
    height, width = crop
    if centres is not None and not len(centres):
        centres = centre_offsets = None  # Input and Ground Truth are equal in every pair
    if device.type != "cpu" and valid.device.type == "cpu":
        check_crop(valid, (height, width), turn=turn)
    return native.core.CropRule(
        crop=(height, width),
        valid=on_device(valid),
        centres=on_device(centres),
        centre_offsets=on_device(centre_offsets),
        step_tensor=native.capsule(step_tensor),
        step=step,
        seed=seed % 2**64,
        centre_share=centre_share,
        flip=flip,
        flop=flop,
        turn=turn,
        gain=gain,
        contrast=contrast,
        saturation=saturation,
        crops_per_pair=crops_per_pair,
        first_sample=first_sample,
        total_samples=total_samples,
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
    input_layers: Sequence[int],
    target_layers: Sequence[int],
    *rule: Any,
) -> None:
    if (mask_bank is None) != (mask_out is None):
        raise ValueError("mask_bank and the mask's output belong together, but one of them is None")
    native.core.sample_crops(
        input_bank=native.capsule(input_bank),
        target_bank=native.capsule(target_bank),
        mask_bank=native.capsule(mask_bank),
        input_out=native.pixels(input_out),
        target_out=native.pixels(target_out),
        mask_out=native.pixels(mask_out),
        input_encoding=input_encoding,
        target_encoding=target_encoding,
        input_layers=input_layers,
        target_layers=target_layers,
        rule=_native_rule(input_out.device, *rule),
        **native.launch_options(input_out),
    )


def _crop_positions(out: Tensor, frame_size: Sequence[int], *rule: Any) -> None:
    native.core.crop_positions(
        frame_height=frame_size[0],
        frame_width=frame_size[1],
        out=native.capsule(out),
        rule=_native_rule(out.device, *rule),
        **native.launch_options(out),
    )


def _no_result(*_: object) -> None:
    """The fake kernel of an operator that returns nothing."""


native.register(
    "sample_crops(Tensor input_bank, Tensor target_bank, Tensor? mask_bank, Tensor(a!) input_out, "
    "Tensor(b!) target_out, Tensor(c!)? mask_out, float[] input_encoding, float[] target_encoding, "
    f"int[] input_layers, int[] target_layers, {_RULE}) -> ()",
    _sample_crops,
    _no_result,
)
native.register(f"crop_positions(Tensor(a!) out, int[] frame_size, {_RULE}) -> ()", _crop_positions, _no_result)
