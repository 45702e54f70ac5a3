"""The benchmark of the peers, with scripts instead of their training and inference."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import TOOLS, infer, settings, train

TRAINS_IN_A_CHILD = """
import signal, subprocess, sys, time
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(True))
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
while not asked:
    time.sleep(0.01)
child.kill()
child.wait()
print("[INFO] Training finished gracefully at Step 7.")
"""
NAMES_ITS_RESULTS = """
import pathlib, sys
frames, rendered = (pathlib.Path(sys.argv[sys.argv.index(name) + 1]) for name in ("--input_dir", "--output_dir"))
rendered.mkdir()
for path in frames.glob("*.png"):
    (rendered / f"{path.stem[0]}_tunet_{path.stem[1:]}.png").write_bytes(path.read_bytes())
"""


def test_a_training_is_stopped_when_its_children_have_used_the_budget_up(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINS_IN_A_CHILD)
    figures = train([sys.executable, "train.py"], tmp_path, tmp_path / "log", 1.0, wall=False)
    assert figures["steps"] == 7
    assert figures["cpu_seconds"] >= 0.95


def test_a_training_is_stopped_after_wall_seconds(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINS_IN_A_CHILD)
    figures = train([sys.executable, "train.py"], tmp_path, tmp_path / "log", 1.5, wall=True)
    assert figures["wall_seconds"] >= 1.5


@pytest.mark.parametrize("script", ["print('done')", "raise SystemExit(3)"])
def test_a_training_that_ends_by_itself_is_an_error(tmp_path: Path, script: str) -> None:
    (tmp_path / "train.py").write_text(script)
    with pytest.raises(RuntimeError, match=r"train\.py .*log"):
        train([sys.executable, "train.py"], tmp_path, tmp_path / "log", 60, wall=False)


def test_results_get_the_names_of_their_frames(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text(NAMES_ITS_RESULTS)
    frames, rendered = tmp_path / "src", tmp_path / "rendered"
    frames.mkdir()
    for number in (9, 48, 122):
        (frames / f"{number:04d}.png").write_text(str(number))
    infer([sys.executable, "inference.py"], tmp_path, frames, rendered)
    assert {path.name: path.read_text() for path in rendered.iterdir()} == {
        "0009.png": "9",
        "0048.png": "48",
        "0122.png": "122",
    }


def test_missing_results_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text("")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/0001.png").touch()
    with pytest.raises(RuntimeError, match="0 frames instead of 1"):
        infer([sys.executable, "inference.py"], tmp_path, tmp_path / "src", tmp_path / "rendered")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_tool_gets_the_same_crops_and_its_own_model(tmp_path: Path, tool: str, device: str) -> None:
    found = settings(tool, device, tmp_path / "train", tmp_path / "out")
    assert found["data"]["resolution"] == 256
    assert found["data"]["src_dir"] == str(tmp_path / "train/src")
    assert found["training"]["batch_size"] == 4
    assert found["model"]["model_size_dims"] == {"cpu": 16, "cuda": 64}[device]
    assert found["model"].get("model_type") == (None if tool == "tpc2233" else "msrn")
    assert found["training"].get("lr") == (3e-4 if tool == "emlcpfx-paintout" else None)
