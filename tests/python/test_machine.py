"""Memory and cores as control groups and the affinity leave them, read from files like the system's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest
from copycat import machine
from copycat.data import memory

GIB = 1 << 30
PLENTY = 64 * GIB


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A function that writes the files of control groups, on a machine with 8 cores and 64 GiB free."""

    class Process:
        def cpu_affinity(self) -> list[int]:
            return list(range(8))

    class Memory:
        available = PLENTY

    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path / "fs")

    def write(membership: str, files: dict[str, str]) -> None:
        (tmp_path / "cgroup").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def memory_of(group: str, limit: int, used: int, files: int = 0) -> dict[str, str]:
    return {
        f"{group}/memory.max": f"{limit}\n",
        f"{group}/memory.current": f"{used}\n",
        f"{group}/memory.stat": f"anon {used - files}\ninactive_file {files}\nfile_dirty 0\n",
    }


def test_without_control_groups_the_machine_is_all_there_is(groups) -> None:
    groups("", {})
    assert machine.free_memory() == PLENTY
    assert machine.usable_cores() == 8
    assert machine.core_quota() is None


def test_a_slot_of_a_farm_in_version_2(groups) -> None:
    groups(
        "0::/outer/inner\n",
        memory_of("outer/inner", 6 * GIB, 2 * GIB, GIB) | {"outer/inner/cpu.max": "250000 100000\n"},
    )
    assert machine.free_memory() == 5 * GIB  # what the slot has read of files can be dropped
    assert machine.usable_cores() == 3
    assert machine.core_quota() == 3


def test_limits_of_the_groups_around_count_too(groups) -> None:
    files = memory_of("outer", 8 * GIB, 7 * GIB) | memory_of("outer/inner", 6 * GIB, GIB)
    groups("0::/outer/inner\n", files | {"outer/cpu.max": "200000 100000\n", "outer/inner/cpu.max": "max 100000\n"})
    assert machine.free_memory() == GIB
    assert machine.usable_cores() == 2


def test_memory_high_throttles_before_memory_max_kills(groups) -> None:
    groups("0::/a\n", memory_of("a", 6 * GIB, GIB) | {"a/memory.high": f"{3 * GIB}\n"})
    assert machine.free_memory() == 2 * GIB


def test_no_limit_is_no_limit(groups) -> None:
    groups("0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n", "a/cpu.max": "max 100000\n"})
    assert machine.free_memory() == PLENTY
    assert machine.usable_cores() == 8


def test_a_group_that_is_over_its_limit_has_nothing_free(groups) -> None:
    groups("0::/a\n", memory_of("a", GIB, 2 * GIB))
    assert machine.free_memory() == 0


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_a_slot_of_a_farm_in_version_1(groups, folder: str) -> None:
    groups(
        "5:memory:/slurm/job_7\n4:cpu,cpuacct:/slurm/job_7\n1:name=systemd:/\n",
        {
            "memory/slurm/job_7/memory.limit_in_bytes": f"{4 * GIB}\n",
            "memory/slurm/job_7/memory.usage_in_bytes": f"{3 * GIB}\n",
            "memory/slurm/job_7/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/memory.usage_in_bytes": f"{9 * GIB}\n",
            f"{folder}/slurm/job_7/cpu.cfs_quota_us": "400000\n",
            f"{folder}/slurm/job_7/cpu.cfs_period_us": "100000\n",
            f"{folder}/cpu.cfs_quota_us": "-1\n",
            f"{folder}/cpu.cfs_period_us": "100000\n",
        },
    )
    assert machine.free_memory() == 2 * GIB
    assert machine.usable_cores() == 4


@pytest.mark.parametrize("path", ["/docker/4f2a", "/../../kubepods/pod1"])
def test_in_a_container_the_path_may_be_the_host_s(groups, path: str) -> None:
    groups(f"0::{path}\n", memory_of(".", 2 * GIB, GIB) | {"cpu.max": "50000 100000\n"})
    assert machine.free_memory() == GIB
    assert machine.usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_this_machine() -> None:
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total


def test_openmp_gets_no_more_threads_than_the_quota(groups, monkeypatch: pytest.MonkeyPatch) -> None:
    groups("0::/a\n", {"a/cpu.max": "300000 100000\n"})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    memory.wait_politely()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    memory.wait_politely()
    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize("refused", [True, False], ids=["before 2.35", "2.35"])
def test_a_c_library_that_refuses_to_keep_large_blocks_is_left_alone(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """glibc before 2.35: one option is refused, and the others alone would make large blocks slower."""
    options: list[int] = []

    def mallopt(option: int, value: int) -> int:
        options.append(option)
        return 0 if refused and option == memory._M_MMAP_THRESHOLD and value > 32 << 20 else 1

    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(memory, "_of_glibc", lambda name: mallopt)
    memory.keep_memory()
    assert len(options) == (1 if refused else 3)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_the_c_library_of_this_machine_answers() -> None:
    assert memory._of_glibc("mallopt") is not None
    assert memory._of_glibc("no such function") is None
