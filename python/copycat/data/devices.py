"""Which device computes, and in which precision."""

from __future__ import annotations

import torch

from copycat import ops

_LEAST_CAPABILITY = (7, 5)
# Messages of allocations that bypass torch's GPU allocator: on the CPU, of pinned memory, in CUDA's libraries.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED"),
    "MPS backend out of memory",
)


def choose_device(use_gpu: bool, gpu_index: str = "Auto") -> tuple[torch.device, str]:
    """Chooses the device by the GPU knobs.

    Args:
        use_gpu: Use GPU if available.
        gpu_index: ``Auto``, or an index.

    Returns:
        The device, and a warning about the choice, empty if there is none. An index that does not exist falls back to
        Auto. A GPU without room for a context, or one that the kernels cannot use, falls back to the next or to the
        CPU.
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


def metal_is_here() -> bool:
    """Whether torch finds Apple's GPU. It only trains, and only where :mod:`copycat.training.metal` says so."""
    return bool(torch.backends.mps.is_available())


def free_cache(device: torch.device) -> None:
    """Gives the memory that torch keeps of a GPU back to it."""
    if device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "cuda":
        torch.cuda.empty_cache()


def device_name(device: torch.device) -> str:
    """The name to show: the GPU's, or ``CPU``."""
    if device.type == "mps":
        return "Apple GPU"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def automatic(device: torch.device) -> str:
    """The device that Auto chose, and why, for a sentence."""
    found = "there is no GPU to use" if device.type == "cpu" else "the first GPU that can be used"
    return f"{device_name(device)} ({found})"


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device computes in it, else float32; float32 on Apple's GPU, where bfloat16 is untried."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "mps":
        return torch.float32
    return torch.bfloat16 if ops.cpu_has_bfloat16() else torch.float32


def half_dtype(device: torch.device) -> torch.dtype:
    """The dtype of Optimize for Speed and Memory: float32 on a CPU that only emulates bfloat16."""
    dtype = training_dtype(device)
    return torch.float16 if device.type == "cuda" and dtype == torch.float32 else dtype


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
