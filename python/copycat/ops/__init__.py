"""The kernels as torch operators: crops, pictures, and the inside of a gated block.

Each operator is registered with torch (``torch.ops.copycat``), so that torch.compile and CUDA graphs can hold it; the
functions of the network carry gradients and fall back to torch's own operators. The device of the output picks the
kernel, CUDA kernels run on torch's current stream, and CPU kernels use ``torch.get_num_threads()`` threads. Other
devices (Apple's Metal) have no kernels: the inside of a block falls back to torch, all else is called on the host.

Banks are ``[N, H, W, C]`` in float32, float16, bfloat16 or uint8 (where 255 stands for 1), at any strides. A CUDA
kernel reads a bank in device memory or in pinned host memory. A wrong argument is a ValueError that names it and its
value.
"""

from copycat.ops.convolution import conv3x3, conv3x3_is_fast
from copycat.ops.crops import CropRule, check_crop, crop_positions, sample_crops
from copycat.ops.encoding import Encoding
from copycat.ops.gated_block import gate, residual_norm, residual_sum
from copycat.ops.native import (
    LANES,
    MOST_CHANNELS,
    NORM_EPSILON,
    build_info,
    cpu_has_bfloat16,
    cuda_available,
    is_recording,
    pin_memory,
    runs_on,
    unpin_memory,
)
from copycat.ops.pictures import Statistics, denormalize, denormalize_into, downsize, normalize, statistics
from copycat.ops.rendering import add_enlarged, is_only_rendered, whole_block

__all__ = [
    "LANES",
    "MOST_CHANNELS",
    "NORM_EPSILON",
    "CropRule",
    "Encoding",
    "Statistics",
    "add_enlarged",
    "build_info",
    "check_crop",
    "conv3x3",
    "conv3x3_is_fast",
    "cpu_has_bfloat16",
    "crop_positions",
    "cuda_available",
    "denormalize",
    "denormalize_into",
    "downsize",
    "gate",
    "is_only_rendered",
    "is_recording",
    "normalize",
    "pin_memory",
    "residual_norm",
    "residual_sum",
    "runs_on",
    "sample_crops",
    "statistics",
    "unpin_memory",
    "whole_block",
]
