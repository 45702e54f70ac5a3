"""The .ost file, a run's resume state: all that a resume needs.

A safetensors file with the vectors ``weights``, ``average``, ``exp_avg`` and ``exp_avg_sq`` (each [n] float32, laid out
as in :class:`copycat.training.weights.FlatParameters`) and one metadata entry ``copycat``, a JSON object: format, step,
optimiser step, elapsed seconds, last loss, best validation PSNR, the model header
(:class:`copycat.model.cat.ModelHeader`), and ``frames``: the pairs of the data set in its order, each with its
``fingerprint`` (:mod:`copycat.data.banks`). Random numbers are a function of the seed and the step, so there is no
generator state.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from copycat.errors import CopycatError
from copycat.model.cat import ModelHeader
from copycat.runs import open_regular, write_whole
from copycat.training.schedule import Schedule
from copycat.training.weights import vector_size

FORMAT = 2
_MOST_STEPS = 1 << 53
VECTORS = ("weights", "average", "exp_avg", "exp_avg_sq")


class ResumeStateError(CopycatError):
    """A resume state is missing, damaged or does not fit; the message names the file."""


@dataclass(frozen=True)
class Position:
    """Where a training stood when its state was saved.

    Attributes:
        step: steps done.
        updates: steps that changed the weights; one with a non-finite loss does not.
        elapsed: seconds of training.
        loss: last finite loss.
        best_psnr: best validation PSNR in dB.
        micro_batch: crops that go through the network at a time.
        schedule: fields of the :class:`copycat.training.schedule.Schedule`.
        recent, recent_until: the frames whose crops come more often, and up to which step.
        change: the line of the ``.summary`` on the last change of the data set, which is written after this state.
    """

    step: int = 0
    updates: int = 0
    elapsed: float = 0.0
    loss: float | None = None
    best_psnr: float | None = None
    micro_batch: int = 0
    schedule: dict[str, Any] | None = None
    recent: tuple[int, ...] = ()
    recent_until: int = 0
    change: dict[str, Any] | None = None


class ResumeState(NamedTuple):
    """What a .ost holds: where the training stood, its model, VECTORS, and the fingerprint of each frame pair.

    ``fingerprints`` is empty in the states of earlier versions.
    """

    position: Position
    header: ModelHeader
    vectors: dict[str, Tensor]
    fingerprints: tuple[str, ...] = ()

    def without(self, gone: Collection[int]) -> ResumeState:
        """The state without some of its frame pairs."""
        left = [index for index in range(len(self.fingerprints)) if index not in gone]
        recent = tuple(left.index(index) for index in self.position.recent if index in left)
        position = replace(self.position, recent=recent)
        return self._replace(position=position, fingerprints=tuple(self.fingerprints[index] for index in left))


def save(
    path: Path,
    position: Position,
    header: ModelHeader,
    vectors: Mapping[str, Tensor],
    frames: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes a resume state, whole or not at all.

    Args:
        path: the ``<run>.ost``.
        position: where the training stands now.
        header: the model that is being trained.
        vectors: VECTORS, each [n] float32 on any device.
        frames: the pairs of the data set, see `copycat.runs.provenance.stored_frames`, with their fingerprints.
    """
    facts = {"format": FORMAT, "position": asdict(position), "model": header.to_json(), "frames": list(frames)}
    metadata = json.dumps(facts)
    tensors = {name: vectors[name].detach().float().cpu().contiguous() for name in VECTORS}
    write_whole(path, safetensors.torch.save(tensors, {"copycat": metadata}))


def load(path: Path) -> ResumeState:
    """Reads a resume state.

    Raises:
        ResumeStateError: the file is missing, damaged, of another format, or something else than a file.
    """
    try:
        os.close(open_regular(path))
    except FileNotFoundError:
        raise ResumeStateError(
            f"{path}: there is no resume state: the run was stopped before its first checkpoint"
        ) from None
    except OSError as error:
        raise ResumeStateError(f"{path}: the resume state cannot be read: {error.strerror or error}") from error
    try:
        with safetensors.safe_open(path, "pt") as stream:
            value = json.loads(stream.metadata()["copycat"])
            if value["format"] > FORMAT:
                raise ResumeStateError(f"{path}: was written by a newer copycat (format {value['format']})")
            if value["format"] < FORMAT:
                raise ResumeStateError(
                    f"{path}: was written by an older copycat (format {value['format']}), whose trainings this one "
                    "cannot go on with; give the run's .cat as Initial Weights instead"
                )
            position, header = _position(value["position"]), ModelHeader.from_json(value["model"])
            fingerprints = tuple(str(frame["fingerprint"]) for frame in value.get("frames", ()))
            vectors = {name: stream.get_tensor(name) for name in VECTORS}
        size = vector_size(header.outline())
        for name, vector in vectors.items():
            if vector.dtype != torch.float32 or list(vector.shape) != [size]:
                raise ValueError(f"{name} is {vector.dtype} {list(vector.shape)}, the network has {size} weights")
        return ResumeState(position, header, vectors, fingerprints)
    except ResumeStateError:
        raise
    except Exception as error:  # safetensors raises an undocumented class of its own
        raise ResumeStateError(f"{path}: the resume state is damaged: {error}") from error


def read_frames(path: Path) -> list[dict[str, Any]]:
    """The frame pairs in a resume state, as `save` was given them.

    Empty where there is no state or one of an earlier version; what is wrong with a file, :func:`load` says.
    """
    try:
        os.close(open_regular(path))
        with safetensors.safe_open(path, "pt") as stream:
            frames = json.loads(stream.metadata()["copycat"]).get("frames", [])
    except Exception:  # safetensors raises an undocumented class of its own
        return []
    return frames if isinstance(frames, list) and all(isinstance(frame, dict) for frame in frames) else []


def _position(value: Mapping[str, Any]) -> Position:
    """A stored position; raises KeyError, TypeError or ValueError where it is none."""
    position = Position(**{**value, "recent": tuple(value.get("recent", ()))})
    for name in ("step", "updates", "micro_batch"):
        if type(number := getattr(position, name)) is not int or not 0 <= number < _MOST_STEPS:
            raise ValueError(f"{name} is {number!r}")
    for name in ("elapsed", "loss", "best_psnr"):
        number = getattr(position, name)
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} is {number!r}")
    for number in (*position.recent, position.recent_until):
        if type(number) is not int or not 0 <= number < _MOST_STEPS:
            raise ValueError(f"recent is {position.recent!r} up to {position.recent_until!r}")
    if position.elapsed < 0:
        raise ValueError(f"elapsed is {position.elapsed!r}")
    if position.change is not None and type(position.change) is not dict:
        raise ValueError(f"change is {position.change!r}")
    if position.schedule is not None:
        Schedule(**position.schedule).check()
    return position
