"""The part of a training that every process has, alone or in a group: it reads the data set and makes steps.

In a group, rank 0 calls the methods below and each call is passed on as an order; the others follow (:func:`follow`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset, Preparing, load_dataset
from copycat.data.devices import choose_device, free_cache, is_out_of_memory, metal_is_here
from copycat.errors import CopycatError
from copycat.machine import free_memory
from copycat.model import cat
from copycat.sequence.pairs import DatasetError
from copycat.training import metal
from copycat.training.composites import Composites, are_used, painted, with_room
from copycat.training.control import StoppedError
from copycat.training.frame_records import from_records
from copycat.training.group import DistributedError, Group
from copycat.training.step import Learner
from copycat.training.task import Task

Encodings = tuple[ops.Encoding, ops.Encoding]


class Process:
    """This process's part of a training before there is a network: device, data set, orders to the others.

    Attributes:
        task: what all processes train.
        group: the processes that train together, None for this one alone.
        warn: called with what the user should know.
        note: called with what needs no action.
        device: where this process trains.
        warning: a warning about the device choice; empty if none.
    """

    def __init__(
        self, task: Task, group: Group | None, warn: Callable[[str], None], note: Callable[[str], None]
    ) -> None:
        """Chooses a device; shares out a CPU's cores among the processes of a machine."""
        self.task = task
        self.group = group
        self.warn = warn
        self.note = note
        index = task.settings.gpu_index
        if group and index == "Auto":
            index = str(group.local_rank)
        self.device, self.warning = choose_device(task.settings.use_gpu_if_available, index)
        if self.device.type == "cpu" and task.settings.use_gpu_if_available and not group and metal_is_here():
            self.device, self.warning = metal.choose(task.settings.model_size)
        if group and group.local_size > 1 and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() // group.local_size))

    def read(
        self,
        encodings: Encodings | None,
        plate: clean_plate.Kind | None,
        *,
        directory: Path | None = None,
        progress: Preparing | None = None,
    ) -> Dataset:
        """Reads the data set, in every process; the arguments are those of `data.dataset.load_dataset`.

        Raises:
            CopycatError: it cannot be read here or by another process, or another reads other frames.
            StoppedError: from ``progress``.
        """
        self.order("read", encodings=encodings and [e.to_dict() for e in encodings], plate=plate)
        if self.group:
            self.group.meet_on(self.device)
        data: Dataset | None = None
        failure: BaseException | None = None
        try:
            data = load_dataset(
                self.task.frames,
                self.task.settings,
                directory=directory,
                encodings=encodings,
                plate=plate,
                progress=progress,
                observe=self.task.inspection.look if self.task.inspection else None,
            )
        except BaseException as error:
            failure = error
        if self.group:
            _compare(self.group, data, failure)
        if failure:
            raise failure
        assert data
        return data

    def make(self, data: Dataset, header: cat.ModelHeader, weights: Mapping[str, Tensor] | None = None) -> Member:
        """Makes the network of ``header`` in every process, in rank 0 from ``weights`` where there are some."""
        self.order("make", header=header.to_json())
        data = replace(data, input_encoding=header.input_encoding, target_encoding=header.target_encoding)
        learner = Learner(
            header,
            self.task.settings,
            self.device,
            self.task.batch,
            weights=weights,
            backbone=self.task.backbone,
            plate=data.clean_plate,
            painted=data.painted,
            group=self.group,
        )
        return Member(self, data, learner)

    def gather_signals(self, own: str) -> str:
        """The stop signal that any process has received, the own one first; empty if none."""
        self.order("gather_signals")
        received = self.group.gather(own) if self.group else []
        return own or next(filter(None, received), "")

    def end(self, run: str, ended: str, step: int, reason: str) -> None:
        """Ends the training in the other processes; ``ended`` is ``failed`` or as in `report.Result`."""
        self.order("end", run=run, ended=ended, step=step, reason=reason)

    def order(self, name: str, **arguments: Any) -> None:
        """Makes the other processes do the same; only rank 0 of a group sends orders."""
        if self.group and self.group.leads:
            self.group.say([name, arguments])


def _compare(group: Group, data: Dataset | None, failure: BaseException | None) -> None:
    """Exchanges the results of reading, so that no process waits in vain; raises the error of another process."""
    stopped = isinstance(failure, StoppedError)
    error = str(failure) if isinstance(failure, CopycatError) else repr(failure) if failure and not stopped else ""
    answers = group.gather({"stopped": stopped, "error": error, "hash": data.data_hash if data else ""})
    if failure or answers[0]["stopped"]:
        return  # where rank 0 was stopped, its next order says how the training ended
    for rank, answer in enumerate(answers):
        if answer["error"]:
            raise DistributedError(f"rank {rank}: {answer['error']}")
        if answer["hash"] != answers[0]["hash"]:
            raise DistributedError(f"rank {rank} reads other training frames than rank 0; start all alike")


class Member:
    """This process's part of a training once there is a network.

    Attributes:
        process: device, group, orders.
        data: the data set at level 1.
        learner: the network and its optimiser.
        recent: indices of frames that were painted a short while ago, whose crops come more often.
        recent_until: the step after which they come as often as others.
    """

    def __init__(self, process: Process, data: Dataset, learner: Learner) -> None:
        self.process = process
        self.data = data
        self.learner = learner
        self.recent: tuple[int, ...] = ()
        self.recent_until = 0
        self._current: Dataset | None = None
        self._current_recent: Dataset | None = None
        self._composites: Composites | None = None

    def share(self) -> None:
        """Gives every process the weights and optimiser of rank 0."""
        self.process.order("share")
        self.learner.share()

    def learn(self, level: int, step: int, rate: float) -> Tensor:
        """Makes the step that comes after ``step`` steps, at a level; returns `Learner.learn`'s losses."""
        self.process.order("learn", level=level, step=step, rate=rate)
        if self.recent and step >= self.recent_until:
            self.recent, self._current_recent = (), None
        data = self._trained_on(level)
        if self._composites:
            self._composites.renew(step)
        losses = self.learner.learn(data, step, rate, self.process.warn, self._current_recent)
        group = self.process.group
        if group and (step + 1) % group.rendezvous.sync_interval == 0:
            self.learner.agree()
        return losses

    def agree(self) -> None:
        """Gives every process the same weights, before they are written."""
        self.process.order("agree")
        self.learner.agree()

    def replace_data(
        self,
        records: Sequence[Mapping[str, Any]],
        kept: Sequence[Sequence[int]],
        recent: Sequence[int],
        until: int,
        data: Dataset | None = None,
    ) -> None:
        """Goes on with another data set, in every process or in none.

        Args:
            records: its pairs, see `frame_records`.
            kept: index and former index of each pair that is as before.
            recent, until: as the attributes.
            data: the data set where it has been read already.

        Raises:
            DatasetError: in rank 0: a process cannot read it, or there would be less than a crop for each.
        """
        self.process.order("replace_data", records=records, kept=kept, recent=list(recent), until=until)
        indices = {index: old for index, old in kept}  # noqa: C416 - pairs that came as JSON
        refusal, group, settings = "", self.process.group, self.process.task.settings
        try:
            batch = settings.crops_per_step(len(records))
            if group and batch < group.rendezvous.size:
                raise DatasetError(f"a step of {batch} crops is too small for {group.rendezvous.size} processes")
            data = data or load_dataset(
                from_records(records),
                settings,
                encodings=(self.data.input_encoding, self.data.target_encoding),
                plate=self.data.plate,
                before=self.data,
                kept=indices,
            )
        except CopycatError as error:
            refusal = str(error)
        if group:
            answers = group.gather({"refusal": refusal, "hash": data.data_hash if data else ""})
            refusals = [f"rank {rank}: {one['refusal']}" for rank, one in enumerate(answers) if one["refusal"]]
            if not refusals and len({one["hash"] for one in answers}) > 1:
                refusals = ["the processes read different training frames"]
            refusal = refusal or next(iter(refusals), "")
        if refusal:
            if group and not group.leads:
                return
            raise DatasetError(refusal)
        assert data
        self.data, self._current, self._current_recent = data, None, None
        self.learner.leave_stage()
        self.learner.resize(batch)
        self.learner.replace_plate(data.clean_plate, data.painted)
        self._set_recent(recent, until)

    def emphasise(self, recent: Sequence[int], until: int) -> None:
        """Has the crops of some frames come more often up to a step; of more than half of the frames, none do."""
        self.process.order("emphasise", recent=list(recent), until=until)
        self._set_recent(recent, until)

    def _set_recent(self, recent: Sequence[int], until: int) -> None:
        self.recent = tuple(recent) if 2 * len(recent) <= len(self.data) else ()
        self.recent_until, self._current, self._current_recent = until, None, None

    def at_level(self, level: int) -> Dataset:
        """The painted pairs at a level."""
        data = self._trained_on(level)
        return painted(data) if self._composites else data

    def _trained_on(self, level: int) -> Dataset:
        """The data set at a level with its composites, its banks where the kernels read them best."""
        if self._current is None or self._current.level != level:
            self._current = self._current_recent = self._composites = None
            self.learner.leave_stage()  # frees what the last level took
            data, settings = self.data.at_level(level), self.process.task.settings
            composed = are_used(data, settings, self.process.note)
            recent = [data.part(self.recent)] if self.recent else []
            self._current, *recent = self._on_device(with_room(data) if composed else data, *recent)
            self._current_recent = recent[0] if recent else None
            if composed:
                crop = data.crop(settings.crop_size)
                self._composites = Composites(self._current, settings.seed, crop, self.learner.batch)
        return self._current

    def _on_device(self, *sets: Dataset) -> list[Dataset]:
        """Places the banks of data sets, all alike since one step reads all of them.

        On the GPU, or in pinned memory that it reads, or as they are for the host to read. Pinned memory is a copy that
        cannot be swapped out. Banks that lie on disk because memory is short are therefore never pinned, nor are banks
        that would take more than half of the free memory.
        """
        device = self.process.device
        if device.type != "cuda":
            return list(sets)
        moving = any(data.painted is not None for data in sets)
        banks = [bank for data in sets for bank in _banks(data)]
        size, choice = sum(bank.nbytes for bank in banks), self.process.task.settings.bank
        if choice == "device" or (choice == "auto" and size < 0.5 * torch.cuda.mem_get_info(device)[0]):
            try:
                return [data.to(device) for data in sets]
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            free_cache(device)
            self.process.warn(f"memory of the GPU is short: the frames ({size / 1e9:.2g} GB) stay in the host's memory")
        if moving:
            return list(sets)  # the host cuts the plates' crops, as it does the others
        # A bank of another level than 1 lies in memory.
        on_disk = any(data.level == 1 and (choice == "disk" or _is_on_disk(data)) for data in sets)
        if not on_disk and sum(map(_pinned_size, banks)) < 0.5 * free_memory():
            return [data.to(device, pinned=True) for data in sets]
        plates = (None if data.clean_plate is None else data.clean_plate.to(device) for data in sets)
        return [replace(data, clean_plate=plate) for data, plate in zip(sets, plates, strict=True)]


def _banks(data: Dataset) -> list[Tensor]:
    moving = data.clean_plate if data.painted is not None else None
    return [bank for bank in (data.input_bank, data.target_bank, data.mask_bank, moving) if bank is not None]


def _is_on_disk(data: Dataset) -> bool:
    return data.banks is not None and isinstance(data.banks.input, np.memmap)


def _pinned_size(bank: Tensor) -> int:
    """What pinning takes: torch rounds up to a power of two."""
    return 1 << (bank.nbytes - 1).bit_length()


def follow(process: Process, received: Callable[[], str]) -> tuple[str, str, int]:
    """Carries out the orders of rank 0 until it ends the training.

    Args:
        process: of a rank above 0.
        received: returns the stop signal that this process has received, or an empty string.

    Returns:
        The run, how it ended, and at which step.

    Raises:
        CopycatError: rank 0 has failed or is gone, or this process cannot go on.
    """
    group = process.group
    assert group
    data: Dataset | None = None
    member: Member | None = None
    while True:
        name, arguments = group.say()
        if name == "read":
            encodings = arguments["encodings"]
            encodings = encodings and tuple(ops.Encoding.from_dict(numbers) for numbers in encodings)
            data = process.read(encodings, arguments["plate"])
        elif name == "make":
            assert data
            member = process.make(data, cat.ModelHeader.from_json(arguments["header"]))
        elif name == "gather_signals":
            process.gather_signals(received())
        elif name == "end":
            if arguments["ended"] == "failed":
                raise DistributedError(f"rank 0: {arguments['reason']}")
            return arguments["run"], arguments["ended"], arguments["step"]
        else:
            assert member
            carry_out: dict[str, Callable[..., object]] = {
                "learn": member.learn,
                "share": member.share,
                "agree": member.agree,
                "replace_data": member.replace_data,
                "emphasise": member.emphasise,
            }
            carry_out[name](**arguments)
