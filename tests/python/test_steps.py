"""The numbered lines of ``make demo``."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from examples import steps

SCRIPT = Path(steps.__file__)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=60)


def test_a_command_runs_under_its_line() -> None:
    done = call("1/6", "installing torch", "--seconds", "100", "--", sys.executable, "-c", "print('much')")
    assert done.returncode == 0
    assert re.fullmatch(
        r"\[1/6\] installing torch … 1:40 left\n\[1/6\] installing torch … done in 0:0\d\n", done.stdout
    )
    assert done.stderr == ""


def test_a_command_that_fails_is_heard() -> None:
    code = "import sys; print('compiling'); print('no such file', file=sys.stderr); sys.exit(3)"
    done = call("2/6", "compiling", "--", sys.executable, "-c", code)
    assert done.returncode == 3
    assert "[2/6] compiling … failed after 0:0" in done.stdout
    assert {"compiling", "no such file"} <= set(done.stderr.splitlines())


def test_the_line_counts_down_and_follows_what_the_command_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_LINE_SECONDS", 0.05)
    with steps.Step("4/6", "training", 150) as step:
        time.sleep(0.12)
        step.left(30)
        time.sleep(0.12)
        step.left(0)
        time.sleep(0.12)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[4/6] training … 2:30 left"
    assert "[4/6] training … 0:30 left" in lines
    assert lines[-2] == "[4/6] training … almost done"
    assert lines[-1] == "[4/6] training … done in 0:00"


def test_a_compilation_s_time_left_is_from_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / ".ninja_log").write_text("# ninja log v7\n" + "1\t2\t3\ta.o\t4\n" * 5)
    left = steps.Compilation(tmp_path)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert left() is None
    build = tmp_path / "cp311"
    build.mkdir()
    rule = "build {}.o: CXX_COMPILER__copycat_kernels_Release a.cpp\n"
    (build / "build.ninja").write_text("build all: phony\n" + rule.format("a") * 12)
    (build / ".ninja_log").write_text("# ninja log v7\n")
    assert left() is None
    now[0] += 30
    (build / ".ninja_log").write_text("# ninja log v7\n" + "1\t2\t3\ta.o\t4\n" * 4)
    assert left() == pytest.approx(60)


@pytest.mark.filterwarnings("ignore:scipy.misc is deprecated")
def test_the_demo_s_lines_follow_the_training_and_the_render(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from examples import demo

    now = [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    left: list[float] = []

    def run(command: list[str], watch: Callable[[str], None]) -> None:
        assert command[1:] == ["-m", "copycat", "infer", "a b.cat"]
        watch("[Step:812/?] loss 0.012345, 8.10 steps/s, stage 1/2, 0:01:40 left")
        now[0] += 6
        watch("[Frame:3/12] 1003")
        watch("rendering is going well")

    monkeypatch.setattr(demo, "run", run)
    step = steps.Step("5/6", "repairing all 132 frames", 30)
    monkeypatch.setattr(step, "left", left.append)
    demo.copycat(step, "infer", Path("a b.cat"))
    assert left == [100, 18]
    assert capsys.readouterr().out.startswith("      copycat infer 'a b.cat'\n")


def test_a_command_of_the_demo_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from examples import demo

    monkeypatch.setattr(demo.sys, "executable", "/bin/false")
    with pytest.raises(SystemExit):
        demo.copycat(steps.Step("4/6", "training", 1), "train")


def test_make_demo_counts_to_six() -> None:
    root = SCRIPT.parents[1]
    sources = (root / "Makefile").read_text(encoding="utf-8") + (root / "examples/demo.py").read_text(encoding="utf-8")
    assert re.findall(r"\$\(STEP\) (\d)/6|Step\(f\"(\d)/", sources) == [
        *(("1", ""), ("2", "")),
        *(("", number) for number in "3456"),
    ]
    assert re.search(r"^STEPS = 6\b", sources, re.MULTILINE)
