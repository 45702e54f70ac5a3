"""What every process of a training does, be it alone or one of a group: reads the data set, and makes steps.

In a group, rank 0 calls the methods below and each call is passed on; the others :meth:`Member.follow` its orders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copycat import ops
from copycat.checks.dataset import Inspection
from copycat.data.dataset import Dataset, load_dataset
from copycat.data.devices import choose_device
from copycat.errors import CopycatError
from copycat.model import cat
from copycat.sequence.pairs import FramePair
from copycat.settings.tables import Settings
from copycat.training.group import DistributedError, Group
from copycat.training.perceptual import Backbone
from copycat.training.step import Learner

Encodings = tuple[ops.Encoding, ops.Encoding]


class StoppedError(Exception):
    """Somebody stopped the training before its first step; the text is how it ended."""


class Member:
    """A process's data set, network and banks.

    Attributes:
        device: where it trains; warning: what is to be said of its choice, if anything.
        full: the data set at level 1.
        learner: the network, and what changes its weights.
    """

    def __init__(
        self,
        settings: Settings,
        frames: Iterable[FramePair],
        group: Group | None,
        warn: Callable[[str], None],
        backbone: Backbone | None = None,
    ) -> None:
        """Chooses a device, and reads nothing yet.

        Args:
            settings: every knob.
            frames: what to train on.
            group: the processes that train together, None for this one alone.
            warn: told what the user should know.
            backbone: for the perceptual part of the loss.
        """
        self.settings = settings
        self.frames = tuple(frames)
        self.batch = settings.crops_per_step(len(self.frames))
        self._group = group
        self._warn = warn
        self._backbone = backbone
        self._data: Dataset | None = None
        self.device, self.warning = choose_device(settings.use_gpu_if_available, self._gpu_index())
        if group and group.local_size > 1 and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() // group.local_size))

    def _gpu_index(self) -> str:
        asked, group = self.settings.gpu_index, self._group
        return str(group.local_rank) if group and asked == "Auto" else asked

    @property
    def level(self) -> int | None:
        """The level that is being trained; None before the first step."""
        return self._data.level if self._data else None

    # -- what rank 0 has all do ---------------------------------------------------------------------------------------

    def read(
        self,
        encodings: Encodings | None,
        told_plate: bool | None,
        *,
        directory: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        inspection: Inspection | None = None,
    ) -> None:
        """Reads the data set; the arguments are those of :func:`copycat.data.dataset.load_dataset`.

        Raises:
            CopycatError: it cannot be read here or by another process, or another reads other frames.
            StoppedError: ``progress`` has raised it.
        """
        self._order("read", encodings=encodings and [e.to_dict() for e in encodings], told_plate=told_plate)
        if self._group:
            self._group.meet_on(self.device)
        failure: BaseException | None = None
        try:
            self.full = load_dataset(
                self.frames,
                self.settings,
                directory=directory,
                encodings=encodings,
                told_plate=told_plate,
                progress=progress,
                observe=inspection.look if inspection else None,
            )
        except BaseException as error:
            if self._group is None:
                raise
            failure = error
        if self._group:
            self._compare(self._group, failure)

    def _compare(self, group: Group, failure: BaseException | None) -> None:
        """Every process is told how the reading went elsewhere, so that none waits in vain."""
        stopped = isinstance(failure, StoppedError)
        error = str(failure) if isinstance(failure, CopycatError) else repr(failure) if failure and not stopped else ""
        answers = group.gather({"stopped": stopped, "error": error, "hash": "" if failure else self.full.data_hash})
        if failure:
            raise failure
        if answers[0]["stopped"]:
            return  # how the training ended is the next that rank 0 says
        for rank, answer in enumerate(answers):
            if answer["error"]:
                raise DistributedError(f"rank {rank}: {answer['error']}")
            if answer["hash"] != answers[0]["hash"]:
                raise DistributedError(f"rank {rank} reads other training frames than rank 0; start all alike")

    def make(self, header: cat.ModelHeader, weights: Mapping[str, Tensor] | None = None) -> None:
        """Makes the learner of the model that ``header`` describes, from ``weights`` if there are."""
        self._order("make", header=header.to_json())
        self.full = replace(self.full, input_encoding=header.input_encoding, target_encoding=header.target_encoding)
        self.learner = Learner(
            header,
            self.settings,
            self.device,
            self.batch,
            weights,
            self._backbone,
            self.full.clean_plate,
            self._group,
        )

    def share(self) -> None:
        """Gives everybody the weights and the optimiser's state of rank 0."""
        self._order("share")
        self.learner.share()

    def learn(self, level: int, step: int, rate: float) -> Tensor:
        """Makes a step of the learner on the data set at a level."""
        self._order("learn", level=level, step=step, rate=rate)
        losses = self.learner.learn(self.at_level(level), step, rate, self._warn)
        if self._group and (step + 1) % self._group.rendezvous.sync_interval == 0:
            self.learner.agree()
        return losses

    def agree(self) -> None:
        """Gives everybody the same weights, before they are written."""
        self._order("agree")
        self.learner.agree()

    def wishes(self, own: str) -> str:
        """Which stop signal somebody has received, the own one first."""
        self._order("wishes")
        heard = self._group.gather(own) if self._group else []
        return own or next(filter(None, heard), "")

    def end(self, run: str, ended: str, step: int, reason: str) -> None:
        """Lets the others go; they are told how the run ended, ``failed`` or as :class:`Result` has it."""
        self._order("end", run=run, ended=ended, step=step, reason=reason)

    def _order(self, name: str, **arguments: Any) -> None:
        if self._group and self._group.leads:
            self._group.say([name, arguments])

    def follow(self, received: Callable[[], str]) -> tuple[str, str, int]:
        """Does as rank 0 does until it ends.

        Args:
            received: the stop signal that this process has received, if any.

        Returns:
            The run, how it ended, and at which step.

        Raises:
            CopycatError: rank 0 has failed or is gone, or this process cannot go on.
        """
        group = self._group
        assert group
        while True:
            name, arguments = group.say()
            if name == "read":
                encodings = arguments["encodings"]
                self.read(
                    encodings and tuple(ops.Encoding.from_dict(numbers) for numbers in encodings),
                    arguments["told_plate"],
                )
            elif name == "make":
                self.make(cat.ModelHeader.from_json(arguments["header"]))
            elif name == "learn":
                self.learn(**arguments)
            elif name == "wishes":
                self.wishes(received())
            elif name == "end":
                if arguments["ended"] == "failed":
                    raise DistributedError(f"rank 0: {arguments['reason']}")
                return arguments["run"], arguments["ended"], arguments["step"]
            else:
                {"share": self.share, "agree": self.agree}[name]()

    # -- banks --------------------------------------------------------------------------------------------------------

    def at_level(self, level: int) -> Dataset:
        """The data set at a level, its banks where the kernels read them best."""
        if self._data is None or self._data.level != level:
            self._data = None
            self.learner.leave_stage()  # what the last level took is free for the next
            self._data = self._placed(self.full.at_level(level))
        return self._data

    def _placed(self, data: Dataset) -> Dataset:
        if self.device.type != "cuda":
            return data
        banks = (data.input_bank, data.target_bank, data.mask_bank)
        size = sum(bank.nbytes for bank in banks if bank is not None)
        free = torch.cuda.mem_get_info(self.device)[0]
        on_device = self.settings.bank == "device" or (self.settings.bank == "auto" and size < 0.5 * free)
        return data.to(self.device, pinned=not on_device)
