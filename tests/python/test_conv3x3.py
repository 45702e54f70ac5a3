"""The 3x3 convolution of a gated block: the kernel equals torch's convolution in float64, forward and backward."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from copycat import ops
from copycat.model.network import ROWS, Network
from copycat.ops import convolution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

# Relative errors in norm: bfloat16 is rounded to once more between transform and product.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3}
FAST = [dtype for dtype in TOLERANCE if ops.conv3x3_is_fast(dtype)]
needs_a_kernel = pytest.mark.skipif(not FAST, reason="this processor has none of the instructions that it is made of")


def layer_of(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return layer


def tensors(dtype: torch.dtype, *shapes: tuple[int, ...], seed: int = 3) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random).to(dtype).requires_grad_() for shape in shapes]


def relative_error(found: Tensor, right: Tensor) -> float:
    return float((found.detach().double() - right.detach()).norm() / right.detach().norm())


@needs_a_kernel
@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(FAST or [torch.float32]),
    batch=st.integers(1, 3),
    channels_in=st.integers(1, 9).map(lambda n: 16 * n),
    channels_out=st.integers(1, 9).map(lambda n: 16 * n),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    channels_last=st.booleans(),
)
def test_the_convolution_and_its_gradients(
    dtype: torch.dtype,
    batch: int,
    channels_in: int,
    channels_out: int,
    height: int,
    width: int,
    channels_last: bool,
) -> None:
    shapes = (batch, channels_in, height, width), (channels_out, channels_in, 3, 3), (channels_out,)
    arguments = tensors(dtype, *shapes)
    true = [x.detach().double().requires_grad_() for x in arguments]
    x, weight, bias = arguments
    if channels_last:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    layer = layer_of(weight, bias)
    output, right = ops.conv3x3(layer, x), F.conv2d(*true, padding=1)
    assert "_Conv3x3" in output.grad_fn.name()
    assert (output.dtype, output.shape) == (dtype, right.shape)
    flow = torch.randn(output.shape, generator=torch.Generator().manual_seed(4)).to(dtype)
    found = torch.autograd.grad(output, [x, layer.weight, layer.bias], flow)
    expected = torch.autograd.grad(right, true, flow.double())
    for a, b in zip((output, *found), (right, *expected), strict=True):
        assert relative_error(a, b) < TOLERANCE[dtype]


@needs_a_kernel
@pytest.mark.parametrize("dtype", FAST)
@pytest.mark.parametrize("shape", [(0, 16, 5, 4), (2, 16, 0, 4), (2, 16, 5, 0)])
def test_the_gradients_of_an_empty_batch_are_zero(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, weight, bias = tensors(dtype, shape, (32, 16, 3, 3), (32,))
    for _ in range(3):  # freed memory that is not zero, for the gradients to be allocated in
        torch.full((32, 16, 3, 3), 7.0, dtype=dtype)
        result = ops.conv3x3(layer := layer_of(weight, bias), x)
        assert result.shape == (shape[0], 32, *shape[2:])
        of_x, of_weight, of_bias = torch.autograd.grad(result.sum(), [x, layer.weight, layer.bias])
        assert of_x.shape == x.shape
        assert not of_weight.any()
        assert not of_bias.any()


@needs_a_kernel
def test_a_network_learns_the_same_with_the_kernel() -> None:
    dtype = FAST[-1]
    torch.manual_seed(0)
    network = Network(ROWS["Small"], 3, (0, 1, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    network.to(dtype)
    x = torch.rand(2, 3, 48, 80)

    def gradient() -> Tensor:
        loss = (network(x) - x.flip(1)).square().mean()
        return torch.cat([g.flatten().double() for g in torch.autograd.grad(loss, list(network.parameters()))])

    with_kernel = gradient()
    with patch.object(convolution, "_has_kernel", lambda *_: False):
        without = gradient()
    assert relative_error(with_kernel, without) < 4 * TOLERANCE[dtype]


@pytest.mark.parametrize(("channels_in", "channels_out"), [(12, 32), (32, 12), (16, 1040)])
def test_torch_convolves_what_the_kernel_does_not(channels_in: int, channels_out: int) -> None:
    x, weight, bias = tensors(torch.float32, (1, channels_in, 5, 4), (channels_out, channels_in, 3, 3), (channels_out,))
    output = ops.conv3x3(layer_of(weight, bias), x)
    assert "_Conv3x3" not in output.grad_fn.name()
    assert torch.equal(output, F.conv2d(x, weight, bias, padding=1))


@needs_a_kernel
def test_the_gradient_of_the_input_is_computed_only_if_it_is_needed() -> None:
    x, weight, bias = tensors(FAST[0], (1, 16, 4, 4), (32, 16, 3, 3), (32,))
    with patch.object(torch.ops.copycat, "conv3x3_input_gradient", side_effect=AssertionError):
        ops.conv3x3(layer := layer_of(weight, bias), x.detach()).sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((1, 24, 4, 4), (32, 24, 3, 3), (32,), "multiple of 16, not 24"),
        ((1, 16, 4, 4), (1040, 16, 3, 3), (1040,), "16 to 1024 channels"),
        ((1, 16, 4, 4), (32, 16, 5, 5), (32,), "weight"),
        ((1, 16, 4, 4), (32, 48, 3, 3), (32,), "weight"),
        ((1, 16, 4, 4), (32, 16, 3, 3), (16,), "bias"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        torch.ops.copycat.conv3x3(torch.zeros(x), torch.zeros(weight), torch.zeros(bias))


def test_dtypes_must_agree() -> None:
    x, weight = torch.zeros(1, 16, 4, 4), torch.zeros(16, 16, 3, 3, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="weight must have the dtype of x"):
        torch.ops.copycat.conv3x3(x, weight, None)
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        torch.ops.copycat.conv3x3(x.half(), weight.half(), None)
