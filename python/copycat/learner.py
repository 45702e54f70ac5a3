"""One training step: crops through the network, a clipped gradient, the optimiser, the running average."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from copycat import cat, ops
from copycat.config import Settings
from copycat.dataset import Dataset
from copycat.devices import is_out_of_memory, training_dtype
from copycat.encoding import loss_scale
from copycat.errors import CopycatError
from copycat.losses import Loss
from copycat.parameters import FlatParameters

_GRADIENT_LIMIT = 1.0


class TrainingError(CopycatError):
    """A training cannot begin or go on."""


class Learner:
    """A network and what changes its weights. A step is a function of the weights, the data set and the step's number.

    Attributes:
        network: computes with the weights, in the device's training dtype.
        parameters: the weights and their running average.
        batch: crops in a step.
        micro_batch: crops that go through the network at a time; made smaller when memory is short.
    """

    def __init__(
        self,
        header: cat.ModelHeader,
        settings: Settings,
        device: torch.device,
        batch: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Makes the network that ``header`` describes, from ``weights`` (a state dict) where given."""
        torch.manual_seed(settings.seed)
        self.network = header.network()
        if weights is not None:
            self.network.load_state_dict(weights)
        self.parameters = FlatParameters(self.network, device, training_dtype(device))
        self.batch = self.micro_batch = batch
        self._settings = settings
        self._device = device
        self._loss = Loss(settings.l1_weight, settings.l2_weight)
        self._scale = loss_scale(header.target_encoding).to(device)
        self._optimiser = torch.optim.AdamW(
            [self.parameters.weights], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def learn(self, data: Dataset, step: int, rate: float, warn: Callable[[str], None]) -> Tensor:
        """Makes the step that comes after ``step`` steps.

        Args:
            data: at the level that is being trained.
            step: steps done.
            rate: learning rate.
            warn: told when memory is short.

        Returns:
            ``[loss, l1, l2]`` on the device. When they or the gradient are not finite, no weight has changed.

        Raises:
            TrainingError: there is no memory even for one crop.
        """
        while True:
            try:
                losses = self._gather(data, step)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro_batch == 1:
                    size, model = self._settings.crop_size, self._settings.model_size
                    raise TrainingError(
                        f"there is not enough memory for one crop of {size}x{size} through a {model} model; "
                        "use a smaller Crop Size or Model Size"
                    ) from error
            # Outside of the except block, so that the failed step's tensors are free.
            self.micro_batch = -(-self.micro_batch // 2)
            self.parameters.discard_gradient()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            warn(f"memory is short: {self.micro_batch} crops go through the network at a time")
        self._update(losses[0], step, rate)
        return losses

    def _gather(self, data: Dataset, step: int) -> Tensor:
        """Leaves the batch's gradient in ``parameters``; returns the losses."""
        rule = self._rule(data)
        total = torch.zeros(3, device=self._device)
        for first in range(0, self.batch, self.micro_batch):
            count = min(self.micro_batch, self.batch - first)
            source, target, mask = ops.sample_crops(
                data.input_bank,
                data.target_bank,
                rule,
                step=step,
                batch=count,
                input_encoding=data.input_encoding,
                target_encoding=data.target_encoding,
                mask_bank=data.mask_bank,
                first_sample=first,
                total_samples=self.batch,
                device=self._device,
            )
            objective, losses = self._loss(self.network(source), target, self._scale, mask)
            share = count / self.batch
            (objective * share).backward()  # type: ignore[no-untyped-call]
            total += losses * share
            self.parameters.gather_gradient()
        return total

    def _rule(self, data: Dataset) -> ops.CropRule:
        settings = self._settings
        crop = data.crop(settings.crop_size)
        return ops.CropRule(
            crop=(min(crop), min(crop)) if settings.rotation_probability else crop,  # a quarter turn must fit as well
            seed=settings.seed,
            valid=data.valid,
            centres=data.centres,
            centre_offsets=data.centre_offsets,
            centre_share=settings.difference_share,
            flip=settings.flip_probability,
            flop=settings.flop_probability,
            turn=settings.rotation_probability,
            crops_per_pair=settings.crops_per_pair,
        )

    def _update(self, loss: Tensor, step: int, rate: float) -> None:
        gradient = self.parameters.gradient
        norm = gradient.norm()
        gradient.mul_((_GRADIENT_LIMIT / (norm + 1e-6)).clamp(max=1.0))
        # A step with a non-finite loss or gradient is skipped on the device, without waiting for it.
        self._optimiser.found_inf = (~torch.isfinite(norm + loss)).float()  # type: ignore[attr-defined]
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.step()
        self.parameters.stepped(step)

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """How many steps changed the weights, and the vectors of :data:`copycat.checkpoint.VECTORS`."""
        state = self._optimiser.state[self.parameters.weights]
        vectors = {
            "weights": self.parameters.weights,
            "average": self.parameters.average,
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["exp_avg_sq"],
        }
        return int(state["step"]), vectors

    def restore(self, updates: int, vectors: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self.parameters.load(vectors)
        weights = self.parameters.weights
        self._optimiser.state[weights] = {
            "step": torch.tensor(float(updates), device=weights.device),
            "exp_avg": vectors["exp_avg"].to(weights.device),
            "exp_avg_sq": vectors["exp_avg_sq"].to(weights.device),
        }
