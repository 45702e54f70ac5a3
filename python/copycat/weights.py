"""What a network starts from: nothing, or the weights of a .cat."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from copycat import cat
from copycat.config import Settings, SettingsError


def starting_point(settings: Settings) -> tuple[cat.ModelHeader, Mapping[str, Tensor]] | None:
    """The model to start from as Initial Weights says, or None.

    Raises:
        SettingsError: the weights that were asked for do not exist.
        cat.ModelFileError: the Checkpoint File cannot be read.
    """
    if settings.initial_weights == "None":
        return None
    if settings.initial_weights != "Checkpoint":
        raise SettingsError(
            f"Initial Weights {settings.initial_weights} is not part of this version; use None or Checkpoint"
        )
    header, weights = cat.load(settings.checkpoint_file)
    if header.model_size != settings.model_size:
        raise SettingsError(
            f"{settings.checkpoint_file}: the checkpoint is a {header.model_size} model, "
            f"but Model Size is {settings.model_size}"
        )
    return header, weights


def check_channels(
    settings: Settings, header: cat.ModelHeader, channels_in: tuple[str, ...], channels_out: tuple[str, ...]
) -> None:
    """Refuses a starting point that takes or makes another number of channels than the data set.

    Raises:
        SettingsError: the numbers differ; the message gives both.
    """
    if (len(header.channels_in), len(header.channels_out)) != (len(channels_in), len(channels_out)):
        raise SettingsError(
            f"{settings.checkpoint_file}: the checkpoint maps {','.join(header.channels_in)} -> "
            f"{','.join(header.channels_out)}, the data set {','.join(channels_in)} -> {','.join(channels_out)}"
        )
