"""How a GPU spends the steps of a training: how busy it is, how many kernels it runs, which take the most time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # public, but torch's stubs do not say so
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Profile:
    """A step's operations: kernels, copies and fills.

    Attributes:
        busy: share of the time from the first to the last; NaN where the driver lets only root profile.
        operations: how many there are.
        milliseconds: of each kind, by its name.
    """

    busy: float
    operations: float
    milliseconds: Counter[str]

    def slowest(self, count: int) -> dict[str, float]:
        """The kinds that take the most time, and their milliseconds."""
        return dict(self.milliseconds.most_common(count))

    def share_of(self, count: int) -> float:
        """The share of the ``count`` slowest kinds in all of the time; NaN without any."""
        total = sum(self.milliseconds.values())
        return sum(self.slowest(count).values()) / total if total else float("nan")


def profiled(step: Callable[[], object], steps: int, device: torch.device) -> Profile:
    """Profiles steps on a GPU; the numbers are those of one step."""
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        torch.cuda.synchronize(device)
    spans, kinds = [], Counter[str]()
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            start, end = event.time_range.start, event.time_range.end
            spans.append((start, end))
            kinds[event.name] += (end - start) / 1e3 / steps
    if not spans:
        return Profile(float("nan"), 0, kinds)
    spans.sort()
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return Profile(busy / (until - spans[0][0]), len(spans) / steps, kinds)
