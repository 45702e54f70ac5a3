"""What to train: the arguments of ``train`` and ``resume`` after their checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from copycat.checks.dataset import Inspection
from copycat.sequence.pairs import FramePair, Pair
from copycat.settings.callbacks import Callbacks
from copycat.settings.tables import Settings
from copycat.training.perceptual import Backbone
from copycat.training.report import Progress


@dataclass(frozen=True, kw_only=True)
class Task:
    """The same in every process of a group; only rank 0 uses the callbacks and the inspection.

    Attributes:
        settings: every knob.
        frames: the frame pairs to train on.
        shots: the patterns that these were found with; watched for further frames.
        removed: pairs of the run whose files are gone since it was trained last.
        callbacks: the user's functions.
        progress: called with reports; None for nobody.
        backbone: for the perceptual part of the loss; None without one.
        inspection: looks at the frames as they are read; None without Verify Inputs.
        warnings: what the user should know before the first step.
    """

    settings: Settings
    frames: tuple[FramePair, ...]
    shots: tuple[Pair, ...] = ()
    removed: tuple[FramePair, ...] = ()
    callbacks: Callbacks = field(default_factory=Callbacks)
    progress: Progress | None = None
    backbone: Backbone | None = None
    inspection: Inspection | None = None
    warnings: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """Crops in a step, over all processes."""
        return self.settings.crops_per_step(len(self.frames))
