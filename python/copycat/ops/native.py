"""The only importer of ``copycat._core``: tensors go in as DLPack capsules, kernels come out as torch operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # public, but torch's stubs do not say so

from copycat import _core as core

__all__ = [
    "LANES",
    "MOST_CHANNELS",
    "build_info",
    "capsule",
    "channels_last",
    "core",
    "cpu_has_bfloat16",
    "cuda_available",
    "is_recording",
    "launch_options",
    "pin_memory",
    "pixels",
    "register",
    "runs_on",
    "unpin_memory",
]

LANES, MOST_CHANNELS = core.LANES, core.MOST_CHANNELS
NORM_EPSILON = core.NORM_EPSILON

# Not torch.library.custom_op: its first call imports torch's compiler, which takes seconds.
_LIBRARY: Any = torch.library.Library("copycat", "DEF")  # type: ignore[no-untyped-call]  # operators live as long


def build_info() -> dict[str, Any]:
    """Facts about the build: version, compiler, cpu_instructions, cuda, cuda_version and cuda_architectures."""
    return dict(core.build_info())


def cuda_available() -> bool:
    """Whether the kernels were compiled for CUDA, and both they and torch find a device and its driver."""
    return torch.cuda.is_available() and core.cuda_device_count() > 0


def runs_on(device: torch.device) -> bool:
    """Whether the kernels take tensors of the device; those of others are computed on the host."""
    return device.type in ("cpu", "cuda")


def cpu_has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16; without it, bfloat16 is emulated and slower than float32."""
    return core.cpu_has_bfloat16()


def pin_memory(address: int, size: int, device: torch.device) -> bool:
    """Pins memory of the host, so that GPUs read and write it in place; whether that was possible."""
    return not core.register_host(address, size, device.index or 0)


def unpin_memory(address: int) -> None:
    """The inverse of `pin_memory`; nothing on a device may use the memory any longer."""
    core.unregister_host(address)


def is_recording() -> bool:
    """Whether torch records a graph for another program, which lacks these operators."""
    recording = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
    return bool(recording)


def capsule(tensor: Tensor | None) -> core.Capsule | None:
    """A tensor's memory as an argument of the native module; the capsule keeps it alive."""
    return None if tensor is None else to_dlpack(tensor.detach())


def pixels(tensor: Tensor | None) -> core.Capsule | None:
    """[B, C, H, W] viewed as [B, H, W, C], as the kernels take it."""
    return None if tensor is None else to_dlpack(tensor.detach().permute(0, 2, 3, 1))


def channels_last(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor [B, C, H, W] in channels-last memory."""
    return torch.empty(size, dtype=dtype, device=device, memory_format=torch.channels_last)


def launch_options(output: Tensor) -> dict[str, int]:
    """Where a kernel runs: torch's threads, and torch's current stream of the output's device."""
    stream = torch.cuda.current_stream(output.device).cuda_stream if output.is_cuda else 0
    return {"threads": torch.get_num_threads(), "stream": stream}


def register(schema: str, kernel: Callable[..., object], fake: Callable[..., object]) -> None:
    """Registers a function as ``torch.ops.copycat.<name>``.

    Args:
        schema: in torch's language, ``name(Tensor x, ...) -> Tensor``.
        kernel: takes the schema's arguments, on the CPU and on CUDA.
        fake: the same for tensors without data, for torch's compiler.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, kernel, "CPU")
    _LIBRARY.impl(name, kernel, "CUDA")
    torch.library.register_fake(f"copycat::{name}", fake, lib=_LIBRARY)
