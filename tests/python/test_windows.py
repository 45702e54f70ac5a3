"""The paths that Windows takes, on a stand-in for it; nothing here has run on Windows."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Shot
from copycat import runs, system_files
from copycat.sequence import read_frame

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in needs /proc")
STAND_IN = Path(__file__).with_name("stand_in_windows.py")


def on_windows(*words: object, status: int = 0) -> str:
    """What the command line prints where the system is the stand-in."""
    command = [sys.executable, str(STAND_IN), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's locks go through msvcrt."""
    import stand_in_windows

    monkeypatch.setattr(system_files, "fcntl", None)
    monkeypatch.setattr(system_files, "_HELD", errno.EACCES)
    stand_in = SimpleNamespace(locking=stand_in_windows.locking, LK_NBLCK=2)
    monkeypatch.setattr(system_files, "msvcrt", stand_in, raising=False)
    for name in ("pread", "pwrite", "posix_fallocate"):
        monkeypatch.delattr(os, name)


@pytest.mark.usefixtures("msvcrt")
def test_a_lock_is_held_until_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    os.lseek(first, 3, os.SEEK_SET)
    assert system_files.try_lock(first) is True
    assert os.lseek(first, 0, os.SEEK_CUR) == 3
    assert system_files.try_lock(second) is False
    assert system_files.try_lock(second, shared=True) is False  # Windows has no shared locks
    threading.Timer(0.01, os.close, [first]).start()
    assert system_files.try_lock(second, shared=True) is True  # a reader holds it for an instant only
    third = os.open(path, os.O_RDWR)
    threading.Timer(0.05, os.close, [second]).start()
    system_files.lock(third)
    os.close(third)


@pytest.mark.usefixtures("msvcrt")
def test_bytes_are_read_and_written_at_an_offset(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    system_files.reserve(descriptor, 5)
    system_files.write_at(descriptor, b"abc", 1)
    assert system_files.read_at(descriptor, 10, 0) == b"\0abc\0"
    assert system_files.read_at(descriptor, 2, 2) == b"bc"
    os.close(descriptor)


@pytest.mark.usefixtures("msvcrt")
def test_a_file_that_a_reader_holds_is_replaced_or_removed_when_the_reader_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def replace(source: Path, target: Path) -> None:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "it is being used by another process")

    monkeypatch.setattr(os, "replace", replace)
    system_files.replace(tmp_path / "new", tmp_path / "old")
    assert len(tries) == 3
    tries.clear()
    monkeypatch.setattr(os, "unlink", lambda path: replace(path, path))
    system_files.remove(tmp_path / "old")
    assert len(tries) == 3
    monkeypatch.setattr(system_files, "_PATIENCE_SECONDS", 0.05)
    tries.clear()
    monkeypatch.setattr(system_files, "_TRY_SECONDS", 0.1)
    with pytest.raises(PermissionError):
        system_files.replace(tmp_path / "new", tmp_path / "old")


def test_a_training_its_resume_and_a_render(shot: Shot, tmp_path: Path) -> None:
    data = tmp_path / "runs"
    knobs = ("--epochs", 6, "--crop-size", 32, "--model-size", "Small", "--bank", "disk", "--image-interval", 3)
    on_windows("train", shot.input, shot.ground_truth, "--data-directory", data, "--run-name", "one", *knobs)
    run = runs.find_run(data, "one")
    assert run.checkpoints()[-1][0] == 6
    assert not run.file(".lock").exists()
    on_windows("resume", data, "--epochs", 9)
    assert run.checkpoints()[-1][0] == 9
    on_windows("infer", data, shot.input, tmp_path / "result.%04d.exr")
    frame = read_frame(tmp_path / "result.1001.exr", ("R", "G", "B")).pixels
    assert frame.shape == (64, 64, 3)
    assert np.isfinite(frame).all()
    on_windows("infer", data, shot.input, tmp_path / "result.%04d.png")
    assert (tmp_path / "result.1004.png").stat().st_size > 0
    assert not [path for path in (*data.iterdir(), *tmp_path.iterdir()) if path.name.startswith(".")]


def test_a_launched_training_takes_the_lock_itself_and_obeys_a_request(shot: Shot, tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(STAND_IN.parent)!r})
import stand_in_windows
stand_in_windows.use()
from pathlib import Path
from copycat import runs
from copycat.runs import launch, renaming, trainer_lock
run = launch.claim_new_run(Path({str(tmp_path / "runs")!r}))
process = launch.Trainings().start(run, ["train", {shot.input!r}, {shot.ground_truth!r}, "--data-directory",
    str(run.directory), "--run-name", run.name, "--epochs", "100000", "--crop-size", "32", "--model-size", "Small"])
while not trainer_lock.trainer_lives(run):
    assert process.poll() is None, process.returncode
    time.sleep(0.05)
while not run.summary.exists() or b'"loss"' not in run.summary.read_bytes():
    assert process.poll() is None, process.returncode
    time.sleep(0.05)
launch.stop_training(run)
assert process.wait(60) == 0, process.returncode
assert not trainer_lock.trainer_lives(run)
try:
    renaming.rename(run, "other")
except runs.RunError as error:
    print(error)
renaming.delete(run)
print(sorted(path.name for path in run.directory.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    sentence, left = done.stdout.splitlines()
    assert sentence.endswith("cannot be renamed: Windows renames no open files")
    assert left == "['copycat.json']"


def test_there_is_no_plugin(tmp_path: Path) -> None:
    """A wheel without a bundle says so, and needs no host's folder."""
    script = (
        f"import sys; sys.path.insert(0, {str(STAND_IN.parent)!r})\n"
        "import stand_in_windows; stand_in_windows.use()\n"
        "from copycat.cli import ofx_install\n"
        f"ofx_install.package_folders = [{str(tmp_path)!r}]\n"
        "from copycat.cli import main\n"
        "main(['ofx', 'install'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "this copycat was built without copycat.ofx.bundle" in done.stderr


def test_only_one_module_calls_what_windows_lacks() -> None:
    """Besides the worker, which serves the plugin, and what is behind a test of the system."""
    package = Path(runs.__file__).parents[1]
    missing = re.compile(
        r"import fcntl|os\.(pread|pwrite|posix_\w+|fork|getuid|mkfifo|O_(CLOEXEC|NOFOLLOW|NONBLOCK|NOCTTY|DIRECTORY))\b"
    )
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "worker" not in path.parts and missing.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"system_files.py"}
