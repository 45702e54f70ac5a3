"""Where the banks of a training on a GPU lie: fakes take the place of the GPU and of copies to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from copycat.data.dataset import Dataset
from copycat.settings.tables import Settings
from copycat.training import composites, member
from copycat.training.composites import Composites, with_room
from copycat.training.member import Member
from copycat.training.step import Learner
from test_captured_step import data

GPU = torch.device("cuda", 0)


class Placing:
    """Stands for the memory of a GPU and of its host; notes where data sets are put.

    Attributes:
        gpu, host: bytes that are free.
        refuses: whether the GPU has no memory after all.
        put: "gpu" or "pinned" for each data set that was copied.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bank: str = "auto") -> None:
        self.gpu = self.host = 10**9
        self.refuses = False
        self.put: list[str] = []
        self.warnings: list[str] = []
        self._bank = bank
        placing = self

        def to(self: Dataset, device: torch.device, pinned: bool = False) -> Dataset:
            if placing.refuses and not pinned:
                raise torch.OutOfMemoryError("CUDA out of memory")
            placing.put.append("pinned" if pinned else "gpu")
            return self

        monkeypatch.setattr(Dataset, "to", to)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.gpu, self.gpu))
        monkeypatch.setattr(member, "free_memory", lambda: self.host)
        monkeypatch.setattr(member, "free_cache", lambda device: None)

    def member(self, on: Dataset) -> Member:
        task = SimpleNamespace(settings=Settings(bank=self._bank))
        process = SimpleNamespace(device=GPU, task=task, warn=self.warnings.append, note=self.warnings.append)
        process.order = lambda *names, **arguments: None
        learner = SimpleNamespace(leave_stage=lambda: False, batch=4)
        return Member(cast(Any, process), on, cast(Any, learner))


def size(on: Dataset) -> int:
    return on.input_bank.nbytes + on.target_bank.nbytes


@pytest.mark.parametrize(
    ("bank", "level", "gpu", "host", "put"),
    [
        ("auto", 1, 10**9, 10**9, ["gpu"]),
        ("auto", 1, 0, 10**9, ["pinned"]),
        ("auto", 1, 0, 100_000, []),  # a second copy of the banks would fill the memory
        ("host", 1, 10**9, 10**9, ["pinned"]),
        ("device", 1, 0, 10**9, ["gpu"]),
        ("disk", 1, 10**9, 10**9, []),
        ("disk", 2, 0, 10**9, ["pinned"]),  # a lower level lies in memory
    ],
)
def test_where_banks_go(
    bank: str, level: int, gpu: int, host: int, put: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    placing, on = Placing(monkeypatch, bank), data(level=level)
    placing.gpu, placing.host = gpu, host
    (placed,) = placing.member(on)._on_device(on)
    assert placing.put == put
    assert placed.input_bank is on.input_bank


def test_a_bank_that_auto_has_put_on_disk_is_not_pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Memory may be free again by now, for a while."""
    placing = Placing(monkeypatch)
    placing.gpu = 0
    mapped = np.memmap(tmp_path / "bank", np.float16, "w+", shape=(1,))
    on = dataclasses.replace(data(), banks=cast(Any, SimpleNamespace(input=mapped)))
    placing.member(on)._on_device(on)
    assert placing.put == []


def test_pinned_memory_is_counted_as_torch_rounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on = data(height=44, width=64)  # a little more than a power of two
    taken = sum(1 << (bank.nbytes - 1).bit_length() for bank in (on.input_bank, on.target_bank))
    assert taken > 1.3 * size(on)
    placing = Placing(monkeypatch)
    placing.gpu = 0
    for host, put in ((2 * taken + 2, ["pinned"]), (2 * taken - 2, [])):
        placing.host, placing.put = host, []
        placing.member(on)._on_device(on)
        assert placing.put == put


@pytest.mark.parametrize(
    ("gpu", "host", "put"), [(10**9, 0, ["gpu"] * 2), (0, 10**9, ["pinned"] * 2), (0, 0, []), (None, 0, [])]
)
def test_recent_frames_lie_where_the_others_do(
    gpu: int | None, host: int, put: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kernel cuts the crops of both: it cannot read the one on the GPU and the other in the host's memory."""
    placing, on = Placing(monkeypatch), dataclasses.replace(data(), pairs=cast(Any, tuple(range(4))))
    placing.gpu, placing.host = size(on) if gpu is None else gpu, host  # there is room for the recent ones alone
    trained = placing.member(on)
    trained.emphasise([1], 100)
    trained._trained_on(1)
    assert placing.put == put
    assert trained._current_recent is not None
    assert len(trained._current_recent.input_bank) == 1


@pytest.mark.parametrize("bank", ["auto", "device"])
def test_banks_for_which_the_gpu_has_no_memory_after_all_stay_with_the_host(
    bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing, on = Placing(monkeypatch, bank), data()
    placing.refuses = True
    placing.member(on)._on_device(on)
    assert placing.put == ["pinned"]
    assert placing.warnings == ["memory of the GPU is short: the frames (0.00015 GB) stay in the host's memory"]


def test_plates_that_move_are_read_by_the_host_where_the_gpu_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    placing, on = Placing(monkeypatch), data()
    plates = torch.zeros((len(on.input_bank), 48, 64, 4), dtype=torch.float16)
    on = dataclasses.replace(on, clean_plate=plates, painted=cast(Any, "frames"))
    placing.gpu = int(2.2 * size(on))  # which would hold all but the plates
    (placed,) = placing.member(on)._on_device(on)
    assert placing.put == []
    assert placed.clean_plate is plates
    learner = cast(Any, SimpleNamespace(_device=GPU))
    assert Learner._crops_come_from_host(learner, placed)


def test_composites_wait_for_the_gpu_that_reads_their_banks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be the current one."""
    on = with_room(dataclasses.replace(data(), target_bank=data().target_bank[..., :1].contiguous(), residual=(-1,)))
    on.target_bank.copy_((torch.arange(64) % 16 < 4)[None, None, :, None].expand_as(on.target_bank))
    waited: list[object] = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self, *more: True)
    monkeypatch.setattr(composites.torch.cuda, "synchronize", lambda *device: waited.append(device))
    made = Composites(on, 0, (32, 32), 4)
    before = on.input_bank[len(on.input_bank) // 2 :].clone()
    made.renew(0)
    assert waited == [(on.centres.device,)]
    assert not torch.equal(on.input_bank[len(on.input_bank) // 2 :], before)
    made.renew(0)
    assert len(waited) == 1
