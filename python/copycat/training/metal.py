"""Whether Apple's GPU (Metal, torch's ``mps``) trains: only where it learns what the CPU learns, and faster.

Before a training both make the same few steps of the network that will be trained. Not yet run on a Mac.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from copycat.data.devices import training_dtype
from copycat.model.network import ROWS, Network
from copycat.training.optimiser import Optimiser
from copycat.training.weights import FlatParameters

_CPU = torch.device("cpu")
_CROP, _BATCH, _STEPS = 128, 4, 4
_RATE = 1e-3
# Relative difference of the first step's gradient; float32 sums in another order differ by 1e-4 at most.
_TOLERANCE = 1e-2


def choose(model_size: str, metal: torch.device | None = None) -> tuple[torch.device, str]:
    """The device of a training on a machine with Apple's GPU, and why it is the CPU; empty if it is the GPU.

    Args:
        model_size: Model Size of the training; a row of ``ROWS``.
        metal: stands for the GPU in tests.
    """
    device = metal or torch.device("mps")
    try:
        gradient, losses, seconds = learn(device, training_dtype(device), model_size)
    except (RuntimeError, TypeError) as reason:  # an operator or a dtype that this torch lacks on Metal
        return _CPU, f"the GPU cannot train ({str(reason).splitlines()[0]}); using the CPU"
    truth, true_losses, _ = learn(_CPU, torch.float32, model_size)
    error = (gradient.cpu() - truth).norm() / truth.norm()
    if not error <= _TOLERANCE or not torch.allclose(losses.cpu(), true_losses, rtol=_TOLERANCE):
        return _CPU, f"the GPU computes other gradients than the CPU (by {float(error):.1%}); using the CPU"
    on_cpu = learn(_CPU, training_dtype(_CPU), model_size)[2]
    if seconds >= on_cpu:
        return _CPU, f"the CPU trains faster than the GPU ({on_cpu:.2f} s for {seconds:.2f} s); using the CPU"
    return device, ""


def learn(
    device: torch.device, dtype: torch.dtype, model_size: str, clock: Callable[[], float] = time.perf_counter
) -> tuple[Tensor, Tensor, float]:
    """Makes a few steps on pictures of noise.

    Returns:
        The first step's gradient [n], the losses [steps], and the seconds of all steps but the first.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(ROWS[model_size], 3, (0, 1, 2))
        torch.nn.init.normal_(network.tail.weight, std=0.02)  # at zero nothing below has a gradient
        for name, parameter in network.named_parameters():
            if name.endswith(("scale1", "scale2")):
                torch.nn.init.constant_(parameter, 0.3)
        noise = torch.rand((_BATCH, 3, _CROP, _CROP))
    network.to(device)
    parameters = FlatParameters(network, device, dtype)
    optimiser = Optimiser(parameters)
    source = noise.contiguous(memory_format=torch.channels_last).to(device)
    target, rate = source * 0.8, torch.full((), _RATE, device=device)
    first, losses, began = torch.empty(0), [], 0.0
    for step in range(_STEPS):
        loss = (network(source, None) - target).square().mean()
        loss.backward()
        parameters.gather_gradient()
        if step == 0:
            first = parameters.gradient.clone()
        optimiser.step(rate, loss.detach())
        parameters.stepped(parameters.average_weight(torch.tensor(step, device=device)))
        losses.append(loss.detach())
        if step == 0:
            losses[0].item()  # waits for the device
            began = clock()
    result = torch.stack(losses).float()
    result.sum().item()
    return first, result, clock() - began
