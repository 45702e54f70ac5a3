"""Candidates of a faster training step: each is the product's step, is put back, and may fail alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from copycat.model import cat, network
from copycat.training import graph, optimiser
from copycat.training import step as training_step
from copycat.training.graph import CapturedStep
from copycat.training.optimiser import orthogonal
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_cuda import StandInCuda
from torch import Tensor

from benchmarks import record
from benchmarks.bench_training import step_arithmetic, synthetic
from benchmarks.gpu_profile import Profile
from benchmarks.step_candidates import __main__ as step_candidates
from benchmarks.step_candidates import layers, muon
from benchmarks.step_candidates.__main__ import Case, Measured, Row, measure, prepare, row
from benchmarks.step_candidates.candidates import CANDIDATES, PRODUCT, Candidate, together

CPU = torch.device("cpu")
CASE = Case("Small", 32, 2, synthetic(CPU), CPU, float32=True)


def anywhere(candidate: Candidate) -> Candidate:
    """The same on a CPU without Triton."""
    eager = {"compiled loss": layers.compile_loss, "compiled network": layers.compile_network}
    change = partial(eager[candidate.name], backend="eager") if candidate.name in eager else candidate.change
    return replace(candidate, change=change, obstacle=lambda device: "")


ALL = [anywhere(candidate) for candidate in CANDIDATES]
EQUAL = [candidate for candidate in ALL if candidate.equal]
STANDARD = [candidate for candidate in EQUAL if candidate.standard]
EAGER = [candidate for candidate in EQUAL if not candidate.name.startswith("compiled")]
NAMES = [candidate.name for candidate in ALL]


def state() -> list[object]:
    """What candidates patch."""
    return [
        optimiser.orthogonal,
        network._cells,
        network.conv3x3,
        cat.ModelHeader.network,
        dict(network.ROWS),
        torch.backends.cudnn.benchmark,
        training_step.training_dtype,
    ]


@pytest.fixture(autouse=True)
def put_back(one_thread: None) -> Iterator[None]:
    before = state()
    yield
    assert state() == before


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch.compile looks at it
@pytest.mark.parametrize("candidate", [*EQUAL, together("all", STANDARD)], ids=lambda candidate: candidate.name)
def test_a_candidate_makes_the_product_s_steps(candidate: Candidate) -> None:
    found = row(prepare(candidate, CASE), prepare(PRODUCT, CASE), CASE, None)
    assert found.error == ""
    assert found.equal, found


def test_candidates_make_the_product_s_steps_when_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = StandInCuda()
    monkeypatch.setattr(graph, "recorder_for", lambda device: CapturedStep(device, cuda))
    found = row(prepare(together("all", EAGER), CASE), prepare(PRODUCT, CASE), CASE, None)
    assert (found.error, found.equal) == ("", True), found
    assert cuda.recordings == 2


@pytest.mark.parametrize("name", ["no biases", "64 channels"])
def test_a_limit_makes_steps_of_its_own(name: str) -> None:
    made = prepare(ALL[NAMES.index(name)], CASE)
    assert made.error == ""
    assert made.losses is not None
    assert torch.isfinite(made.losses).all()
    assert made.network is not None
    assert made.network.width == (64 if name == "64 channels" else 32)
    found = row(made, prepare(PRODUCT, CASE), CASE, None)
    assert found.equal is None


def test_a_slightly_other_step_is_no_equal() -> None:
    @contextmanager
    def larger() -> Iterator[None]:
        before, optimiser.STEP_SIZE = optimiser.STEP_SIZE, 1.001 * optimiser.STEP_SIZE
        yield
        optimiser.STEP_SIZE = before

    found = row(prepare(Candidate("larger", "", larger), CASE), prepare(PRODUCT, CASE), CASE, None)
    assert found.equal is False


def broken(*_: Any) -> None:
    raise ValueError("this one\nis broken")


@contextmanager
def broken_later() -> Iterator[None]:
    """Fails in the second round: entered once for the first steps, then for each round."""
    broken_later_entered.append(1)
    if len(broken_later_entered) == 3:
        broken()
    yield


broken_later_entered: list[int] = []


def test_a_candidate_that_fails_holds_up_no_other() -> None:
    broken_later_entered.clear()
    candidates = [
        Candidate("at once", "", change=broken),
        Candidate("later", "", broken_later, equal=False),
        Candidate("elsewhere", "", obstacle=lambda device: "not here"),
        EQUAL[2],
        Candidate("unrecorded", "", change=lambda learner: setattr(learner, "learn", warns)),
    ]
    written: list[int] = []
    rows = {found.candidate: found for found in measure(CASE, candidates, 3, 1, lambda all_: written.append(len(all_)))}
    assert rows["at once"].error == "ValueError: this one"
    assert rows["later"].error == "ValueError: this one"
    assert rows["later"].milliseconds  # of its first round
    assert rows["elsewhere"].error == "left out: not here"
    assert rows["unrecorded"].error == "RuntimeError: not recorded"
    assert rows["the product"].ratio == 1
    assert rows[EQUAL[2].name].verdict
    assert not rows[EQUAL[2].name].error
    assert written[-1] == len(rows)
    assert all(step_candidates.line(found) for found in rows.values())


def warns(data: object, step: int, rate: float, warn: Callable[[str], None]) -> None:
    warn("not recorded")


def test_a_row_says_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """On a GPU; here its profile is a stand-in."""
    one, product = (Measured(candidate, milliseconds={0: 2.0, 1: 2.0}) for candidate in (ALL[0], PRODUCT))
    one.network, one.profile = network.ROWS["Small"], Profile(0.9, 250.0, Counter(convolution=1.5, sum=0.5))
    found = row(one, product, CASE, 1e12)
    assert found.of_matrix_rate == pytest.approx(step_arithmetic("Small", 32, 2) / 2e-3 / 1e12)
    assert (found.operations, found.top_ten, found.kernels) == (250, 1, {"convolution": 1.5, "sum": 0.5})
    assert one.profile.share_of(1) == 0.75
    step_candidates.report([row(product, product, CASE, None), found])
    out = capsys.readouterr().out
    assert "250     100%" in out
    assert "1.5000 ms  convolution" in out


def test_the_product_must_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser, "orthogonal", broken)
    with pytest.raises(RuntimeError, match="the product's step: ValueError: this one"):
        measure(CASE, [], 1, 1, lambda rows: None)
    monkeypatch.undo()


def test_what_is_faster_takes_turns_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a stand-in: a candidate's name says how long its steps take."""
    running: list[str] = []

    def candidate(name: str) -> Candidate:
        @contextmanager
        def entered() -> Iterator[None]:
            running.append(name)
            yield
            running.remove(name)

        return Candidate(name, "", entered)

    def clock(step: Callable[[], object], steps: int, device: torch.device) -> tuple[float, float]:
        milliseconds = 10.0
        for name in running:
            milliseconds *= float(name)
        return milliseconds, milliseconds

    monkeypatch.setattr(step_candidates, "timed", clock)
    rows = measure(CASE, [candidate(name) for name in ("0.5", "1.3", "0.4", "1.001")], 2, 1, lambda rows: None)
    assert [(found.candidate, found.verdict) for found in rows] == [
        ("the product", "the same"),
        ("0.5", "faster"),
        ("1.3", "slower"),
        ("0.4", "faster"),
        ("1.001", "the same"),
        ("all together", "faster"),
        ("the faster together", "faster"),
    ]
    assert rows[-1].milliseconds == pytest.approx(2)
    assert rows[-1].ratio == pytest.approx(5)


def test_the_command_writes_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--device", "cpu", "--sizes", "Small", "--crop", "32", "--batch", "1", "--rounds", "1", "--only"]
    monkeypatch.setattr(
        sys, "argv", ["step_candidates", *words, "the product again", "--json", str(tmp_path / "rows.json")]
    )
    step_candidates.main()
    result = record.read(tmp_path / "rows.json")
    assert [found["candidate"] for found in result.rows] == ["the product", "the product again"]
    assert set(result.rows[0]) == set(Row.__dataclass_fields__)
    assert "the product again" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["step_candidates", "--list"])
    step_candidates.main()
    assert [line[:20].strip() for line in capsys.readouterr().out.splitlines()] == NAMES


# -- the parts --------------------------------------------------------------------------------------------------------

SHAPES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 64), st.integers(0, 100)).map(lambda s: (s[0], s[1], s[1] + s[2])),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=30)
@given(shapes=SHAPES, seed=st.integers(0, 1000), version=st.sampled_from((muon.one_series, muon.one_batch)))
def test_padding_with_zeros_changes_no_orthogonal_matrix(
    shapes: list[tuple[int, int, int]], seed: int, version: Callable[..., list[Tensor]]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    matrices[0][0] = 0
    expected = orthogonal(matrices, torch.tensor(0.5))
    for found, other, shape in zip(version(matrices, torch.tensor(0.5)), expected, shapes, strict=True):
        assert found.shape == shape
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", [muon.one_series, muon.one_batch])
def test_padding_changes_bfloat16_by_its_rounding_at_most(version: Callable[..., list[Tensor]]) -> None:
    matrices = [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in [(2, 48, 432), (3, 64, 96)]]
    expected = orthogonal(matrices, torch.tensor(1.0), torch.bfloat16)
    for found, other in zip(version(matrices, torch.tensor(1.0), torch.bfloat16), expected, strict=True):
        torch.testing.assert_close(found.float(), other.float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("channels", [3, 4, 1])
def test_wide_cells_are_cells_and_zeros(channels: int) -> None:
    x = torch.rand(2, channels, 8, 12).contiguous(memory_format=torch.channels_last)
    cells, wide = network._cells(x, torch.bfloat16), layers.wide_cells(x, torch.bfloat16)
    assert wide.shape[1] == 16
    assert wide.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(wide[:, : 4 * channels], cells)
    assert not wide[:, 4 * channels :].any()


def test_biases_as_products_have_torch_s_gradients() -> None:
    layer = torch.nn.Conv2d(5, 7, 1).double()
    block = torch.nn.Conv2d(5, 7, 3, padding=1).double()
    for convolution, function, own in (
        (layer, layers._pointwise, layer.forward),
        (block, layers.spatial, block.forward),
    ):
        x = torch.rand(2, 5, 4, 6, dtype=torch.float64, requires_grad=True)
        flow = torch.rand(2, 7, 4, 6, dtype=torch.float64)
        wanted = [x, convolution.weight, convolution.bias]
        found, expected = function(convolution, x), own(x)
        torch.testing.assert_close(found, expected)
        for mine, theirs in zip(
            torch.autograd.grad(found, wanted, flow), torch.autograd.grad(expected, wanted, flow), strict=True
        ):
            torch.testing.assert_close(mine, theirs)
