"""Names of runs, their files, and files written whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from copycat.runs import (
    Run,
    RunError,
    check_name,
    find_run,
    find_runs,
    model_file,
    new_run,
    read_json,
    write_json,
    write_whole,
)
from copycat.runs.writing import temporary_beside

GOOD_NAMES = ["Training_261122_101500", "a", "shot 12", "A.b-c_d", "x" * 120]
BAD_NAMES = [
    "",
    " a",
    "a ",
    "a.",
    ".a",
    "_a",
    "-rf",
    "../a",
    "a/b",
    "a\\b",
    "a\n",
    "a\0",
    "é",
    "<b>",
    "x" * 121,
    "copycat",
    "CopyCat",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused_with_the_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no name for a run") as caught:
        Run(tmp_path, name)
    assert repr(name) in str(caught.value)


def touch(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_bytes(b"x")


def test_runs_whose_names_nest_do_not_mix(tmp_path: Path) -> None:
    of_shot = ["shot.summary", "shot.ost", "shot_100.cat", "shot_best.cat", "shot_input.0001.exr", "shot_5.png"]
    of_v2 = ["shot_v2.summary", "shot_v2_100.cat", "shot_v2_100_preview.png", "shot_v2_groundTruth.-3.exr"]
    of_100 = ["shot_100.summary", "shot_100_100.cat", "shot_100_best.cat"]
    of_shot_best = ["shot_best.summary", "shot_best_1.png"]
    nobody = ["shot_100.txt", "shot_100.catx", "shot_.cat", "shot_v2.exr", "shot_best_preview.png"]
    touch(tmp_path, *of_shot, *of_v2, *of_100, *of_shot_best, *nobody)
    for name, files in {"shot": of_shot, "shot_v2": of_v2, "shot_100": of_100, "shot_best": of_shot_best}.items():
        assert [path.name for path in Run(tmp_path, name).files()] == sorted(files)
    assert {run.name for run in find_runs(tmp_path)} == {"shot", "shot_v2", "shot_100", "shot_best"}


def test_every_suffix_belongs_to_its_run_and_is_sorted_by_number(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    for step in (1000, 200, 30):
        for path in (run.checkpoint(step), run.contact_sheet(step), run.preview(step)):
            path.write_bytes(b"x")
    others = [run.summary, run.resume_state, run.provenance, run.best, *map(run.file, (".lock", ".request", ".answer"))]
    for path in others:
        path.write_bytes(b"x")
    assert len(run.files()) == 9 + len(others)
    assert [step for step, _ in run.checkpoints()] == [30, 200, 1000]
    assert run.contact_sheets() == [(step, run.contact_sheet(step)) for step in (30, 200, 1000)]
    assert run.previews()[-1] == (1000, run.preview(1000))


def test_a_second_run_in_the_same_second_gets_a_number(tmp_path: Path) -> None:
    now = datetime(2026, 11, 22, 10, 15, 0)
    names = []
    for _ in range(3):
        run = new_run(tmp_path, now)
        run.summary.touch()
        names.append(run.name)
    assert names == ["Training_261122_101500", "Training_261122_101500_2", "Training_261122_101500_3"]


def test_the_newest_run_comes_first_and_bad_names_are_passed_over(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "middle", "old", "<script>alert(1)<"]):
        path = tmp_path / f"{name}.summary".replace("/", "")
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert [run.name for run in find_runs(tmp_path)] == ["new", "middle", "old"]
    assert find_run(tmp_path).name == "new"
    assert find_run(tmp_path, "old").name == "old"
    with pytest.raises(RunError, match=r"no run 'older'.*new, middle, old"):
        find_run(tmp_path, "older")


def test_a_run_or_its_directory_stands_for_the_newest_checkpoint(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "new_2", "empty"]):
        Run(tmp_path, name).summary.touch()
        os.utime(Run(tmp_path, name).summary, (1e9 - age, 1e9 - age))
    for run, step in (("new", 900), ("new", 1000), ("new_2", 5)):
        Run(tmp_path, run).checkpoint(step).touch()
    assert model_file(tmp_path) == tmp_path / "new_1000.cat"
    assert model_file(str(tmp_path / "new_2")) == tmp_path / "new_2_5.cat"
    for path in (tmp_path / "new_900.cat", tmp_path / "missing.cat"):
        assert model_file(path) == path
    assert model_file("") == Path()
    with pytest.raises(RunError, match=r"empty.*no checkpoint yet"):
        model_file(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        model_file(tmp_path / "other")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere.*cannot be read"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no run"):
        find_run(tmp_path)
    with pytest.raises(RunError, match=r"nowhere.*cannot be written"):
        write_whole(tmp_path / "nowhere" / "a", b"x")


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert os.listdir(tmp_path) == ["a.json"]


def test_write_whole_where_files_without_a_name_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    write_whole(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"a"', "nul", "[" * 100000])
def test_what_is_no_json_object_reads_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") == {}


WRITER_TO_KILL = """
import sys
from pathlib import Path
from copycat.runs import write_whole
print("ready", flush=True)
for i in range(1 << 30):
    write_whole(Path(sys.argv[1]), bytes([i % 256]) * 2_000_000)
"""


def test_a_killed_writer_leaves_only_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "r_1.cat"
    for attempt in range(8):
        child = subprocess.Popen([sys.executable, "-c", WRITER_TO_KILL, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.02 + 0.013 * attempt)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for left in tmp_path.iterdir():
            data = left.read_bytes()
            assert len(data) == 2_000_000
            assert data == data[:1] * len(data)
    assert path.exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from copycat.runs import RunError, write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"n" * 5000)
except RunError as error:
    print(error)
"""


def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.ost"
    path.write_bytes(b"old")
    text = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert text.startswith(f"{path}: cannot be written: ")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["r.ost"]


def test_sweep_takes_only_old_leftovers_of_its_own_run(tmp_path: Path) -> None:
    run, other = Run(tmp_path, "shot"), Run(tmp_path, "shot_v2")
    mine, fresh = temporary_beside(run.resume_state), temporary_beside(run.checkpoint(5))
    theirs = temporary_beside(other.resume_state)
    for path in (mine, fresh, theirs):
        path.write_bytes(b"x")
    for path in (mine, theirs):
        os.utime(path, (1e9, 1e9))
    run.sweep()
    assert set(tmp_path.iterdir()) == {fresh, theirs}


def test_runs_use_the_standard_library_only() -> None:
    program = (
        "import sys; before = set(sys.modules); import copycat.runs;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["copycat"]
