"""A training step as one CUDA graph: a few steps as they come, a recording, and from then on its replay."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Steps before the recording: libraries load their kernels, choose algorithms and take their workspace.
WARM_UP_STEPS = 3
# The host never gets further ahead of the device, so that what it says of time is true, and a stop comes soon.
_IN_FLIGHT = 16


def on(device: torch.device) -> CapturedStep | None:
    """What makes the steps on a device; None where nothing can be recorded."""
    return CapturedStep(device) if device.type == "cuda" else None


def end_allocation(device: torch.device, pool: tuple[int, int]) -> None:
    """Tells torch's allocator that a recording into a pool of memory is over whose end has failed.

    torch does not, and the allocator then fails when it is to give memory back: in the next recording, or when memory
    is short. It refuses, and nothing is to be done, where the end has not failed.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # before torch 2.8 the function had another name
        torch._C._cuda_endAllocateToPool(device.index or 0, pool)
        torch._C._cuda_releasePool(device.index or 0, pool)


class CapturedStep:
    """Makes steps on a GPU, from the fourth on by replaying a recording of one.

    The recording holds addresses and plain numbers as they were when it was made. What changes from step to step must
    therefore lie in tensors that stay where they are, and what else a step depends on asks for `begin`. Every step
    counts: those before the recording are ordinary ones, and recording itself computes nothing.

    Attributes:
        gave_up: whether a recording failed; all steps after it are made without one.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        """``cuda`` is torch's module, or what stands for it in a test."""
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
        """Whether there is a recording, which holds memory."""
        return self._graph is not None

    def begin(self, work: Callable[[], Tensor]) -> None:
        """From now on ``work`` is what a step does; forgets the recording of what it was before.

        ``work`` returns a tensor, waits for nothing on the device, and leaves nothing half done on the host when it
        raises.
        """
        self.forget()
        self._work = work

    def forget(self) -> None:
        """Frees the memory of the recording and of what a step was made of; the next step needs a `begin`."""
        while self._ends:
            self._ends.popleft().synchronize()  # no replay is under way any more
        self._warm = 0
        self._work = self._graph = self._output = None

    def __call__(self, warn: Callable[[str], None]) -> Tensor:
        """Makes a step.

        Args:
            warn: told in one sentence when recording fails.

        Returns:
            What ``work`` returned, in memory of its own.
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
        """Makes a step on the stream of the recording, between what is before and after it on the current one."""
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
            # What other threads of the process do on a GPU meanwhile is no concern of the recording.
            with self._cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                output = work()
        except RuntimeError as error:
            self._cuda.set_stream(current)  # torch leaves its own current when not even the recording's end succeeds
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
