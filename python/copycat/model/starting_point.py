"""What a network starts from: nothing, the weights of a .cat, or weights that the package ships.

``initial_weights/<work>_<size>.cat`` are made by ``tools/pretrain.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from copycat import ops
from copycat.model import cat
from copycat.model.network import ROWS, for_channels
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings

_SHIPPED = Path(__file__).parent.parent / "initial_weights"


@dataclass(frozen=True)
class StartingPoint:
    """A model to start from.

    Attributes:
        name: its name in sentences.
        header, weights: as read from its file.
        shipped: whether the package ships it; the data set then chooses the encodings.
    """

    name: str
    header: cat.ModelHeader
    weights: Mapping[str, Tensor]
    shipped: bool

    @property
    def encodings(self) -> tuple[ops.Encoding, ops.Encoding] | None:
        """Input and target encoding that the weights need; None if any will do."""
        return None if self.shipped else (self.header.input_encoding, self.header.target_encoding)

    @property
    def residual(self) -> tuple[int, ...] | None:
        """For each output channel the input channel it starts from; None if the data set decides."""
        return None if self.shipped else self.header.residual

    def weights_for(
        self,
        channels_in: tuple[str, ...],
        channels_out: tuple[str, ...],
        plate_size: tuple[int, int] | None = None,
        target: ops.Encoding | None = None,
    ) -> Mapping[str, Tensor]:
        """The weights for a data set with these channels.

        Shipped weights are features of pictures in general: channels with other names, and a clean plate that the
        weights lack, start as in an untrained network. The clean plate of another shot is left out. ``target`` is the
        data set's target encoding: shipped weights for mattes then give the same mattes under it.

        Raises:
            SettingsError: a checkpoint has other channels, or shipped weights know none of the Input's.
        """
        own, starts = self.header, _indices(channels_out, channels_in)
        if (len(own.channels_in), len(own.channels_out)) == (len(channels_in), len(channels_out)) and (
            not self.shipped or own.residual == starts
        ):
            return self._with(plate_size, range(len(channels_in)), range(len(channels_out)), target)
        inputs, outputs = _indices(channels_in, own.channels_in), _indices(channels_out, own.channels_out)
        if not self.shipped or max(inputs) < 0:
            raise SettingsError(
                f"{self.name} map {_arrow(own.channels_in, own.channels_out)}, "
                f"the data set {_arrow(channels_in, channels_out)}"
            )
        # An output that is added to the Input is no start for one that is not, and vice versa.
        alike = ((own.residual[output] >= 0) == (start >= 0) for output, start in zip(outputs, starts, strict=True))
        kept = [p if same else -1 for p, same in zip(outputs, alike, strict=True)]
        return self._with(plate_size, inputs, kept, target)

    def _with(
        self,
        plate_size: tuple[int, int] | None,
        inputs: Sequence[int],
        outputs: Sequence[int],
        target: ops.Encoding | None,
    ) -> Mapping[str, Tensor]:
        own, count = self.header, len(self.header.channels_out)
        mattes = [i for i, p in enumerate(outputs) if p >= 0 and own.residual[p] < 0] if self.shipped and target else ()
        weights = {name: tensor for name, tensor in self.weights.items() if name != "clean_plate"}
        if plate_size:
            # The clean plate follows the input channels, its opacity the output channels.
            plate_indices = [*outputs, count] if own.plate_size else [-1] * (len(outputs) + 1)
            inputs = [*inputs, *(len(own.channels_in) + i if i >= 0 else -1 for i in plate_indices)]
            outputs = [*outputs, plate_indices[-1]]
        fitted = for_channels(weights, inputs, outputs)
        for i in mattes:
            assert target is not None
            mean, std = (getattr(own.target_encoding, name)[outputs[i]] for name in ("mean", "std"))
            pixels = slice(4 * i, 4 * i + 4)  # four to a cell
            fitted["tail.weight"][pixels] *= std / target.std[i]
            fitted["tail.bias"][pixels] *= std / target.std[i]
            fitted["tail.bias"][pixels] += (mean - target.mean[i]) / target.std[i]
        return fitted


def starting_point(settings: Settings) -> StartingPoint | None:
    """The model that Initial Weights names, or None.

    Raises:
        SettingsError: the weights do not exist, or are of another Model Size.
        cat.ModelFileError: their file cannot be read.
    """
    work, size = settings.initial_weights, settings.model_size
    if work == "None":
        return None
    if work == "Checkpoint":
        header, weights = cat.load(settings.checkpoint_file)
        if header.row != ROWS[size]:
            raise SettingsError(
                f"{settings.checkpoint_file}: the checkpoint is a {header.model_size} model, but Model Size is {size}"
            )
        return StartingPoint(f"{settings.checkpoint_file}: its weights", header, weights, shipped=False)
    shipped = path(work, size)
    if not shipped.exists():
        raise SettingsError(f"Initial Weights {work} for {size} are not part of this version; use None or Checkpoint")
    return StartingPoint(f"Initial Weights {work}", *cat.load(shipped), shipped=True)


def path(work: str, size: str) -> Path:
    """The file of the weights that the package ships for a work and a Model Size, whether there is one or not."""
    return _SHIPPED / f"{work}_{size}.cat".lower().replace(" ", "_")


def _indices(names: tuple[str, ...], among: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(among.index(name) if name in among else -1 for name in names)


def _arrow(channels_in: tuple[str, ...], channels_out: tuple[str, ...]) -> str:
    return f"{','.join(channels_in)} -> {','.join(channels_out)}"
