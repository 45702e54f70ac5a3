"""A training step as one CUDA graph: a few ordinary steps, a recording, then replays."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Ordinary steps before the recording, in which libraries load kernels, choose algorithms and allocate workspaces.
WARM_UP_STEPS = 3
# The host runs at most this many steps ahead of the device, so that its clock is true and a stop comes soon.
_IN_FLIGHT = 16


def recorder_for(device: torch.device) -> CapturedStep | None:
    """Records the steps on a GPU; None on a CPU, where there is nothing to record."""
    return CapturedStep(device) if device.type == "cuda" else None


def end_allocation(device: torch.device, pool: tuple[int, int]) -> None:
    """Ends a failed recording's allocation into its memory pool, which torch leaves open.

    Else the allocator fails when it frees memory: in the next recording, or when memory is short. Where the allocation
    has ended already, it refuses and nothing happens.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # the function had another name before torch 2.8
        torch._C._cuda_endAllocateToPool(device.index or 0, pool)
        torch._C._cuda_releasePool(device.index or 0, pool)


class CapturedStep:
    """Makes steps on a GPU, from the fourth on by replaying a recorded CUDA graph. For the training's thread alone.

    A graph holds addresses and plain numbers as they were when it was recorded. So what changes from step to step lies
    in tensors that stay where they are, and any other change needs `begin`. Every step counts: those before the
    recording are ordinary ones, and recording computes nothing.

    Attributes:
        gave_up: whether a recording failed; all later steps are made without one.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        """``cuda`` is torch's module, or a test's stand-in for it."""
        self.gave_up = False
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)
        self._ends: deque[Any] = deque()
        self._work: Callable[[], Tensor] | None = None
        self._warm = 0
        self._graph: Any = None
        self._output: Tensor | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a graph, which holds memory."""
        return self._graph is not None

    def begin(self, work: Callable[[], Tensor]) -> None:
        """Makes ``work`` the step from now on, and frees the graph of the previous one.

        ``work`` returns a tensor, waits for nothing on the device, and leaves nothing half done on the host when it
        raises.
        """
        self.forget()
        self._work = work

    def forget(self) -> None:
        """Frees the graph and the step's work; the next step needs a `begin`."""
        while self._ends:
            self._ends.popleft().synchronize()  # no replay may be running
        self._warm = 0
        self._work = self._graph = self._output = None

    def __call__(self, warn: Callable[[str], None]) -> Tensor:
        """Makes a step.

        Args:
            warn: called with a sentence when recording fails.

        Returns:
            What ``work`` returned, copied.
        """
        assert self._work is not None
        with self._cuda.device(self._device):
            if self._graph is None and self._warm == WARM_UP_STEPS and not self.gave_up:
                self._record(self._work, warn)
            if self._graph is not None:
                self._graph.replay()
                output = self._output
            elif self.gave_up:
                output = self._work()
            else:
                output = self._beside(self._work)
                self._warm += 1
            assert output is not None
            result = output.clone()
            self._stay_close()
        return result

    def _beside(self, work: Callable[[], Tensor]) -> Tensor:
        """Makes a step on the recording's stream, in order with the current stream's work before and after it."""
        current = self._cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with self._cuda.stream(self._stream):
            output = work()
        current.wait_stream(self._stream)
        return output

    def _record(self, work: Callable[[], Tensor], warn: Callable[[str], None]) -> None:
        current = self._cuda.current_stream(self._device)
        graph, pool = self._cuda.CUDAGraph(), self._cuda.graph_pool_handle()
        try:
            # thread_local: other threads of the process may use the GPU during the recording.
            with self._cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                output = work()
        except RuntimeError as error:
            self._cuda.set_stream(
                current
            )  # torch leaves its own stream current when the recording cannot even be ended
            end_allocation(self._device, pool)
            self.gave_up = True
            reason = str(error).partition("\n")[0] or type(error).__name__
            warn(f"the training step could not be recorded as a CUDA graph, training goes on without: {reason}")
        else:
            self._graph, self._output = graph, output

    def _stay_close(self) -> None:
        end = self._cuda.Event(blocking=True)
        end.record(self._cuda.current_stream(self._device))
        self._ends.append(end)
        if len(self._ends) > _IN_FLIGHT:
            self._ends.popleft().synchronize()
