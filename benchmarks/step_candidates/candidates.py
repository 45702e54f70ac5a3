"""The candidates: small changes of the product's step, made for as long as they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from copycat.model import network
from copycat.model.network import ROWS, Row
from copycat.training import optimiser
from copycat.training.step import Learner
from torch.utils._triton import has_triton

from benchmarks.step_candidates import layers, muon

_WIDTH = 64  # channels of a tile of a matrix product


@dataclass(frozen=True)
class Candidate:
    """A change.

    Attributes:
        name: of its row.
        shows: what it changes.
        patched: a context in which its learner is made and makes its steps.
        change: what is changed in a new learner.
        equal: whether its losses must be those of the product.
        obstacle: why it cannot run on a device; empty if it can.
        standard: whether it runs unless named.
    """

    name: str
    shows: str
    patched: Callable[[], AbstractContextManager[object]] = nullcontext
    change: Callable[[Learner], None] = lambda learner: None
    equal: bool = True
    obstacle: Callable[[torch.device], str] = lambda device: ""
    standard: bool = True


def _needs_cudnn(device: torch.device) -> str:
    return "" if device.type == "cuda" else "only a GPU has such a choice"


def _needs_torch_s_convolutions(device: torch.device) -> str:
    return "" if device.type == "cuda" else "the CPU's own 3x3 convolutions always have a bias"


def _needs_triton(device: torch.device) -> str:
    return "" if device.type == "cuda" and has_triton() else "torch.compile needs Triton on a GPU"


@contextmanager
def _tried_by_cudnn() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _wide(row: Row) -> Row:
    width, widest = (-(-channels // _WIDTH) * _WIDTH for channels in (row.width, row.widest))
    return replace(row, width=width, widest=widest)


def _wide_rows() -> AbstractContextManager[object]:
    return patch.dict(ROWS, {name: _wide(row) for name, row in ROWS.items()})


PRODUCT = Candidate("the product", "the step as it is")
CANDIDATES = (
    Candidate("the product again", "the noise of this comparison"),
    Candidate(
        "cuDNN's choice",
        "cudnn.benchmark in the ordinary steps and the recording",
        _tried_by_cudnn,
        obstacle=_needs_cudnn,
    ),
    Candidate(
        "Muon, one series",
        "all products padded to one size, one series of rounds",
        lambda: patch.object(optimiser, "orthogonal", muon.one_series),
    ),
    Candidate(
        "Muon, one batch",
        "all matrices gathered into one padded batch",
        lambda: patch.object(optimiser, "orthogonal", muon.one_batch),
    ),
    Candidate(
        "ends of 16 channels",
        "head and tail with spare channels, for tensor cores",
        lambda: patch.object(network, "_cells", layers.wide_cells),
        layers.widen_ends,
    ),
    Candidate(
        "biases as products",
        "1x1 convolutions that add their bias, and products as the biases' gradients",
        lambda: patch.object(network, "conv3x3", layers.spatial),
        layers.biases_as_products,
    ),
    Candidate(
        "compiled loss",
        "last shuffle, residual and loss in one compiled function",
        change=layers.compile_loss,
        obstacle=_needs_triton,
    ),
    Candidate(
        "no biases",
        "the limit of what cheaper biases can gain",
        layers.without_biases,
        equal=False,
        obstacle=_needs_torch_s_convolutions,
    ),
    Candidate("64 channels", "channels in multiples of 64", _wide_rows, equal=False),
    Candidate(
        "compiled network",
        "the whole network compiled, inside the recording",
        change=layers.compile_network,
        obstacle=_needs_triton,
        standard=False,
    ),
)


def together(name: str, candidates: Sequence[Candidate]) -> Candidate:
    """Some candidates at once; where two change the same, the later one counts."""

    @contextmanager
    def patched() -> Iterator[None]:
        with ExitStack() as stack:
            for candidate in candidates:
                stack.enter_context(candidate.patched())
            yield

    def change(learner: Learner) -> None:
        for candidate in candidates:
            candidate.change(learner)

    return Candidate(name, ", ".join(c.name for c in candidates), patched, change)
