"""Muon and AdamW over a network's weights."""

from __future__ import annotations

import math

import pytest
import torch
from copycat.model.network import ROWS, Network
from copycat.training import optimiser
from copycat.training.optimiser import Optimiser, orthogonal
from copycat.training.weights import FlatParameters
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

RATE = torch.tensor(2e-3)
LOSS = torch.tensor(0.1)


def network() -> Network:
    torch.manual_seed(3)
    return Network(ROWS["Small"], 3, (0, 1, 2))


def prepared(net: nn.Module) -> tuple[FlatParameters, Optimiser]:
    parameters = FlatParameters(net, torch.device("cpu"), torch.float32)
    return parameters, Optimiser(parameters)


def give_gradient(parameters: FlatParameters, seed: int, size: float = 1e-3) -> None:
    parameters.gradient.normal_(std=size, generator=torch.Generator().manual_seed(seed))


def one(matrix: Tensor, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return orthogonal([matrix], torch.tensor(scale), dtype)[0].float()


@settings(deadline=None)
@given(
    blocks=st.integers(1, 4),
    rows=st.integers(1, 64),
    more=st.integers(0, 200),
    size=st.floats(1e-6, 1e3),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from((torch.float32, torch.bfloat16)),
)
def test_singular_values_become_about_equal(
    blocks: int, rows: int, more: int, size: float, seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    columns = 2 * rows + more  # so that no direction is nearly missing
    matrix = size * torch.randn(blocks, rows, columns, generator=generator)
    orthogonalised = one(matrix, dtype=dtype)
    values = torch.linalg.svdvals(orthogonalised) / math.sqrt(columns)
    assert values.min() > 0.4
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    factor = left @ right * math.sqrt(columns)
    likeness = (orthogonalised * factor).sum((1, 2)) / (orthogonalised.norm(dim=(1, 2)) * factor.norm(dim=(1, 2)))
    assert likeness.min() > 0.95  # two values at the ends of what the iteration leaves, 0.65 and 1.2: 0.958


def test_weak_directions_grow_and_keep_their_order() -> None:
    values = torch.logspace(-3, 0, 16)
    left, right = (torch.linalg.qr(torch.randn(n, 16, generator=torch.Generator().manual_seed(n)))[0] for n in (16, 40))
    orthogonalised = one((left * values @ right.T)[None])[0] / math.sqrt(40)
    found = (left.T @ orthogonalised @ right).diagonal()
    assert torch.all(found > 10 * values.clamp(max=0.05))  # 40 times where they are small
    assert torch.all(found < 1.3)
    torch.testing.assert_close(left * found @ right.T, orthogonalised, rtol=0, atol=1e-4)


def test_each_block_is_made_orthogonal_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 8, 24), (1, 16, 16), (3, 8, 24), (1, 8, 40)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    orthogonalised = orthogonal(matrices, torch.tensor(0.5))
    assert [m.shape for m in orthogonalised] == [m.shape for m in matrices]
    for matrix, result in zip(matrices, orthogonalised, strict=True):
        for block, expected in zip(matrix, result, strict=True):
            torch.testing.assert_close(one(block[None], 0.5)[0], expected)


def test_no_gradient_moves_no_matrix() -> None:
    assert one(torch.zeros(2, 8, 16)).abs().max() == 0


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((1, 64, 288), (1, 64, 288)),
        ((2, 512, 2304), (16, 64, 2304)),
        ((1, 96, 432), (2, 48, 432)),
        ((3, 128, 64), (6, 64, 64)),
        ((1, 32, 16), (2, 16, 16)),  # never more rows than columns
        ((1, 70, 66), (2, 35, 66)),
        ((1, 67, 70), (67, 1, 70)),
    ],
)
def test_blocks(shape: tuple[int, ...], blocks: tuple[int, int, int]) -> None:
    assert optimiser._blocks(shape) == blocks


def test_weights_of_one_shape_are_one_stack() -> None:
    parameters, _ = prepared(network())
    parts = parameters.by_name(torch.arange(parameters.weights.numel()))
    names = {name for name, part in parts.items() if part.ndim == 4} - {"middle.0.spatial.weight"}
    rows = [parts[name].permute(0, 2, 3, 1).flatten(1) for name in names]
    found = [matrix for stack in parameters.stacks(torch.arange(parameters.weights.numel()), names) for matrix in stack]

    def first(matrix: Tensor) -> int:
        return int(matrix[0, 0])

    assert len(found) == len(rows)
    for ours, theirs in zip(sorted(found, key=first), sorted(rows, key=first), strict=True):
        assert torch.equal(ours, theirs)
    shapes = {parts[name].shape for name in names}
    assert len(parameters.stacks(parameters.weights, names)) <= len(shapes) + 1  # one is cut where a name is left out


@pytest.mark.parametrize("size", list(ROWS))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_convolutions_weights_lie_as_tensor_cores_want_them(size: str, channels: int) -> None:
    net = Network(ROWS[size], channels, tuple(range(channels)))
    FlatParameters(net, torch.device("cpu"), torch.bfloat16)
    places = [part.data_ptr() % 16 for part in net.parameters() if part.ndim == 4]
    assert places
    assert not any(places)


def test_all_but_the_inner_convolutions_is_left_to_adamw() -> None:
    net, plain = network(), network()
    parameters, ours = prepared(net)
    theirs = torch.optim.AdamW(plain.parameters(), lr=float(RATE), betas=optimiser.BETAS, weight_decay=0.01)
    for seed in range(3):
        give_gradient(parameters, seed)
        gradients = parameters.by_name(parameters.gradient)
        for name, parameter in plain.named_parameters():
            parameter.grad = gradients[name].clone()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        theirs.step()
        ours.step(RATE, LOSS)
    weights = parameters.by_name(parameters.weights)
    alike = {
        name for name, parameter in plain.named_parameters() if torch.allclose(weights[name], parameter, atol=1e-7)
    }
    inner = {name for name, part in weights.items() if part.ndim == 4} - {"head.weight", "tail.weight"}
    assert alike == set(weights) - inner


def test_a_matrix_moves_by_its_momentum_made_orthogonal() -> None:
    parameters, ours = prepared(network())
    name = "middle.0.spatial.weight"
    before = parameters.by_name(parameters.weights)[name].clone()
    momentum = torch.zeros_like(before)
    for seed in range(3):
        give_gradient(parameters, seed)
        gradient = parameters.by_name(parameters.gradient)[name] * min(1.0, 1.0 / float(parameters.gradient.norm()))
        momentum = optimiser.MOMENTUM * momentum + (1 - optimiser.MOMENTUM) * gradient
        ahead = optimiser.MOMENTUM * momentum + (1 - optimiser.MOMENTUM) * gradient  # Nesterov's
        ours.step(RATE, LOSS)
        rows = ahead.permute(0, 2, 3, 1)
        blocks = rows.reshape(-1, optimiser.BLOCK_ROWS, rows[0].numel())
        moved = one(blocks, optimiser.STEP_SIZE * float(RATE)).reshape(rows.shape).permute(0, 3, 1, 2)
        before = before - moved
        torch.testing.assert_close(parameters.by_name(parameters.weights)[name], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight(where: str) -> None:
    parameters, ours = prepared(network())
    give_gradient(parameters, 0)
    ours.step(RATE, LOSS)
    before = parameters.weights.clone()
    give_gradient(parameters, 1)
    if where == "gradient":
        parameters.gradient[1234] = math.inf
    ours.step(RATE, torch.tensor(math.nan) if where == "loss" else LOSS)
    assert torch.equal(parameters.weights, before)
    assert set(ours.updates.tolist()) == {1.0}
    give_gradient(parameters, 2)
    ours.step(RATE, LOSS)
    assert torch.isfinite(parameters.weights).all()
    assert not torch.equal(parameters.weights, before)
    assert set(ours.updates.tolist()) == {2.0}


def test_a_restored_optimiser_goes_on_alike() -> None:
    parameters, ours = prepared(network())
    give_gradient(parameters, 0)
    ours.step(RATE, LOSS)
    other_parameters, other = prepared(network())
    other_parameters.weights.copy_(parameters.weights)
    other.restore(1, {name: vector.clone() for name, vector in ours.state().items()})
    for each in (parameters, other_parameters):
        give_gradient(each, 1)
    ours.step(RATE, LOSS)
    other.step(RATE, LOSS)
    assert torch.equal(parameters.weights, other_parameters.weights)
