"""The networks: they start as the Input, see no farther than they say, and take any size and number of channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from copycat.model import network as models
from copycat.model.network import ROWS, Network
from copycat.ops import convolution
from torch import Tensor, nn


def shaken(network: Network) -> Network:
    """All weights random, so that no zero hides what is behind it."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.5 / fan**0.5)
    return network.eval().requires_grad_(False)


def image(channels: int, height: int, width: int) -> Tensor:
    return torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", ["Small", "Medium", "Large"])
@torch.inference_mode()
def test_an_untrained_network_passes_the_input_through(size: str) -> None:
    source = image(3, 32, 48)
    assert torch.equal(Network(ROWS[size], 3, (0, 1, 2))(source), source)


@torch.inference_mode()
def test_the_residual_says_where_each_channel_starts() -> None:
    source = image(4, 32, 32)
    output = Network(ROWS["Small"], 4, (2, -1, 0))(source)
    assert torch.equal(output, torch.stack([source[:, 2], torch.zeros(1, 32, 32), source[:, 0]], dim=1))


def test_larger_sizes_have_more_weights() -> None:
    counts = [sum(p.numel() for p in Network(row, 3, (0, 1, 2)).parameters()) for row in ROWS.values()]
    assert list(ROWS) == ["Small", "Medium", "Large"]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3


def test_widths_double_up_to_the_widest() -> None:
    assert models.Row(32).widths == [32, 64, 128, 256]
    capped = models.Row(8, (1, 1, 1, 1), 1, (1, 1, 1, 1), widest=16)
    assert capped.widths == [8, 16, 16, 16, 16]
    network = shaken(Network(capped, 3, (0, 1, 2)))
    assert network.stride == 32
    assert network(image(3, 40, 70)).shape == (1, 3, 40, 70)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 90), (16, 16), (33, 17)])
@pytest.mark.parametrize(("channels", "residual"), [(1, (0,)), (3, (-1,)), (7, (0, 1, 2, -1, 6))])
@torch.inference_mode()
def test_any_size_and_channels(tiny: None, height: int, width: int, channels: int, residual: tuple[int, ...]) -> None:
    output = shaken(Network(ROWS["Small"], channels, residual))(image(channels, height, width))
    assert output.shape == (1, len(residual), height, width)
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@torch.inference_mode()
def test_frames_of_a_batch_do_not_know_each_other(tiny: None) -> None:
    network = shaken(Network(ROWS["Small"], 3, (0, 1, 2)))
    a, b = image(3, 64, 64), image(3, 64, 64).flip(-1)
    both = network(torch.cat([a, b]))
    torch.testing.assert_close(both, torch.cat([network(a), network(b)]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", ["Small", "Medium", "Large"])
@torch.inference_mode()
def test_no_pixel_outside_the_receptive_field_matters(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Thin, but of the size's own depth: the reach depends on that alone.
    import dataclasses

    monkeypatch.setitem(ROWS, size, dataclasses.replace(ROWS[size], width=4))
    network = shaken(Network(ROWS[size], 1, (0,))).double()
    reach = network.receptive_field
    assert reach % network.stride == 0
    length = 2 * reach + 6 * network.stride
    source = image(1, length, length).double()
    for offset in range(0, network.stride, 3):
        at = length // 2 + offset
        changed = source.clone()
        changed[..., at, at] += 10.0
        reached = (network(changed) - network(source)).abs()[0, 0] > 0
        rows, columns = reached.any(dim=1).nonzero(), reached.any(dim=0).nonzero()
        assert reached[at, at]
        for found in (rows, columns):
            assert at - reach <= int(found.min())
            assert int(found.max()) <= at + reach


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffles as they are made where torch's own do not keep channels-last memory, and torch's convolutions."""
    monkeypatch.setattr(models, "_by_torch", lambda _: False)
    monkeypatch.setattr(convolution, "_has_kernel", lambda *_: False)


@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_shuffles_are_torch_s_in_channels_last_memory(as_on_a_gpu: None, memory: torch.memory_format) -> None:
    x = torch.randn(2, 12, 6, 8).contiguous(memory_format=memory).requires_grad_()
    for ours, theirs in (
        (models._enlarged(x), F.pixel_shuffle(x, 2)),
        (models._cells(x, torch.float32), F.pixel_unshuffle(x, 2)),
    ):
        assert ours.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(ours, theirs)
        flow = torch.randn_like(theirs)
        assert torch.equal(*(torch.autograd.grad(output, x, flow)[0] for output in (ours, theirs)))


def test_every_convolution_works_in_channels_last_memory(as_on_a_gpu: None) -> None:
    network, reached = Network(ROWS["Small"], 3, (0, 1, 2)), []

    def look(module: nn.Module, arguments: tuple[Tensor], result: Tensor) -> None:
        reached.extend([arguments[0], result])
        result.register_hook(reached.append)

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(look)
    network(torch.rand(2, 3, 32, 48).contiguous(memory_format=torch.channels_last)).square().sum().backward()
    assert len(reached) == 3 * len(convolutions)
    for tensor in reached:
        assert tensor.is_contiguous(memory_format=torch.channels_last), tensor.stride()
