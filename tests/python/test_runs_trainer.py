"""One trainer at a time; requests, renaming and deleting with and without a living trainer. Real processes.

Over 400 lines: each case with and without a living trainer, on the same processes.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from copycat import runs, system_files
from copycat.runs import (
    Display,
    Request,
    Run,
    RunError,
    SummaryWriter,
    TrainerLock,
    find_runs,
    launch,
    read_info,
    trainer_lives,
)
from copycat.runs.requests import read_answer, withdraw_request

TRAINER = Path(__file__).with_name("fake_trainer.py")
Start = Callable[..., "subprocess.Popen[bytes]"]


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children = []

    def start(name: str, *options: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, str(TRAINER), str(tmp_path), name, *options])
        children.append(child)
        run = Run(tmp_path, name)
        wait_until(lambda: run.summary.exists() and trainer_lives(run))
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def without_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""

    def flock(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(system_files.fcntl, "flock", flock)


def test_a_run_whose_trainer_loads_for_long_lives_without_kernel_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_kernel_locks(monkeypatch)
    monkeypatch.setattr(launch, "HEARTBEAT_SECONDS", 0.05)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat > /dev/null\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    run = Run(tmp_path, "r")
    process = launch.Trainings().start(run, ["train"])
    lock = run.file(".lock")
    for _ in range(2):
        os.utime(lock, (1, 1))
        wait_until(lambda: trainer_lives(run))
    assert launch.starting_runs(tmp_path) == [run]
    (tmp_path / "go").touch()
    assert process.wait(20) == 0
    time.sleep(0.2)
    os.utime(lock, (1, 1))
    time.sleep(0.3)
    assert not trainer_lives(run)


def test_a_trainer_that_loads_beats_by_itself(tmp_path: Path) -> None:
    """For whoever started it may have ended."""
    run = Run(tmp_path, "r")
    lock = TrainerLock(run)
    inheritance = lock.inheritance()
    lock._stop.set()
    os.utime(run.file(".lock"), (1, 1))
    command = [sys.executable, "-m", "copycat", "--version"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **inheritance)
    assert run.file(".lock").stat().st_mtime > 1
    os.close(lock._descriptor)


def test_a_second_trainer_is_refused_and_learns_who_holds_the_run(tmp_path: Path, start: Start) -> None:
    child = start("r")
    with pytest.raises(RunError, match=rf"run r is being trained by process {child.pid} on "):
        TrainerLock(Run(tmp_path, "r"))
    with pytest.raises(RunError, match="stop it before deleting it"):
        runs.delete(Run(tmp_path, "r"))


def test_a_killed_trainer_holds_nothing(tmp_path: Path, start: Start) -> None:
    run = Run(tmp_path, "r")
    child = start("r")
    wait_until(lambda: read_info(run).steps > 3)
    assert read_info(run).state == "training"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not trainer_lives(run)
    assert read_info(run).state == "killed"
    lock = TrainerLock(run)
    assert trainer_lives(run)
    lock.release(run)
    assert not trainer_lives(run)
    assert not run.file(".lock").exists()
    lock.release(run)


def test_readers_that_look_all_the_time_do_not_keep_a_trainer_out(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from copycat.runs import Run, trainer_lives\n"
    program += "run = Run(Path(sys.argv[1]), 'r')\nprint('ready', flush=True)\nwhile True: trainer_lives(run)"
    run = Run(tmp_path, "r")
    reader = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert reader.stdout is not None
        reader.stdout.readline()
        for _ in range(100):
            TrainerLock(run).release(run)
    finally:
        reader.kill()
        reader.communicate()


def test_of_many_trainers_one_gets_the_run(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from copycat.runs import Run, RunError, TrainerLock\n"
        "run = Run(Path(sys.argv[1]), 'r')\n"
        "try: lock = TrainerLock(run)\n"
        "except RunError: print('refused', flush=True)\n"
        "else: print('taken', flush=True); sys.stdin.read()\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    said = [child.stdout.readline().strip() for child in children if child.stdout]
    for child in children:
        child.communicate()
    assert sorted(said) == ["refused"] * 4 + ["taken"]


def write_lock(run: Run, host: str, age: float) -> None:
    run.file(".lock").write_text(json.dumps({"host": host, "pid": 1, "heartbeat": 0}))
    then = time.time() - age
    os.utime(run.file(".lock"), (then, then))


def test_another_machine_goes_by_the_heartbeat(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    write_lock(run, "elsewhere", 20)
    assert trainer_lives(run)
    with pytest.raises(RunError, match="process 1 on elsewhere"):
        TrainerLock(run)
    write_lock(run, "elsewhere", 300)
    assert not trainer_lives(run)
    lock = TrainerLock(run)
    assert trainer_lives(run)
    lock.release(run)


def test_a_new_trainer_does_not_obey_what_the_last_one_was_asked(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    runs.send_request(run, Request("stop"))
    lock = TrainerLock(run)
    assert runs.take_request(run) is None
    lock.release(run)


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    request = Request("rename", "b")
    runs.send_request(run, request)
    assert runs.take_request(run) == request
    assert runs.take_request(run) is None
    run.file(".request").write_text("{torn")
    assert runs.take_request(run) is None
    assert list(tmp_path.iterdir()) == []


def test_requests_queue_up_and_each_can_be_withdrawn(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    sent = [Request("finish"), Request("rename", "b"), Request("stop")]
    for request in sent:
        runs.send_request(run, request)
    assert withdraw_request(run, sent[1])
    assert not withdraw_request(run, sent[1])
    assert [runs.take_request(run) for _ in range(3)] == [sent[0], sent[2], None]
    assert not withdraw_request(run, sent[0])
    assert list(tmp_path.iterdir()) == []


def test_a_request_of_an_older_version_is_understood(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    runs.write_json(run.file(".request"), {"action": "stop", "name": "", "id": "7"})
    assert runs.take_request(run) == Request("stop", identifier="7")


def test_requests_of_many_processes_are_all_taken_while_they_come(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from copycat.runs import Request, Run, send_request\n"
    program += "for i in range(40): send_request(Run(Path(sys.argv[1]), 'r'), Request(sys.argv[2], str(i)))"
    senders = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    run, taken = Run(tmp_path, "r"), []
    while len(taken) < 120 and (any(sender.poll() is None for sender in senders) or run.file(".request").exists()):
        if request := runs.take_request(run):
            taken.append((request.action, int(request.name)))
    assert [sender.wait(60) for sender in senders] == [0, 0, 0]
    assert len(taken) == 120
    for name in "abc":
        assert [number for action, number in taken if action == name] == list(range(40))


def test_two_answers_wait_for_the_one_who_asked(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    first, second = Request("rename", "a"), Request("rename", "b")
    runs.answer_request(run, first)
    runs.answer_request(run, second, "no")
    assert read_answer(run, second) == "no"
    assert read_answer(run, second) is None
    assert read_answer(run, first) == ""
    assert list(tmp_path.iterdir()) == []


def test_stop_reaches_the_trainer(tmp_path: Path, start: Start) -> None:
    run = Run(tmp_path, "r")
    child = start("r")
    assert runs.stop(run)
    assert child.wait(20) == 0
    info = read_info(run)
    assert (info.state, info.reason) == ("stopped", "on request")
    assert not runs.stop(run)
    assert not run.file(".request").exists()


def test_renaming_a_run_that_nobody_trains(tmp_path: Path) -> None:
    run = Run(tmp_path, "shot")
    for path in (run.summary, run.checkpoint(5), run.preview(5), run.provenance):
        path.write_bytes(b"x")
    other = Run(tmp_path, "shot_v2")
    other.summary.write_bytes(b"y")
    display = Display.read(tmp_path)
    display.active = "shot"
    display.set("shot", colour="#123456")
    with Display.edit(tmp_path) as edited:
        edited.active = "shot"
    with pytest.raises(RunError, match="already a run 'shot_v2'"):
        runs.rename(run, "shot_v2")
    with pytest.raises(RunError, match="is no name for a run"):
        runs.rename(run, "../shot")
    with pytest.raises(RunError, match="there is no run 'gone'"):
        runs.rename(Run(tmp_path, "gone"), "there")
    renamed = runs.rename(run, "hero")
    assert {path.name for path in tmp_path.iterdir()} == {
        "hero.summary",
        "hero_5.cat",
        "hero_5_preview.png",
        "hero.json",
        "shot_v2.summary",
        "copycat.json",
    }
    assert Display.read(tmp_path).active == "hero"
    assert Display.read(tmp_path).colour("hero") == "#123456"
    assert runs.rename(renamed, "hero") == renamed


def test_renaming_a_run_while_it_trains(tmp_path: Path, start: Start) -> None:
    run = Run(tmp_path, "r")
    child = start("r", "--pictures", "5")
    start("taken")
    wait_until(run.contact_sheets)
    renamed = runs.rename(run, "s")
    assert trainer_lives(renamed)
    assert run.files() == []
    steps = read_info(renamed).steps
    wait_until(lambda: read_info(renamed).steps > steps + 5)
    with pytest.raises(RunError, match="already a run 'taken'"):
        runs.rename(renamed, "taken")
    assert runs.stop(renamed)
    assert child.wait(20) == 0
    assert {found.name for found in find_runs(tmp_path)} == {"s", "taken"}
    assert run.files() == []
    left = {path.name for path in renamed.files()} & {"s.lock", "s.request", "s.answer"}
    assert not left


def test_the_trainers_refusal_is_passed_on(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start("r")
    start("taken")
    monkeypatch.setattr(Run, "exists", lambda self: self.name == "r")  # as if the clash came after the question
    with pytest.raises(RunError, match="already a run 'taken'"):
        runs.rename(Run(tmp_path, "r"), "taken")


def test_a_trainer_that_does_not_answer(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    run.summary.touch()
    lock = TrainerLock(run)
    with pytest.raises(RunError, match=r"did not answer within 0.3 s; it was not renamed"):
        runs.rename(run, "s", timeout=0.3)
    assert not run.file(".request").exists()
    lock.release(run)


def test_a_trainer_that_dies_before_it_answers_leaves_the_renaming_to_the_reader(tmp_path: Path, start: Start) -> None:
    run = Run(tmp_path, "r")
    child = start("r", "--pause", "2")
    child.send_signal(signal.SIGSTOP)
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({child.pid}, 9)"])
    renamed = runs.rename(run, "s")
    killer.wait()
    assert renamed.summary.exists()
    assert run.files() == []


def test_a_rename_that_fails_half_way_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, "r")
    for path in (run.summary, run.checkpoint(5), run.checkpoint(6)):
        path.write_bytes(b"x")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source).name == "r_6.cat":
            raise OSError(5, "Input/output error", str(source))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(RunError, match=r"r_6\.cat: cannot be renamed: Input/output error"):
        runs.rename(run, "s")
    assert {path.name for path in tmp_path.iterdir()} == {"r.summary", "r_5.cat", "r_6.cat"}


KILLED_RENAME = """
import os, signal, sys
from pathlib import Path
from copycat.runs import Run, TrainerLock, move_files
run, renamed = (Run(Path(sys.argv[1]), name) for name in ("r", "s"))
count, real = int(sys.argv[2]), os.rename
def rename(source, target):
    global count
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    count -= 1
    real(source, target)
lock = TrainerLock(run)
os.rename = rename
move_files(run, renamed)
"""


@pytest.mark.parametrize("renamed_files", range(5))
def test_a_rename_that_is_killed_between_two_files_is_finished_by_the_next_reader(
    tmp_path: Path, renamed_files: int
) -> None:
    run, renamed = Run(tmp_path, "r"), Run(tmp_path, "s")
    for path in (run.summary, run.checkpoint(5), run.provenance, run.resume_state):
        path.write_text(path.suffix)
    with Display.edit(tmp_path) as display:
        display.active = "r"
    program = [sys.executable, "-c", KILLED_RENAME, str(tmp_path), str(renamed_files)]
    assert subprocess.run(program).returncode == -signal.SIGKILL
    assert [found.name for found in find_runs(tmp_path)] == ["s"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "s.summary", "s_5.cat", "s.json", "s.ost", "copycat.json"
    }  # fmt: skip
    assert Display.read(tmp_path).active == "s"
    lock = TrainerLock(renamed)
    lock.release(renamed)


def test_a_rename_under_way_is_left_to_its_process(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    run.summary.touch()
    lock = TrainerLock(run)
    runs.write_json(run.file(".renaming"), {"to": "s"})
    assert [found.name for found in find_runs(tmp_path)] == ["r"]
    lock.release(run)
    assert [found.name for found in find_runs(tmp_path)] == ["s"]


def test_a_reservation_that_is_nobodys_does_not_block_a_name(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    run.summary.touch()
    Run(tmp_path, "s").file(".lock").touch()
    assert runs.rename(run, "s").summary.exists()


def test_a_process_inherits_the_lock_and_the_requests_since(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from copycat.runs import Run, TrainerLock, take_request\n"
        "sys.stdin.readline(); run = Run(Path(sys.argv[1]), 'r'); lock = TrainerLock(run)\n"
        "print(take_request(run).action, 'COPYCAT_TRAINER_LOCK' in os.environ, flush=True); sys.stdin.readline()\n"
        "lock.release(run)"
    )
    run = Run(tmp_path, "r")
    lock = TrainerLock(run)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **lock.inheritance(),
    )
    lock.hand_over()
    assert child.stdin
    assert child.stdout
    assert trainer_lives(run)  # from the start on, long before the process takes it
    with pytest.raises(RunError, match="is starting already"):
        TrainerLock(run)
    assert runs.finish(run)
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "finish False\n"
    assert trainer_lives(run)
    child.communicate("\n")
    assert not trainer_lives(run)
    assert list(tmp_path.iterdir()) == []


def test_an_inherited_lock_ends_with_a_process_that_never_takes_it(tmp_path: Path) -> None:
    run = Run(tmp_path, "r")
    lock = TrainerLock(run)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **lock.inheritance())
    lock.hand_over()
    assert trainer_lives(run)
    child.kill()
    child.communicate()
    assert not trainer_lives(run)


def test_an_inherited_descriptor_of_another_file_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "other").open("w") as stream:
        monkeypatch.setenv("COPYCAT_TRAINER_LOCK", str(stream.fileno()))
        run = Run(tmp_path, "r")
        lock = TrainerLock(run)
        lock.release(run)
        assert stream.writable()
        os.fstat(stream.fileno())


@pytest.mark.parametrize("suffix", [".lock", ".summary", ".request"])
def test_what_a_trainer_writes_follows_no_symbolic_link(tmp_path: Path, suffix: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = Run(tmp_path / "runs", "r")
    run.directory.mkdir()
    run.file(suffix).symlink_to(victim)
    act = {
        ".lock": lambda: TrainerLock(run),
        ".summary": lambda: SummaryWriter(run).append({"step": 1}),
        ".request": lambda: runs.send_request(run, Request("stop")),
    }
    with pytest.raises(RunError, match=rf"r\{suffix}: cannot be written: it is a symbolic link"):
        act[suffix]()
    assert victim.read_text() == "precious"


def test_delete_takes_the_run_and_nothing_else(tmp_path: Path) -> None:
    run = Run(tmp_path, "shot")
    for name in ("shot.summary", "shot_5.cat", "shot_v2.summary", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    Display.read(tmp_path).set("shot", shown=False)
    runs.delete(run)
    assert {path.name for path in tmp_path.iterdir()} == {"shot_v2.summary", "notes.txt", "copycat.json"}
    assert Display.read(tmp_path).runs == {}


def test_two_readers_lose_nothing_of_the_display(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from copycat.runs import Display\n"
    program += (
        "display = Display.read(Path(sys.argv[1]))\nfor i in range(30): display.set(sys.argv[2] + str(i), shown=False)"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    assert set(Display.read(tmp_path).runs) == {f"{name}{i}" for name in "ab" for i in range(30)}


def test_runs_get_colours_of_their_own_as_long_as_there_are_any(tmp_path: Path) -> None:
    with Display.edit(tmp_path) as display:
        display.runs = {"b": {"colour": runs.PALETTE[0]}, "c": {"colour": "none"}}
        display.give_colours("abcdefgh")
    display = Display.read(tmp_path)
    assert display.colour("b") == runs.PALETTE[0]
    assert display.colour("a") == runs.PALETTE[1]
    assert sorted(display.colour(name) for name in "abcdefgh") == sorted(runs.PALETTE)
    with Display.edit(tmp_path) as again:
        again.give_colours("abcdefghi")
    assert Display.read(tmp_path).colour("i") in runs.PALETTE
    assert [Display.read(tmp_path).colour(name) for name in "abcdefgh"] == [display.colour(name) for name in "abcdefgh"]


def test_a_broken_display_file_means_nothing_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "copycat.json").write_text('{"active": 5, "runs": {"a": 7, "b": {"colour": "red;}", "shown": 0}}}')
    display = Display.read(tmp_path)
    assert display.active is None
    assert display.colour("b") in runs.PALETTE
    assert not display.shown("b")
    assert display.shown("a")
