"""One training step: crops through the network, a clipped gradient, the optimiser, the running average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from copycat import ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset
from copycat.data.devices import free_cache, is_out_of_memory, training_dtype
from copycat.data.encodings import loss_scale, matte_limits
from copycat.data.painted_frames import PaintedFrames
from copycat.errors import CopycatError
from copycat.model import cat
from copycat.sequence import colour_layers
from copycat.settings.tables import Settings
from copycat.training import graph
from copycat.training.crops import Crops, Cut, Sampler
from copycat.training.group import Group
from copycat.training.losses import Loss
from copycat.training.optimiser import Optimiser
from copycat.training.perceptual import Backbone, Perceptual
from copycat.training.weights import FlatParameters

_CPU = torch.device("cpu")


class TrainingError(CopycatError):
    """A training cannot begin or go on."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """What stays the same from step to step; a recorded graph holds its addresses."""

    data: Dataset
    recent: Dataset | None
    micro_batch: int
    sampler: Sampler
    # Where the host gathers the crops: the device's buffers for each micro-batch, filled before a step.
    from_host: bool
    buffers: list[Crops] = field(default_factory=list)


class Learner:
    """A network and its optimiser. A step is a function of the weights, the data set and the step's number.

    In a group every process has the same learner and makes its share of the crops. The processes sum their gradients
    before each update, so that a step equals that of one process but for the order of sums; or, with a sync interval,
    they average their weights every so many steps (local SGD: Stich, ICLR 2019).

    Attributes:
        network: computes in the device's training dtype.
        parameters: the weights and their running average.
        batch: crops in a step, over all processes.
        own: the crops of a step that this process makes.
        micro_batch: crops that go through the network at a time; halved when memory is short.
    """

    def __init__(
        self,
        header: cat.ModelHeader,
        settings: Settings,
        device: torch.device,
        batch: int,
        weights: Mapping[str, Tensor] | None = None,
        *,
        backbone: Backbone | None = None,
        plate: Tensor | None = None,
        painted: PaintedFrames | None = None,
        group: Group | None = None,
    ) -> None:
        """Makes the network that ``header`` describes.

        Args:
            header: size, channels and encodings.
            settings: seed, weights of the loss, augmentation of the crops.
            device: where it trains.
            batch: crops in a step.
            weights: a state dict to start from.
            backbone: for the perceptual part of the loss; unused where Perceptual Weight is 0.
            plate: the data set's clean plate at level 1; None for a network without one.
            painted: of a data set whose pairs have a clean plate each.
            group: the processes that train together; None for this one alone.
        """
        torch.manual_seed(settings.seed)
        self.network = header.network()
        plate_state = {} if plate is None or header.plate_moves else {"clean_plate": plate.movedim(-1, 1)}
        self.network.load_state_dict({**(self.network.state_dict() if weights is None else weights), **plate_state})
        self.network.painted = painted
        self.network.to(device)
        self.parameters = FlatParameters(self.network, device, training_dtype(device))
        self.batch = batch
        self.own = group.part_of(batch) if group else range(batch)
        self.micro_batch = len(self.own)
        self._settings = settings
        self._device = device
        perceptual = None
        if backbone is not None and settings.perceptual_weight:
            perceptual = Perceptual(
                backbone, header.channels_out, header.target_encoding, device, training_dtype(device)
            )
        limits = matte_limits(header.target_encoding)
        self._loss = Loss(
            settings.l1_weight,
            settings.l2_weight,
            perceptual,
            settings.perceptual_weight,
            None if limits is None else (limits[0].to(device), limits[1].to(device)),
        )
        self._scale = loss_scale(header.target_encoding).to(device)
        self._input_layers, self._target_layers = (
            colour_layers(channels) for channels in (header.channels_in, header.channels_out)
        )
        self._optimiser = Optimiser(self.parameters)
        # On the device, where a recorded step counts them on and reads them.
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._rate = torch.zeros((), device=device)
        self._next_step = 0
        self._updating = False
        self._stage: _Stage | None = None
        self._group = group
        self._on_gradients = group is not None and group.rendezvous.sync_interval == 1
        # Divisor of the loss: the whole batch when ranks sum gradients, else this rank's crops.
        self._divisor = batch if self._on_gradients else len(self.own)
        self._captured = graph.recorder_for(device)

    def learn(
        self, data: Dataset, step: int, rate: float, warn: Callable[[str], None], recent: Dataset | None = None
    ) -> Tensor:
        """Makes the step that comes after ``step`` steps.

        Args:
            data: the data set at the level that is being trained.
            step: steps done.
            rate: learning rate.
            warn: called with a sentence when memory is short.
            recent: frames of ``data`` whose crops come more often; None for none.

        Returns:
            ``[loss, l1, l2]`` on the device. When one of them or the gradient is not finite, no weight has changed.

        Raises:
            TrainingError: there is no memory even for one crop.
        """
        if step != self._next_step:
            self._step.fill_(step)
        self._next_step = -1  # stays if this step fails
        self._rate.fill_(rate)
        while True:
            stage = self._stage_of(data, recent)
            try:
                self._updating = False
                self._gather_on_host(stage, step)
                # A replay updates without a word; what fails after it must not have the step made again.
                self._updating = self._captured is not None and self._captured.recorded and not self._on_gradients
                losses = self._captured(warn) if self._captured else self._work(stage)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._updating:
                    raise self._half_updated() from error
                if self.micro_batch == 1:
                    size, model = self._settings.crop_size, self._settings.model_size
                    raise TrainingError(
                        f"there is not enough memory for one crop of {size}x{size} through a {model} model; "
                        "use a smaller Crop Size or Model Size"
                    ) from error
            # Outside of the except block, so that the failed step's tensors are free.
            self.micro_batch = -(-self.micro_batch // 2)
            free_cache(self._device)
            warn(f"memory is short: {self.micro_batch} crops go through the network at a time")
        if self._on_gradients:
            # Outside of the recording, so that a rank whose recording failed can step among others that replay.
            assert self._group is not None
            self._group.sum(self.parameters.gradient, losses)
            try:
                self._update(losses[0])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise self._half_updated() from error
        self._next_step = step + 1
        return losses

    def _half_updated(self) -> TrainingError:
        """Some weights may be a step ahead of others: nothing to make again, and nothing to save."""
        return TrainingError(
            f"there is not enough memory for the optimiser of a {self._settings.model_size} model; use a "
            "smaller Model Size, or free memory and resume from the last saved state"
        )

    def resize(self, batch: int) -> None:
        """Makes ``batch`` crops in each step from now on; a micro-batch that memory has limited stays."""
        whole = self.micro_batch == len(self.own)
        self.batch = batch
        self.own = self._group.part_of(batch) if self._group else range(batch)
        self.micro_batch = len(self.own) if whole else min(self.micro_batch, len(self.own))
        self._divisor = batch if self._on_gradients else len(self.own)

    def replace_plate(self, plate: Tensor | None, painted: PaintedFrames | None) -> None:
        """Gives the network another clean plate of the same kind and size; see :meth:`__init__`."""
        self.network.painted = painted
        if plate is not None and self.network.clean_plate is not None:
            self.network.clean_plate.copy_(plate.movedim(-1, 1))

    def agree(self) -> None:
        """Averages weights and optimiser over the group, each rank weighted by its share of the crops.

        Nothing changes unless all of the averaging succeeds: what is saved after a rank is lost is a rank's own state.
        """
        if self._group is None or self._on_gradients:
            return
        vectors = self.state()[1].values()
        averages = [vector * (len(self.own) / self.batch) for vector in vectors]
        self._group.sum(*averages)
        for vector, average in zip(vectors, averages, strict=True):
            vector.copy_(average)
        self.parameters.changed()

    def share(self) -> None:
        """Gives all processes of the group the weights and optimiser of rank 0."""
        if self._group is not None:
            self._group.share(self._optimiser.updates, *self.state()[1].values())
            self.parameters.changed()

    def leave_stage(self) -> bool:
        """Frees the data set and the recorded graph; returns whether there was a graph.

        The next step takes the data set and records again.
        """
        self._stage = None
        recorded = self._captured is not None and self._captured.recorded
        if self._captured:
            self._captured.forget()
        free_cache(self._device)
        return recorded

    def _stage_of(self, data: Dataset, recent: Dataset | None) -> _Stage:
        """What the next step reads; a new one when the data set or the micro-batch has changed."""
        stage, size = self._stage, self.micro_batch
        if stage is None or stage.data is not data or stage.recent is not recent or stage.micro_batch != size:
            from_host = self._crops_come_from_host(data)
            sampler = self._sampler(data, recent, _CPU if from_host else self._device, from_host)
            self._stage = stage = _Stage(data, recent, size, sampler, from_host)
            if self._captured:
                self._captured.begin(partial(self._work, stage))
        return stage

    def _crops_come_from_host(self, data: Dataset) -> bool:
        """Whether only the host has kernels, or the banks lie where only it can read: on disk, or not pinned."""
        if not ops.runs_on(self._device):
            return True
        return self._device.type == "cuda" and not (data.input_bank.is_cuda or data.input_bank.is_pinned())

    def _gather_on_host(self, stage: _Stage, step: int) -> None:
        """Gathers a step's crops on the host and copies them to the device, which is busy with earlier steps."""
        if not stage.from_host:
            return
        for index, (first, count) in enumerate(self._micro_batches(stage)):
            crops = stage.sampler.crops(step, first, count)
            if index == len(stage.buffers):
                # Once for each stage, so that a recorded graph finds them where they were.
                stage.buffers.append(tuple(None if t is None else t.to(self._device) for t in crops))  # type: ignore[arg-type]
                continue
            for buffer, tensor in zip(stage.buffers[index], crops, strict=True):
                if buffer is not None and tensor is not None:
                    pinned = tensor.pin_memory() if self._device.type == "cuda" and not tensor.is_cuda else tensor
                    buffer.copy_(pinned, non_blocking=self._device.type == "cuda")

    def _micro_batches(self, stage: _Stage) -> Iterator[tuple[int, int]]:
        """The first crop of each micro-batch, and the number of its crops."""
        for first in self.own[:: stage.micro_batch]:
            yield first, min(stage.micro_batch, self.own.stop - first)

    def _sampler(self, data: Dataset, recent: Dataset | None, near: torch.device, from_host: bool) -> Sampler:
        """The sampler of a stage, whose rules lie in memory that device ``near`` reads."""

        def cut_for(frames: Dataset, rule: ops.CropRule) -> Cut:
            cut = partial(
                ops.sample_crops,
                frames.input_bank,
                frames.target_bank,
                rule,
                input_encoding=frames.input_encoding,
                target_encoding=frames.target_encoding,
                input_layers=self._input_layers,
                target_layers=self._target_layers,
                mask_bank=frames.mask_bank,
                device=_CPU if from_host else self._device,
            )
            plates = frames.clean_plate
            return cut, None if plates is None else partial(clean_plate.of_crops, plates, rule)

        return Sampler(data, recent, lambda frames: self._rule(frames, near), cut_for, self.batch)

    def _rule(self, data: Dataset, device: torch.device) -> ops.CropRule:
        settings = self._settings
        crop = data.crop(settings.crop_size)
        if settings.rotation_probability:
            crop = (min(crop), min(crop))  # a quarter turn must fit as well
        ops.check_crop(data.valid, crop)
        return ops.CropRule(
            crop=crop,
            seed=settings.seed,
            valid=data.valid.to(device),
            centres=data.centres.to(device),
            centre_offsets=data.centre_offsets.to(device),
            centre_share=settings.difference_share,
            flip=settings.flip_probability,
            flop=settings.flop_probability,
            turn=settings.rotation_probability,
            gain=settings.gain_probability,
            contrast=settings.contrast_probability,
            saturation=settings.saturation_probability,
            crops_per_pair=settings.crops_per_pair,
        )

    def _work(self, stage: _Stage) -> Tensor:
        """The part of a step that needs no other rank: all of it, or up to the gradient of the own crops.

        Can be recorded as a graph: it waits for nothing and reads what changes between steps from tensors.
        """
        self._updating = False
        total = torch.zeros(3, device=self._device)
        try:
            for index, (first, count) in enumerate(self._micro_batches(stage)):
                if stage.from_host:
                    source, target, mask, plate = stage.buffers[index]
                else:
                    source, target, mask, plate = stage.sampler.crops(self._step, first, count)
                objective, losses = self._loss(self.network(source, plate), target, self._scale, mask)
                share = count / self._divisor
                (objective * share).backward()  # type: ignore[no-untyped-call]
                total += losses * share
                self.parameters.gather_gradient()
        except BaseException:
            self.parameters.discard_gradient()
            raise
        if not self._on_gradients:
            self._update(total[0])
        return total

    def _update(self, loss: Tensor) -> None:
        self._updating = True
        average_weight = self.parameters.average_weight(self._step)
        self._optimiser.step(self._rate, loss)
        self.parameters.stepped(average_weight)
        self._step += 1

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """The number of steps that changed the weights, and :data:`copycat.training.checkpoint.VECTORS`."""
        vectors = {"weights": self.parameters.weights, "average": self.parameters.average}
        return int(self._optimiser.updates[0]), vectors | self._optimiser.state()

    def restore(self, updates: int, vectors: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self.parameters.load(vectors)
        self._optimiser.restore(updates, vectors)
