"""The driver of all that needs a GPU: parts end, fail and hang on their own, and the numbers become targets."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.on_gpu import __main__ as run_on_gpu
from benchmarks.on_gpu.parts import PARTS, Part, peer_parts
from benchmarks.on_gpu.targets import PASSES, TARGETS, targets

ROOT = Path(run_on_gpu.__file__).parents[2]


def part(name: str, code: str, seconds: float = 30, **more: Any) -> Part:
    return Part(name, seconds, "", f"-c {shlex.quote(code)}", f"what {name} shows", **more)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(parts: tuple[Part, ...], *words: str) -> int:
        monkeypatch.setattr(run_on_gpu, "PARTS", parts)
        monkeypatch.setattr(sys, "argv", ["run_on_gpu", "--out", str(tmp_path), "--dry-run", *words])
        with pytest.raises(SystemExit) as ended:
            run_on_gpu.main()
        return int(ended.value.code or 0)

    return call


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


RESULT = """
import json, pathlib
rows = [{"batch": 5, "steps_per_second": 500.0, "gpu_busy": 0.9, "ratio": 3.5}]
pathlib.Path("{out}/training.json").write_text(json.dumps({"rows": rows}))
print("measured")
"""


def test_a_part_that_fails_or_hangs_holds_up_no_other(
    tmp_path: Path, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    parts = (
        part("fails", "print('why'); raise SystemExit(3)"),
        part("hangs", "import time; print('begun', flush=True); time.sleep(100)", seconds=1),
        part("training", RESULT),
        part("lacks", "", modules=("no_such_module_of_anyone",)),
        Part("only-gpu", 9, "false", "", "nothing"),
    )
    assert run(parts) == 1
    found = status(tmp_path)
    assert [found[p.name]["status"] for p in parts] == [
        "failed with status 3",
        "not done after 3 s",  # thrice the limit, as in any dry run
        "passed",
        "not run",
        "not run",
    ]
    assert found["lacks"]["why"] == "missing packages: no_such_module_of_anyone"
    assert found["only-gpu"]["why"] == "nothing to try without a GPU"
    assert (tmp_path / "fails.txt").read_text() == "why\n"
    assert (tmp_path / "hangs.txt").read_text() == "begun\n"
    out = capfd.readouterr().out
    assert "why\n== fails: failed with status 3\n" in out
    assert "failed: fails, hangs; not run: lacks, only-gpu; results in" in out
    table = {row["target"]: row for row in json.loads((tmp_path / "targets.json").read_text())}
    assert table["Medium, crop 256, batch 5: steps/s"]["met"] is True
    assert table["the GPU is busy, share of the time"]["met"] is False
    assert table["times torch.compile's best mode"]["met"] is None
    assert "the GPU is busy, share of the time: 0.9 (target 0.95) MISSED" in (tmp_path / "targets.txt").read_text()


def test_what_a_part_started_ends_with_it(tmp_path: Path, run: Callable[..., int]) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    )
    run((part("hangs", code, seconds=2),))
    child = Path("/proc") / (tmp_path / "hangs.txt").read_text().strip()
    for _ in range(100):  # a busy machine takes its time to end it
        if not child.exists():
            return
        time.sleep(0.1)
    raise AssertionError((child / "status").read_text())


def test_a_run_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import runpy, sys
from benchmarks.on_gpu import parts
parts.PARTS = (parts.Part("a", 60, "", "sleep 60", ""),)
sys.argv = ["on_gpu", "--out", {str(tmp_path)!r}, "--dry-run"]
runpy.run_module("benchmarks.on_gpu.__main__", run_name="__main__")
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (children := psutil.Process(process.pid).children()):
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)


def test_some_parts_add_to_an_earlier_run(tmp_path: Path, run: Callable[..., int]) -> None:
    parts = (part("a", ""), part("b", "raise SystemExit(1)"))
    assert run(parts, "--only", "b") == 1
    assert list(status(tmp_path)) == ["b"]
    assert run(parts, "--only", "a") == 0
    assert [status(tmp_path)[name]["status"] for name in "ba"] == ["failed with status 1", "passed"]
    assert run(parts, "--only", "c") == 2


def test_all_parts_together_end_in_time(tmp_path: Path, run: Callable[..., int]) -> None:
    parts = (part("long", "import time; time.sleep(60)"), part("late", ""))
    assert run(parts, "--minutes", "0.04") == 1
    found = status(tmp_path)
    assert found["long"]["status"] == "not done after 2 s"
    assert (found["late"]["status"], found["late"]["why"]) == ("not run", "the time is over")


def test_nothing_is_measured_without_a_build(tmp_path: Path) -> None:
    build, training = (
        Part(name, 30, f"-c 'raise SystemExit({name == 'build':d})'", "", "", gpus=0) for name in ("build", "training")
    )
    found = run_on_gpu.run_all((build, training), tmp_path, 60, dry=False)
    assert found["build"]["status"] == "failed with status 1"
    assert (found["training"]["status"], found["training"]["why"]) == ("not run", "copycat is not built")


def test_nothing_that_ran_is_no_success(run: Callable[..., int]) -> None:
    assert run((Part("only-gpu", 9, "true", "", "nothing"),)) == 1


def test_every_target_has_its_part_and_a_number_can_meet_it(tmp_path: Path) -> None:
    names = [p.name for p in (*PARTS, *peer_parts(tmp_path, tmp_path))]
    assert len(names) == len(set(names))
    assert {target.part for target in TARGETS} | set(PASSES) <= set(names)
    step = {"steps_per_second": 400, "of_matrix_rate": 0.3, "gpu_busy": 0.96, "ratio": 3, "of_compiled": 1.2}
    kernels = ["sample_crops 512 x 256, half to bf16", "downsize 2, UHD half", "normalize, UHD", "statistics, UHD"]
    results: dict[str, list[dict[str, Any]]] = {
        "training": [step | {"batch": batch} for batch in (5, 16)],
        "compiled": [step],
        "kernels": [{"name": name, "of_copy": 0.81} for name in kernels],
        "inference": [
            {"resolution": "UHD", "half": True, "tile": 0, "seconds": 0.02},
            {"resolution": "UHD", "half": True, "shared": True, "seconds": 0.021, "compute": 0.02},
            {"resolution": "UHD", "half": True, "sequence": True, "seconds": 0.1, "compute": 0.02, "files": 0.095},
        ],
    }
    for task in ("t1", "t2", "paintout"):
        for tool, psnr in (("copycat", 40.0), ("emlcpfx", 30.0), ("emlcpfx-paintout", 30.0), ("tpc2233", 20.0)):
            results[f"shotbench-{task}-{tool}-120s-wall"] = [{"run": "mean", "psnr": psnr, "inside": psnr}]
    for name, rows in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows}))
    passed = {name: {"status": "passed"} for name in names}
    assert [row["target"] for row in targets(tmp_path, passed) if row["met"] is not True] == []
    assert all(row["met"] in (None, False) for row in targets(tmp_path / "none", {"tests": {"status": "failed"}}))


def test_a_part_s_result_is_where_its_targets_look(tmp_path: Path) -> None:
    for one in PARTS:
        for words in filter(None, (one.words, one.dry)):
            if "--json" in words:
                assert f"{{out}}/{one.name}.json" in words
            module = shlex.split(words)
            if module[0] == "-m" and module[1].startswith("benchmarks."):
                assert importlib.util.find_spec(module[1]), module[1]


def test_the_script_makes_its_environment_and_says_what_is_missing(tmp_path: Path) -> None:
    """On a machine without a GPU; with one, it would begin to build."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    command = ["bash", str(ROOT / "benchmarks/run_on_gpu.sh"), "--out", str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHON": sys.executable}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert status(tmp_path)["device"]["why"] == "nvidia-smi is not on the path"
    assert status(tmp_path)["training"]["why"] == "copycat is not built"
    assert len(status(tmp_path)) == len(PARTS)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_parts_run_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_on_gpu", "--out", str(tmp_path), "--dry-run"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit) as ended:
        run_on_gpu.main()
    assert ended.value.code == 0
    tried = [one.name for one in PARTS if one.dry]
    assert [status(tmp_path)[name]["status"] for name in tried] == ["passed"] * len(tried)
    for name in tried:
        if name != "tests":
            assert json.loads((tmp_path / f"{name}.json").read_text())["rows"]
