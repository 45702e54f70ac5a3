"""Memory of the host that a GPU reads and writes in place.

Imports no torch, which the worker's first requests do not need.
"""

from __future__ import annotations

import mmap
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_LOCK = threading.Lock()


class HostMemory(mmap.mmap):
    """Mapped memory that can be pinned. Any thread.

    It stays pinned until its last reference goes, and CUDA lets go of it before it is unmapped.
    """

    _tried = False
    _unpin: Callable[[], None] | None = None

    def pin(self, device: torch.device) -> bool:
        """Pins the memory for GPUs, once.

        Returns:
            Whether it is pinned. CUDA may refuse, and then only copies are slower.
        """
        from copycat.ops import pin_memory, unpin_memory

        with _LOCK:
            if not self._tried:
                self._tried = True
                address = np.frombuffer(self, np.uint8).ctypes.data
                if pin_memory(address, len(self), device):
                    self._unpin = partial(unpin_memory, address)
            return self._unpin is not None

    def __del__(self) -> None:
        """Lets CUDA go of it; the mapping goes after this."""
        if self._unpin and not sys.is_finalizing():  # the end of the process unpins too
            self._unpin()
