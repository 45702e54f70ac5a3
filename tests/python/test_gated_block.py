"""What lies between a block's convolutions: the kernels equal torch's own operators, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from copycat.ops import gated_block
from torch import Tensor

# A part of the gradients' sums is 1024 pixels: one below, and one with a rest.
SHAPES = [(1, 32, 1, 1), (2, 64, 5, 3), (5, 32, 16, 16), (1, 48, 40, 31), (3, 96, 6, 7), (1, 256, 3, 4), (2, 384, 9, 5)]
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
OPERATORS = torch.ops.copycat
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1.6e-2}


@contextmanager
def without_kernels() -> Iterator[None]:
    with patch.object(gated_block, "_has_kernel", lambda *_: False):
        yield


def tensors(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    random = torch.Generator().manual_seed(3)
    outputs = [torch.randn(shape, generator=random).to(dtype) for shape in shapes]
    return [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in outputs]


def gradients(results: list[Tensor], arguments: list[Tensor]) -> list[Tensor]:
    random = torch.Generator().manual_seed(4)
    flows = [torch.randn(result.shape, generator=random).to(result) for result in results]
    return list(torch.autograd.grad(results, arguments, flows))


def compare(function, arguments: list[Tensor], device: str, chosen: slice = slice(None)) -> None:
    """The kernels in the arguments' dtype against torch in float64 on the CPU."""
    mine = [x.to(device, copy=True).requires_grad_() for x in arguments]
    true = [x.double().requires_grad_() for x in arguments]
    outputs = list(function(*mine))[chosen]
    with without_kernels():
        expected = list(function(*true))[chosen]
    assert any("gated_block" in type(result.grad_fn).__module__ or "_" in result.grad_fn.name() for result in outputs)
    for found, right in zip(outputs + gradients(outputs, mine), expected + gradients(expected, true), strict=True):
        assert found.dtype == arguments[0].dtype
        error = (found.cpu().double() - right).abs().max() / right.abs().max()
        assert error < TOLERANCE[found.dtype]


@DEVICES
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_gate(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> None:
    batch, channels, height, width = shape
    compare(lambda x: [gated_block.gate(x)], tensors(dtype, (batch, 2 * channels, height, width)), device)


@DEVICES
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_residual_sum(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> None:
    compare(lambda *x: [gated_block.residual_sum(*x)], tensors(dtype, shape, shape, (shape[1], 1, 1)), device)


@DEVICES
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_residual_norm(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> None:
    channels = shape[1]
    arguments = tensors(dtype, shape, shape, (channels, 1, 1), (channels,), (channels,))
    compare(gated_block.residual_norm, arguments, device)


@DEVICES
@pytest.mark.parametrize("chosen", [slice(None), slice(1, None)], ids=["both", "normed only"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_norm_without_a_branch(dtype: torch.dtype, chosen: slice, device: str) -> None:
    arguments = tensors(dtype, (2, 64, 9, 5), (64,), (64,))
    compare(lambda x, weight, bias: gated_block.residual_norm(x, None, None, weight, bias), arguments, device, chosen)


@DEVICES
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(0, 32, 5, 4), (2, 32, 0, 4), (2, 32, 5, 0)])
def test_an_empty_batch_has_gradients_of_zero(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: str
) -> None:
    x, branch = (tensor.to(device).requires_grad_() for tensor in tensors(dtype, shape, shape))
    scale, weight, bias = (tensor.to(device).requires_grad_() for tensor in tensors(dtype, (32, 1, 1), (32,), (32,)))
    doubled = torch.cat([x, x], dim=1)
    results = [
        gated_block.gate(doubled),
        gated_block.residual_sum(x, branch, scale),
        *gated_block.residual_norm(x, branch, scale, weight, bias),
        gated_block.residual_norm(x, None, None, weight, bias)[1],
    ]
    assert all(result.shape == shape for result in results)
    found = torch.autograd.grad([result.sum() for result in results], [x, branch, scale, weight, bias])
    assert not any(gradient.any() for gradient in found)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_memory_that_is_not_channels_last(dtype: torch.dtype) -> None:
    x = tensors(dtype, (2, 64, 7, 6))[0]
    torch.testing.assert_close(gated_block.gate(x.contiguous()), gated_block.gate(x), rtol=0, atol=0)


def test_the_result_does_not_depend_on_the_threads() -> None:
    total, branch, flow = tensors(torch.bfloat16, *[(9000, 32)] * 3)
    scale, weight = tensors(torch.bfloat16, (32,), (32,))
    before = torch.get_num_threads()
    outputs = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            outputs.append(OPERATORS.residual_norm_gradient(total, branch, scale, weight, flow, flow))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*outputs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.gpu
def test_on_a_gpu_a_gradient_is_the_same_each_time() -> None:
    arguments = [x.cuda() for x in tensors(torch.bfloat16, *[(90000, 48)] * 4)]
    total, branch, *flows = arguments
    scale, weight = (x.cuda() for x in tensors(torch.bfloat16, (48,), (48,)))
    one, other = (OPERATORS.residual_norm_gradient(total, branch, scale, weight, *flows) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
def test_on_a_gpu_pixels_begin_at_16_bytes() -> None:
    with pytest.raises(ValueError, match="x must begin at a multiple of 16 bytes"):
        OPERATORS.gate(torch.zeros(65, device="cuda")[1:].view(1, 64))


def test_what_is_not_finite_stays_so() -> None:
    x = torch.ones(1, 32)
    x[0, 3], x[0, 4] = float("nan"), float("inf")
    outputs = OPERATORS.gate(torch.cat([x, torch.ones(1, 32)], dim=1).bfloat16())[0]
    assert outputs[3].isnan()
    assert outputs[4].isposinf()
    assert outputs[:3].eq(1).all()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: OPERATORS.gate(torch.zeros(4, 24)), "x must have 16 to 1024 channels, a multiple of 16, not 12"),
        (lambda: OPERATORS.gate(torch.zeros(4, 64).double()), "x must be float32 or bfloat16"),
        (lambda: OPERATORS.gate(torch.zeros(64, 4).t()), "x must be without gaps"),
        (
            lambda: OPERATORS.gate_gradient(torch.zeros(4, 64), torch.zeros(3, 32)),
            "gradient must have the shape",
        ),
        (
            lambda: OPERATORS.residual_norm(torch.zeros(4, 32), torch.zeros(4, 32), None, None, None),
            "branch and scale belong together",
        ),
        (
            lambda: OPERATORS.residual_norm(torch.zeros(4, 32), None, None, None, None),
            "branch and weight must not both",
        ),
        (
            lambda: OPERATORS.residual_norm(
                torch.zeros(4, 32), None, None, torch.zeros(32).bfloat16(), torch.zeros(32)
            ),
            "weight must have the dtype of x",
        ),
    ],
)
def test_wrong_arguments_are_named(call, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()
