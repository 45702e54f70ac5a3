"""The native module: tensors are DLPack capsules, a wrong argument is a ValueError. Only copycat.ops.native uses it."""

from collections.abc import Sequence
from typing import TypedDict

Capsule = object
Numbers = Sequence[float]  # log_scale of every channel, then mean, then std

LANES: int  # inside a block, channels are a multiple of it
MOST_CHANNELS: int  # of a picture
WIDEST_BLOCK: int  # channels inside a block on the CPU
WIDEST_BLOCK_ON_GPU: int
NORM_EPSILON: float  # added to a pixel's variance

class BuildInfo(TypedDict):
    version: str
    compiler: str
    cpu_instructions: str
    cuda: bool
    cuda_version: str
    cuda_architectures: str

class CropRule:
    def __init__(
        self,
        *,
        crop: tuple[int, int],
        valid: Capsule,
        centres: Capsule | None,
        centre_offsets: Capsule | None,
        step_tensor: Capsule | None,
        step: int,
        seed: int,
        centre_share: float,
        flip: float,
        flop: float,
        turn: float,
        gain: float,
        contrast: float,
        saturation: float,
        crops_per_pair: int,
        first_sample: int,
        total_samples: int,
    ) -> None: ...

def sample_crops(
    *,
    input_bank: Capsule,
    target_bank: Capsule,
    mask_bank: Capsule | None,
    input_out: Capsule,
    target_out: Capsule,
    mask_out: Capsule | None,
    input_encoding: Numbers,
    target_encoding: Numbers,
    input_layers: Sequence[int],
    target_layers: Sequence[int],
    rule: CropRule,
    threads: int,
    stream: int,
) -> None: ...
def crop_positions(
    *, frame_height: int, frame_width: int, out: Capsule, rule: CropRule, threads: int, stream: int
) -> None: ...
def downsize(*, bank: Capsule, factor: int, out: Capsule, threads: int, stream: int) -> None: ...
def recode(*, pixels: Capsule, encoding: Numbers, inverse: bool, out: Capsule, threads: int, stream: int) -> None: ...
def decode_into(
    *, pixels: Capsule, encoding: Numbers, mattes: int, out: Capsule, threads: int, stream: int
) -> None: ...
def statistics(*, bank: Capsule, valid: Capsule, partial: Capsule, out: Capsule, threads: int, stream: int) -> None: ...
def gate(*, x: Capsule, out: Capsule, threads: int, stream: int) -> None: ...
def gate_gradient(*, x: Capsule, gradient: Capsule, out: Capsule, threads: int, stream: int) -> None: ...
def residual_norm(
    *,
    x: Capsule,
    branch: Capsule | None,
    scale: Capsule | None,
    weight: Capsule | None,
    bias: Capsule | None,
    sum: Capsule | None,
    normed: Capsule | None,
    threads: int,
    stream: int,
) -> None: ...
def residual_norm_gradient(
    *,
    sum: Capsule,
    branch: Capsule | None,
    scale: Capsule | None,
    weight: Capsule | None,
    sum_gradient: Capsule | None,
    normed_gradient: Capsule | None,
    x_gradient: Capsule | None,
    branch_gradient: Capsule | None,
    partial: Capsule,
    out: Capsule,
    threads: int,
    stream: int,
) -> None: ...
def conv3x3_is_fast(*, bfloat16: bool) -> bool: ...
def conv3x3(*, x: Capsule, weight: Capsule, bias: Capsule | None, out: Capsule, threads: int) -> None: ...
def conv3x3_input_gradient(*, gradient: Capsule, weight: Capsule, out: Capsule, threads: int) -> None: ...
def conv3x3_weight_gradient(
    *, x: Capsule, gradient: Capsule, weight_gradient: Capsule, bias_gradient: Capsule, threads: int
) -> None: ...
def whole_block(
    *, x: Capsule, spatial: Sequence[Capsule], pointwise: Sequence[Capsule], out: Capsule, threads: int
) -> None: ...
def add_enlarged(*, x: Capsule, weight: Capsule, skip: Capsule, threads: int) -> None: ...
def build_info() -> BuildInfo: ...
def cpu_has_bfloat16() -> bool: ...
def cuda_device_count() -> int: ...
def register_host(address: int, bytes: int, device: int) -> str: ...  # what is wrong; empty if pinned
def unregister_host(address: int) -> None: ...
