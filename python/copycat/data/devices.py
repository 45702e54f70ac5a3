"""Which device computes, and in which precision."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from copycat import ops

_LEAST_CAPABILITY = (7, 5)
# In torch's words for what did not go through its allocator of GPU memory: the CPU's, pinned memory, CUDA's libraries.
_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def choose_device(use_gpu: bool, gpu_index: str = "Auto") -> tuple[torch.device, str]:
    """The device that the GPU knobs ask for.

    Args:
        use_gpu: Use GPU if available.
        gpu_index: ``Auto``, or an index.

    Returns:
        The device, and a warning (empty where there is none): an index that is not there falls back to Auto, and a GPU
        on which no context can be made (for example too little free memory) to the next or to the CPU. So does one that
        torch can use and the kernels cannot.
    """
    if not use_gpu or not torch.cuda.is_available():
        return torch.device("cpu"), ""
    if not ops.cuda_available():
        version = ops.build_info()["cuda_version"]
        reason = f"its driver is too old for CUDA {version}" if version else "copycat was built without CUDA"
        return torch.device("cpu"), f"the GPU cannot be used: {reason}; using the CPU"
    count, warning = torch.cuda.device_count(), ""
    candidates = list(range(count))
    if gpu_index != "Auto":
        if int(gpu_index) in candidates:
            candidates.insert(0, int(gpu_index))
        else:
            warning = f"GPU {gpu_index} is not there (this machine has {count}); using Auto"
    for index in candidates:
        if torch.cuda.get_device_capability(index) < _LEAST_CAPABILITY:
            continue
        try:
            torch.zeros(1, device=f"cuda:{index}")
        except RuntimeError as error:
            warning = f"GPU {index} cannot be used: {str(error).splitlines()[0]}"
            continue
        return torch.device("cuda", index), warning
    return torch.device("cpu"), warning or "no GPU of this machine is suitable; using the CPU"


def device_name(device: torch.device) -> str:
    """The name to show: the GPU's, or ``CPU``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def half_dtype(device: torch.device) -> torch.dtype:
    """The dtype of Optimize for Speed and Memory: float32 on a CPU that only emulates bfloat16."""
    dtype = training_dtype(device)
    return torch.float16 if device.type == "cuda" and dtype == torch.float32 else dtype


def free_memory() -> int:
    """Bytes that can be taken without swapping; half of the memory where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _cpu_has_bfloat16() -> bool:
    # Without AVX512-BF16 or AMX (x86) or BF16 (Arm) instructions, bfloat16 is emulated and slower than float32.
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            flags = next((line.split() for line in stream if line.startswith(("flags", "Features"))), [])
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
