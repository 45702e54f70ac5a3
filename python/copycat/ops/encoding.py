"""Value encoding and normalisation of channels: plain numbers, stored in the .cat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Encoding:
    """Maps file values to network values, per channel: ``y = (e(x) - mean) / std``.

    ``e`` is the identity where ``log_scale`` is 0, else the signed logarithm ``sign(x) * log1p(log_scale * |x|)``,
    which keeps negatives and tames scene-linear highlights.

    Attributes:
        log_scale: per channel, 0 or more.
        mean: per channel, of e(x).
        std: per channel, of e(x), above 0.
        matte: per channel, whether the inverse clamps values to 0..1; empty for none.
    """

    log_scale: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    matte: tuple[bool, ...] = ()

    @classmethod
    def identity(cls, channels: int) -> Encoding:
        """The encoding that changes nothing."""
        return cls((0.0,) * channels, (0.0,) * channels, (1.0,) * channels)

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Encoding:
        """The inverse of `to_dict`; raises KeyError when a list of numbers is missing."""
        log_scale, mean, std = (tuple(map(float, numbers[name])) for name in ("log_scale", "mean", "std"))
        return cls(log_scale, mean, std, tuple(map(bool, numbers.get("matte", ()))))

    def to_dict(self) -> dict[str, list[float] | list[bool]]:
        """Plain lists, for a file's header."""
        return {name: list(values) for name, values in asdict(self).items()}

    def select(self, indices: Sequence[int]) -> Encoding:
        """The encoding of the given channels, in the given order."""
        log_scale, mean, std = (tuple(values[i] for i in indices) for values in (self.log_scale, self.mean, self.std))
        return Encoding(log_scale, mean, std, tuple(self.matte[i] for i in indices) if self.matte else ())

    def numbers(self) -> list[float]:
        """One list for the operators: log_scale, mean, std."""
        return [*self.log_scale, *self.mean, *self.std]
