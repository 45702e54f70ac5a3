"""Loss curves for display: smoothed, and thinned out so that no peak is lost.

Needs numpy; :mod:`copycat.runs` itself does not import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from copycat.runs.history import RunHistory

_SMOOTHED_KEPT = 3
_STAGES_SHOWN = 8
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The steps of a run whose loss is finite.

    Attributes:
        steps, losses, times, levels: ``[N]``; steps rise, times are seconds of training, levels are 4, 2 or 1.
    """

    steps: Array
    losses: Array
    times: Array
    levels: Array
    _smoothed: dict[float, Array] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, history: RunHistory) -> Curve:
        """The curve of the steps that a history has read."""
        count = len(history.steps)
        columns = [
            np.frombuffer(history.steps.column(name), float)[:count] for name in ("step", "loss", "time", "level")
        ]
        finite = np.isfinite(columns[0]) & np.isfinite(columns[1])
        return cls(*(column[finite] for column in columns))

    def smoothed(self, smoothness: float) -> Array:
        """The losses smoothed by :func:`smooth`; cached, since every zoom needs them."""
        values = self._smoothed.get(smoothness)
        if values is None:
            if len(self._smoothed) >= _SMOOTHED_KEPT:
                self._smoothed.clear()
            values = self._smoothed[smoothness] = smooth(self.losses, smoothness)
        return values

    def stage_starts(self) -> list[tuple[float, int]]:
        """(step, level) of the first steps at another level than the step before."""
        finite = np.isfinite(self.levels)
        steps, levels = self.steps[finite], self.levels[finite]
        changes = np.flatnonzero(np.diff(levels)) + 1
        return [(float(steps[i]), int(levels[i])) for i in changes[:_STAGES_SHOWN]]

    def steps_per_second(self, window: float = 30.0) -> float | None:
        """The speed over the last ``window`` seconds of training; None before there are two steps."""
        if len(self.times) < 2:
            return None
        first = int(np.searchsorted(self.times, self.times[-1] - window))
        first = min(first, len(self.times) - 2)
        seconds = self.times[-1] - self.times[first]
        return float((self.steps[-1] - self.steps[first]) / seconds) if seconds > 0 else None


def smooth(values: Array, smoothness: float) -> Array:
    """The exponential moving average ``s = w*s + (1-w)*x`` from s = 0, shown as ``s / (1 - w^n)``.

    Source: the product's Smoothness knob; the denominator removes the bias towards the start value (Kingma and Ba,
    Adam, 2015, section 3). At w = 1 the formula's limit is the mean of all values so far.

    Args:
        values: ``[N]``, finite.
        smoothness: w, 0 to 1.

    Returns:
        ``[N]``.
    """
    if smoothness <= 0 or len(values) == 0:
        return values
    counts = np.arange(1, len(values) + 1)
    if smoothness >= 1:
        return np.asarray(np.cumsum(values) / counts)
    # Within a block s_i = w^i * (s_0 + (1-w) * sum_j x_j w^-j): one cumulative sum as long as w^-j does not overflow.
    size = max(1, min(len(values), int(-200.0 / np.log10(smoothness))))
    blocks = -(-len(values) // size)
    padded = np.zeros(blocks * size)
    padded[: len(values)] = values
    powers = smoothness ** np.arange(1, size + 1, dtype=float)
    inside = np.cumsum(padded.reshape(blocks, size) / powers, axis=1) * powers * (1 - smoothness)
    state, starts = 0.0, np.empty((blocks, 1))
    for block in range(blocks):
        starts[block] = state
        state = powers[-1] * state + inside[block, -1]
    average = (inside + powers * starts).reshape(-1)[: len(values)]
    return np.asarray(average / (1 - smoothness ** counts.astype(float)))


def thin(steps: Array, values: Array, first: float, last: float, buckets: int) -> npt.NDArray[np.intp]:
    """Which points to draw between two steps: of each bucket the lowest and the highest.

    Args:
        steps: ``[N]``, rising; values: ``[N]``.
        first, last: the steps between which the screen shows the curve; one point beyond each is kept.
        buckets: about the number of pixels.

    Returns:
        Rising indices, at most ``2 * buckets + 4``.
    """
    start = max(int(np.searchsorted(steps, first)) - 1, 0)
    end = min(int(np.searchsorted(steps, last, side="right")) + 1, len(steps))
    count = end - start
    if count <= 2 * buckets:
        return np.arange(start, end)
    size = -(-count // buckets)
    offsets = start + np.arange(count // size) * size
    buckets_of = values[start : start + len(offsets) * size].reshape(-1, size)
    tail = start + len(offsets) * size
    chosen = [[start, end - 1], offsets + buckets_of.argmin(axis=1), offsets + buckets_of.argmax(axis=1)]
    if tail < end:
        chosen.append([tail + values[tail:end].argmin(), tail + values[tail:end].argmax()])
    return np.unique(np.concatenate([np.asarray(part, np.intp) for part in chosen]))
