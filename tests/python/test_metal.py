"""The paths that Apple's GPU takes, on stand-ins for it; nothing here has run on a Mac."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Shot, random_model
from copycat import ops
from copycat.data import devices
from copycat.inference.model import Model
from copycat.model import cat
from copycat.model.network import ROWS, Network
from copycat.settings.tables import Settings
from copycat.training import member, metal
from copycat.training.start import Result
from copycat.training.step import Learner
from torch.utils._python_dispatch import TorchDispatchMode

Train = Callable[..., Result]
CPU, METAL = torch.device("cpu"), torch.device("mps")


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The CPU as a device without kernels; returns the number of copies of crops to it."""
    monkeypatch.setattr(ops, "runs_on", lambda device: False)
    copies: list[int] = []
    gather = Learner._gather_on_host

    def counted(self: Learner, stage: Any, step: int) -> None:
        gather(self, stage, step)
        copies.append(len(stage.buffers))

    monkeypatch.setattr(Learner, "_gather_on_host", counted)
    return copies


def test_a_device_without_kernels_learns_from_crops_of_the_host(
    train: Train, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    plain = train(run_name="plain", use_gpu_if_available=False, image_interval=3)
    copies = request.getfixturevalue("no_kernels")
    other = train(run_name="other", use_gpu_if_available=False, image_interval=3)
    assert len(copies) == 6
    weights = [cat.load(result.checkpoint)[1] for result in (plain, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert len(list(Path(other.checkpoint).parent.glob("other_*.png"))) >= 2


def test_a_clean_plate_is_cut_by_the_host_too(no_kernels: list[int]) -> None:
    from test_captured_step import assert_same, data, learn, new_learner, with_plate

    on = with_plate(data())
    there = new_learner(plate_size=(48, 64))
    losses = learn(there, on, range(3))
    stage = there._stage_of(on, None)
    assert [buffer[3] is not None for buffer in stage.buffers] == [True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "runs_on", lambda device: True)
        here = new_learner(plate_size=(48, 64))
        assert torch.equal(losses, learn(here, on, range(3)))
    assert_same(there, here)


def test_a_picture_is_rendered_with_the_kernels_of_the_host(
    tmp_path: Path, shot: Shot, monkeypatch: pytest.MonkeyPatch, tiny: None
) -> None:
    model = Model(random_model(tmp_path / "model.cat"), CPU)
    picture = np.random.default_rng(1).random((40, 56, 3), dtype=np.float32)
    here = model(picture)
    monkeypatch.setattr(ops, "runs_on", lambda device: False)
    assert np.array_equal(model(picture), here)


class _Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.names.add(str(operator))
        return operator(*arguments, **(named or {}))


def test_the_network_asks_for_no_kernel_of_ours_there() -> None:
    network = Network(ROWS["Small"], 3, (0, 1, 2)).to("meta")
    with _Names() as used:
        network(torch.empty((2, 3, 32, 32), device="meta"), None).sum().backward()
    assert any("convolution" in name for name in used.names)
    assert not [name for name in used.names if name.startswith("copycat")]


def test_metal_has_no_kernels_and_trains_in_float32() -> None:
    assert (ops.runs_on(CPU), ops.runs_on(torch.device("cuda", 0)), ops.runs_on(METAL)) == (True, True, False)
    assert devices.training_dtype(METAL) == torch.float32
    assert devices.device_name(METAL) == "Apple GPU"
    assert devices.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tiny: None) -> Callable[..., None]:
    """Sets what the GPU's steps take compared with the CPU's, and what becomes of its gradient."""
    real = metal.learn

    def set_up(
        seconds: float = 0.5, change: Callable[[torch.Tensor], torch.Tensor] = lambda gradient: gradient
    ) -> None:
        calls: list[torch.device] = []

        def learn(
            device: torch.device, dtype: torch.dtype, model_size: str
        ) -> tuple[torch.Tensor, torch.Tensor, float]:
            gradient, losses, _ = real(CPU, dtype, model_size)
            calls.append(device)
            return (change(gradient), losses, seconds) if len(calls) == 1 else (gradient, losses, 1.0)

        monkeypatch.setattr(metal, "learn", learn)

    return set_up


def test_it_trains_where_it_is_right_and_faster(measured: Callable[..., None]) -> None:
    measured()
    assert metal.choose("Small") == (METAL, "")


def test_it_does_not_where_the_cpu_is_faster(measured: Callable[..., None]) -> None:
    measured(seconds=1.5)
    assert metal.choose("Small") == (CPU, "the CPU trains faster than the GPU (1.00 s for 1.50 s); using the CPU")


def test_it_does_not_where_gradients_are_wrong(measured: Callable[..., None]) -> None:
    measured(change=lambda gradient: gradient * 1.05)
    assert metal.choose("Small") == (
        CPU,
        "the GPU computes other gradients than the CPU (by 5.0%); using the CPU",
    )
    measured(change=lambda gradient: gradient * float("nan"))
    assert metal.choose("Small")[0] == CPU


def test_it_does_not_where_an_operator_is_missing(monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    def missing(*arguments: object) -> None:
        raise NotImplementedError("The operator 'aten::x' is not implemented for the MPS device.\nmore")

    monkeypatch.setattr(metal, "learn", missing)
    device, warning = metal.choose("Small")
    assert device == CPU
    assert warning == (
        "the GPU cannot train (The operator 'aten::x' is not implemented for the MPS device.); using the CPU"
    )


def test_the_steps_of_the_comparison_learn(tiny: None) -> None:
    clock = iter([10.0, 12.5])
    gradient, losses, seconds = metal.learn(CPU, torch.float32, "Small", lambda: next(clock))
    assert seconds == 2.5
    assert losses[-1] < losses[0]
    again = metal.learn(CPU, torch.float32, "Small")
    assert torch.equal(again[0], gradient)
    assert torch.equal(again[1], losses)
    assert float((gradient != 0).float().mean()) > 0.8  # the others lie between weights


@pytest.mark.parametrize(("use_gpu", "chosen"), [(True, METAL), (False, CPU)])
def test_a_training_asks_for_it(use_gpu: bool, chosen: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(metal, "choose", lambda size: (METAL, f"for {size}"))
    task: Any = SimpleNamespace(settings=Settings(model_size="Small", use_gpu_if_available=use_gpu))
    process = member.Process(task, None, print, print)
    assert process.device == chosen
    assert process.warning == ("for Small" if use_gpu else "")
