"""ShotBench on pictures of a few pixels, with a small tool instead of a peer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import benchmarks.shotbench
from benchmarks import record
from benchmarks.shotbench import __main__ as shotbench
from benchmarks.shotbench import page
from benchmarks.shotbench.clock import Limit, train
from benchmarks.shotbench.task import Task, matte_scores, prepare
from benchmarks.shotbench.tool import Job, Setup, Tool
from benchmarks.shotbench.tools import TOOLS, Copycat, Nothing, Tunet

TRAINS_IN_A_CHILD = """
import signal, subprocess, sys, time
stopped = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
while not stopped:
    time.sleep(0.01)
child.kill()
child.wait()
print("[INFO] Training finished gracefully at Step 7.")
"""
HALVES = """
import pathlib, sys, cv2
frames, rendered = map(pathlib.Path, sys.argv[1:])
rendered.mkdir()
for path in frames.glob("*.png"):
    cv2.imwrite(str(rendered / f"{path.stem[0]}_half_{path.stem[1:]}.png"), cv2.imread(str(path)) // 2)
"""


class Half(Tool):
    """Halves every value and calls the results otherwise than the frames."""

    name = "half"

    def version(self) -> str:
        return "1.0"

    def train_command(self, job: Job) -> list[str]:
        return [sys.executable, "-c", TRAINS_IN_A_CHILD]

    def render_command(self, job: Job, frames: Path, rendered: Path) -> list[str]:
        return [sys.executable, "-c", HALVES, str(frames), str(rendered)]


def write(path: Path, value: int | np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((48, 64, 3), value, np.uint8) if isinstance(value, int) else value
    cv2.imwrite(str(path), picture)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """The Ground Truth is half of the Input; frames 2, 3 and 4 are held out."""
    for number in (1, 2, 3, 4, 9):
        split = tmp_path / "task" / ("train" if number in (1, 9) else "test")
        write(split / f"src/{number:04d}.png", 100)
        write(split / f"dst/{number:04d}.png", 50)
    return Task("t", tmp_path / "task", 1.0)


def job(task: Task, out: Path, limit: Limit | None = None) -> Job:
    out.mkdir(exist_ok=True)
    return Job(task, 0, limit or Limit(0.5), 1, "cpu", out)


# -- the clock


def test_a_training_is_stopped_when_its_children_have_used_up_the_budget(tmp_path: Path) -> None:
    figures = train([sys.executable, "-c", TRAINS_IN_A_CHILD], Limit(1.0), tmp_path / "log")
    assert figures["cpu_seconds"] >= 0.95
    assert "Step 7" in (tmp_path / "log").read_text()


def test_a_training_is_stopped_after_wall_seconds(tmp_path: Path) -> None:
    figures = train([sys.executable, "-c", TRAINS_IN_A_CHILD], Limit(1.5, wall=True), tmp_path / "log")
    assert figures["wall_seconds"] >= 1.5


def test_a_training_that_ends_by_itself_is_an_error_unless_it_may(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('done')"]
    with pytest.raises(RuntimeError, match=r"ended before its time, with status 0; see .*log"):
        train(command, Limit(60), tmp_path / "log")
    assert train(command, Limit(60), tmp_path / "log", ends_itself=True)["wall_seconds"] < 60


def test_a_training_that_fails_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"failed with status 3; see .*log"):
        train([sys.executable, "-c", "raise SystemExit(3)"], Limit(60), tmp_path / "log", ends_itself=True)


# -- tools


def test_a_tool_trains_renders_and_is_scored_under_the_frames_names(tmp_path: Path, task: Task) -> None:
    figures = Half(Setup(None, "", "")).run(job(task, tmp_path / "out"))
    assert figures["psnr"] > 100  # a perfect result
    assert figures["flicker"] == 0
    assert sorted(path.name for path in (tmp_path / "out/rendered").iterdir()) == ["0002.png", "0003.png", "0004.png"]


def test_missing_frames_are_an_error(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Half, "render_command", lambda *_: [sys.executable, "-c", "raise SystemExit(4)"])
    with pytest.raises(RuntimeError, match=r"half rendered 0 of 3 frames, status 4; see .*rendered\.log"):
        Half(Setup(None, "", "")).run(job(task, tmp_path / "out"))


def test_doing_nothing_is_the_plate_or_the_nearest_painted_matte(tmp_path: Path, task: Task) -> None:
    nothing = Nothing(Setup(None, "", "")).run(job(task, tmp_path / "colour"))
    assert nothing["psnr"] == pytest.approx(20 * np.log10(255 / 50))
    for number, value in ((1, 255), (2, 255), (3, 255), (4, 0), (9, 0)):
        split = task.folder / ("train" if number in (1, 9) else "test")
        write(split / f"dst/{number:04d}.png", value)
    matte = Nothing(Setup(None, "", "")).run(job(Task("m", task.folder, 1.0, matte=True), tmp_path / "matte"))
    # Frame 4 lies nearer to 1 (white) than to 9 (black).
    assert matte["error"] == pytest.approx(1 / 3)
    assert matte["j"] == pytest.approx(100 * 2 / 3)


def test_mattes_are_scored_by_region_boundary_and_error(tmp_path: Path) -> None:
    truth = np.zeros((48, 64, 3), np.uint8)
    truth[:, :32] = 255
    found = truth.copy()
    found[:, 24:32] = 127  # not yet in the region
    write(tmp_path / "test/dst/0001.png", truth)
    write(tmp_path / "rendered/0001.png", found)
    scores = matte_scores(tmp_path / "rendered", tmp_path / "test")
    assert scores["j"] == 75
    assert scores["error"] == pytest.approx(8 * 128 / (64 * 255))
    assert scores["f"] == 0  # the boundary lies 8 pixels off


@pytest.mark.parametrize("name", ["tpc2233", "emlcpfx", "emlcpfx-paintout"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_peer_gets_the_same_crops_and_its_own_model(tmp_path: Path, task: Task, name: str, device: str) -> None:
    for repository in ("tpc2233", "emlcpfx"):
        (tmp_path / "peers" / repository).mkdir(parents=True)
        (tmp_path / "peers" / repository / "train.py").touch()
    tool = TOOLS[name](Setup(tmp_path / "peers", sys.executable, ""))
    assert isinstance(tool, Tunet)
    (tmp_path / "out").mkdir()
    command = tool.train_command(Job(task, 0, Limit(1), 1, device, tmp_path / "out"))
    found = json.loads(Path(command[-1]).read_text())
    assert found["data"]["resolution"] == 256
    assert found["data"]["src_dir"] == str(task.folder / "train/src")
    assert found["training"]["batch_size"] == 4
    assert found["model"]["model_size_dims"] == {"cpu": 16, "cuda": 64}[device]
    assert found["model"].get("model_type") == (None if name == "tpc2233" else "msrn")
    assert found["training"].get("lr") == (3e-4 if name == "emlcpfx-paintout" else None)


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tpc2233: --peers must name"):
        TOOLS["tpc2233"](Setup(None, sys.executable, ""))
    with pytest.raises(ValueError, match=r"emlcpfx: there is no train\.py of https://github.com/emlcpfx/tunet"):
        TOOLS["emlcpfx"](Setup(tmp_path, sys.executable, ""))


def test_copycat_shares_the_budget_among_its_threads(tmp_path: Path, task: Task) -> None:
    tool = Copycat(Setup(None, "", "--model-size Small"))
    words = tool.train_command(Job(task, 2, Limit(254), 2, "cpu", tmp_path))
    assert words[words.index("--minutes") + 1] == "2.0000"
    assert words[words.index("--seed") + 1] == "2"
    assert "--ground-truth-channels" not in words
    matte = Task("m", task.folder, 1.0, matte=True)
    words = tool.train_command(Job(matte, 0, Limit(134, wall=True), 2, "cpu", tmp_path))
    assert words[words.index("--minutes") + 1] == "2.0000"
    assert words[words.index("--ground-truth-channels") + 1] == "R"


def test_copycat_learns_a_matte_from_pngs(tmp_path: Path) -> None:
    """The real command line: a bright square is the matte."""
    random = np.random.default_rng(0)
    for number, left in enumerate((4, 20, 12, 28), start=1):
        picture = random.integers(0, 40, (48, 64, 3), dtype=np.uint8)
        picture[10:30, left : left + 20] += 180
        split = tmp_path / "task" / ("train" if number < 3 else "test")
        write(split / f"src/{number:04d}.png", picture)
        write(split / f"dst/{number:04d}.png", np.where(picture > 100, 255, 0).astype(np.uint8))
    tool = Copycat(Setup(None, "", "--model-size Small --crop-size 32 --batch-size 2"))
    task = Task("square", tmp_path / "task", 1.0, matte=True)
    figures = tool.run(job(task, tmp_path / "out", Limit(22)))
    assert figures["steps"] > 3
    assert figures["j"] > 80


# -- tasks


def test_a_sequence_of_davis_becomes_a_task(tmp_path: Path) -> None:
    davis = tmp_path / "DAVIS"
    for number in range(9):
        for kind, suffix, value in (("JPEGImages", "jpg", 90), ("Annotations", "png", 255 * (number % 2))):
            write(davis / kind / f"480p/goat/{number:05d}.{suffix}", value)
    task = prepare("davis-goat", tmp_path / "tasks", None, davis)
    assert task.matte
    assert [path.stem for path in sorted((task.folder / "train/dst").iterdir())] == [
        f"{number:04d}" for number in (0, 2, 4, 6, 8)
    ]
    assert cv2.imread(str(task.folder / "test/dst/0003.png")).min() == 255
    with pytest.raises(ValueError, match="no sequence of this DAVIS"):
        prepare("davis-cat", tmp_path / "tasks", None, davis)


def test_what_a_task_needs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="deblur is a real shot: --shots"):
        prepare("deblur", tmp_path, None, None)
    with pytest.raises(ValueError, match="davis-goat: --davis"):
        prepare("davis-goat", tmp_path, None, None)
    with pytest.raises(ValueError, match="t9 is no task"):
        prepare("t9", tmp_path, None, None)


# -- the whole


@pytest.fixture
def run(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(shotbench, "prepare", lambda *_: task)
    monkeypatch.setitem(TOOLS, "half", Half)

    def call(*words: str) -> int:
        paths = ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
        monkeypatch.setattr(sys, "argv", ["shotbench", "--tasks", "t", *words, *paths])
        with pytest.raises(SystemExit) as ended:
            shotbench.main()
        return int(ended.value.code or 0)

    return call


def test_every_tool_gets_a_result_and_a_picture(tmp_path: Path, run: Callable[..., int]) -> None:
    assert run("--tools", "nothing", "half", "--runs", "2", "--budget", "0.3") == 0
    result = record.read(tmp_path / "results/shotbench-t-half-0s.json")
    assert [row["run"] for row in result.rows] == ["0", "1", "mean"]
    assert result.row(run="mean")["version"] == "1.0"
    assert record.read(tmp_path / "results/shotbench-t-nothing.json").row(run="mean")["psnr"] == pytest.approx(
        14.15, abs=0.01
    )
    text = (tmp_path / "out/index.html").read_text()
    assert "<td>half-0s</td>" in text
    assert "<td>14.15</td>" in text
    picture = cv2.imread(str(tmp_path / "out/t.jpg"))
    # Input, half, nothing, Ground Truth.
    assert [round(picture[40, 32 + 64 * column].mean(), -1) for column in range(4)] == [100, 50, 100, 50]


PROGRAM = """#!/usr/bin/env python3
import shutil, signal, sys
command, source, *more, target = sys.argv[1:]
if command == "train":
    signal.signal(signal.SIGINT, lambda *_: (open(target, "w").close(), sys.exit()))
    while True:
        pass
else:
    assert open(source).read() == ""
    shutil.copytree(more[0], target)
"""


def test_a_stranger_s_tool_is_the_few_lines_that_the_package_shows(
    tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/mytool"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    described = benchmarks.shotbench.__doc__ or ""
    lines = described.partition("::\n\n")[2].splitlines()
    adapter = tmp_path / "mytool.py"
    adapter.write_text(textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line)))
    assert run("--adapter", str(adapter), "--tools", "mytool", "--runs", "1", "--budget", "1") == 0
    mean = record.read(tmp_path / "results/shotbench-t-mytool-1s.json").row(run="mean")
    assert (mean["version"], mean["psnr"]) == ("1.0", pytest.approx(14.15, abs=0.01))


def test_an_adapter_without_a_tool_and_a_tool_without_an_adapter_are_named(
    tmp_path: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.py").write_text("from benchmarks.shotbench.tool import Tool\n")
    for words, sentence in (
        (("--adapter", str(tmp_path / "empty.py")), "empty.py: no subclass of Tool with a name"),
        (("--adapter", str(tmp_path / "none.py")), "none.py: no file of Python code"),
        (("--tools", "mytool"), "mytool is no tool; there are nothing, tpc2233"),
    ):
        assert run(*words) == 2
        assert sentence in capsys.readouterr().err


def test_a_tool_that_fails_does_not_stop_the_others(
    tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Half, "train_command", lambda *_: [sys.executable, "-c", "raise SystemExit(5)"])
    assert run("--tools", "half", "nothing", "--runs", "1") == 1
    assert "t, half: " in capsys.readouterr().err
    assert (tmp_path / "results/shotbench-t-nothing.json").exists()


def test_clones_are_fetched_once(tmp_path: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for words in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m"],
    ):
        subprocess.run(["git", "-C", str(source), *words], check=True)
    monkeypatch.setattr(shotbench, "REPOSITORIES", {"tpc2233": source.as_uri()})
    assert run("--tools", "nothing", "--fetch") == 0
    assert (tmp_path / "out/peers/tpc2233/.git").exists()
    shutil.rmtree(source)
    assert run("--tools", "nothing", "--fetch") == 0


def test_a_spread_is_shown_where_runs_differ() -> None:
    rows: list[dict[str, record.Value]] = [
        {"run": "0", "psnr": 40.0, "steps": 7.0},
        {"run": "1", "psnr": 41.0, "steps": 9.0},
        {"run": "mean", "psnr": 40.5, "steps": 8.0},
    ]
    result = record.Result("", "", "", {}, rows)
    assert page.cell(result, "psnr", ".2f") == "40.50 (40.00 to 41.00)"
    assert page.cell(result, "steps", ".0f") == "8"
    assert page.cell(result, "j", ".1f") == ""


def test_the_page_shows_where_the_work_is() -> None:
    source = np.zeros((600, 1000, 3), np.uint8)
    truth = source.copy()
    truth[500:540, 900:960] = 255
    rows, columns = page.work_window(source, truth)
    assert rows.start <= 500
    assert rows.stop >= 540
    assert columns.start <= 900
    assert columns.stop >= 960
    assert (rows.stop - rows.start, columns.stop - columns.start) == (300, 500)
