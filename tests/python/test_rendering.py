"""What only rendering uses: the network gives the same pixels as in training, in one pass over memory a step."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from copycat import ops
from copycat.model import network as networks
from copycat.model.network import ROWS, Network
from copycat.ops import native
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 4e-2}
FAST = [dtype for dtype in TOLERANCE if ops.conv3x3_is_fast(dtype)]
CASES = [(shape, dtype) for shape in ((1, 3, 80, 112), (2, 3, 37, 50)) for dtype in FAST]
CASES += [((1, 3, 1, 1), torch.float32)]  # in bfloat16 so few numbers would say nothing
needs_a_kernel = pytest.mark.skipif(not FAST, reason="this processor has none of the instructions that it is made of")


def noisy(network: Network, dtype: torch.dtype) -> Network:
    """The network with weights that are nowhere 0, as after a training."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=random)
    return network.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def error(found: Tensor, right: Tensor) -> float:
    return float((found.double() - right.double()).norm() / right.double().norm())


@needs_a_kernel
@pytest.mark.parametrize(("shape", "dtype"), CASES)
@pytest.mark.parametrize("size", ROWS)
def test_a_network_renders_what_it_computes_in_training(size: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    network = noisy(Network(ROWS[size], 3, (0, 1, 2)), dtype)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    trained = network(x).detach()
    with torch.inference_mode(), patch.object(networks, "whole_block", wraps=ops.whole_block) as whole:
        rendered = network(x)
    row = ROWS[size]
    assert whole.call_count == sum(row.down) + row.middle + sum(row.up)
    assert error(rendered, trained) < TOLERANCE[dtype]


@needs_a_kernel
@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from(FAST or [torch.float32]),
    batch=st.integers(0, 2),
    channels_in=st.integers(1, 7).map(lambda n: 16 * n),
    channels=st.integers(1, 7).map(lambda n: 16 * n),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    channels_last=st.booleans(),
)
def test_what_is_enlarged_is_added(
    dtype: torch.dtype,
    batch: int,
    channels_in: int,
    channels: int,
    height: int,
    width: int,
    channels_last: bool,
) -> None:
    random = torch.Generator().manual_seed(7)
    shapes = (
        (batch, channels_in, height, width),
        (4 * channels, channels_in, 1, 1),
        (batch, channels, 2 * height, 2 * width),
    )
    x, weight, skip = (torch.randn(shape, generator=random).to(dtype) for shape in shapes)
    right = skip.double() + F.pixel_shuffle(F.conv2d(x.double(), weight.double()), 2)
    if channels_last:
        skip = skip.contiguous(memory_format=torch.channels_last)
    before = skip.clone()
    found = ops.add_enlarged(x, weight, skip)
    assert found.shape == right.shape
    if batch:
        assert error(found, right) < TOLERANCE[dtype]
        assert torch.equal(skip, found if skip.is_contiguous(memory_format=torch.channels_last) else before)


@needs_a_kernel
def test_nothing_is_only_rendered_while_gradients_or_a_graph_are_wanted() -> None:
    weight, x = torch.zeros(64, 32, 3, 3), torch.zeros(1, 32, 4, 4)
    assert not ops.is_only_rendered(weight, x)
    with torch.no_grad():
        assert ops.is_only_rendered(weight, x)
        assert not ops.is_only_rendered(weight.double(), x.double())
        assert not ops.is_only_rendered(weight, x, x[:, :20])
        with patch.object(native, "is_recording", lambda: True):
            assert not ops.is_only_rendered(weight, x)


def arguments(channels: int = 16, **changes: object) -> dict[str, object]:
    """A call of the native whole_block."""
    half = [torch.zeros(size) for size in ((channels,), (channels,), (), (2 * channels,), (), (channels,), (channels,))]
    half[4] = torch.zeros(channels, 1, 1, channels)
    spatial, pointwise = list(half), list(half)
    spatial[2], pointwise[2] = torch.zeros(2 * channels, 3, 3, channels), torch.zeros(2 * channels, 1, 1, channels)
    picture = torch.zeros(1, 2, 2, channels)
    given = {"x": picture, "spatial": spatial, "pointwise": pointwise, "out": picture.clone(), **changes}
    capsules = {
        name: [native.capsule(one) for one in value] if isinstance(value, list) else native.capsule(value)  # type: ignore[arg-type]
        for name, value in given.items()
    }
    return {**capsules, "threads": 1}


@needs_a_kernel
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": torch.zeros(2, 2, 16)}, "x must have 4 dimensions"),
        ({"out": torch.zeros(1, 2, 2, 32)}, "out"),
        ({"spatial": [torch.zeros(16)]}, "spatial must be 7 tensors, not 1"),
        ({"pointwise": [torch.zeros(3)] * 7}, r"pointwise\[0\]"),
        ({"out": torch.zeros(1, 2, 2, 16, dtype=torch.bfloat16)}, "out"),
    ],
)
def test_a_wrong_argument_is_named(changes: dict[str, object], sentence: str) -> None:
    native.core.whole_block(**arguments())
    with pytest.raises(ValueError, match=sentence):
        native.core.whole_block(**arguments(**changes))
