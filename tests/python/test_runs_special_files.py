"""Whatever lies in a Data Directory under a run's name: nothing hangs, and nothing is taken for what it is not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from copycat import runs
from copycat.runs import Display, Run, RunError, find_runs, glance, read_json, trainer_lives
from copycat.runs.summary import SummaryReader

SUFFIXES = (".summary", ".ost", ".json", ".lock", ".request", ".answer", ".renaming", "_5.cat", "_5.png", "_best.cat")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with inside(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


KINDS = (make_fifo, make_directory, make_socket, make_endless, make_dangling)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """A socket's path may have 107 characters, which a test's folder can exceed."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_readers_neither_hang_nor_fail(tmp_path: Path, suffix: str, make: Callable[[Path], None]) -> None:
    good = Run(tmp_path, "good")
    good.summary.write_text('{"step":3,"loss":0.5}\n')
    run = Run(tmp_path, "odd")
    if suffix != ".summary":
        run.summary.write_text('{"step":7,"loss":0.25}\n')
    make(run.file(suffix))
    found = {one.name: glance(one).info() for one in find_runs(tmp_path)}
    assert found["good"].steps == 3
    assert ("odd" in found) == (suffix != ".summary")
    assert not trainer_lives(run)
    assert read_json(run.file(suffix)) == {}
    assert SummaryReader(run.file(suffix)).poll() == ([], False)
    assert run.checkpoints() == run.contact_sheets() == []
    assert runs.take_request(good) is None
    assert Display.read(tmp_path).active is None


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".lock", make_fifo), (".summary", make_directory), (".request", make_fifo)]
)
def test_writers_say_what_lies_there(tmp_path: Path, suffix: str, kind: Callable[[Path], None]) -> None:
    run = Run(tmp_path, "odd")
    kind(run.file(suffix))
    act: dict[str, Callable[[], object]] = {
        ".lock": lambda: runs.TrainerLock(run),
        ".summary": lambda: runs.SummaryWriter(run, resume_step=3),
        ".request": lambda: runs.send_request(run, runs.Request("stop")),
    }
    with pytest.raises(RunError, match=rf"odd\{suffix}: cannot be .*: it is a (FIFO|directory)"):
        act[suffix]()


def test_a_file_that_is_larger_than_it_may_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    assert runs.read_regular(path, 11) == b"x" * 11
    with pytest.raises(OSError, match="larger than 10 bytes"):
        runs.read_regular(path, 10)


NUMBERS = (
    "1e400",
    "-1e400",
    "9" * 400,
    "-" + "9" * 310,
    "9" * 5000,
    "1e-400",
    "NaN",
    "Infinity",
    "-Infinity",
    "1E+999",
)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:8])
@pytest.mark.parametrize("key", ["step", "loss", "time", "lr", "level", "memory", "psnr"])
def test_numbers_that_no_double_holds_stop_nobody(tmp_path: Path, key: str, number: str) -> None:
    run = Run(tmp_path, "r")
    odd = f'{{"step":4,"{"psnr" if key == "psnr" else "loss"}":1,"{key}":{number}}}'
    lines = ['{"run":{"totalSteps":8}}', '{"step":3,"loss":0.5,"time":1}', odd, '{"step":5,"loss":0.25,"time":2}']
    run.summary.write_text("".join(line + "\n" for line in lines))
    history = runs.RunHistory(run)
    assert history.update()
    for info in (history.info(), glance(run).info()):
        assert (info.steps, info.loss, info.total_steps, info.seconds) == (5, 0.25, 8, 2)
    for record in [*history.steps, *history.validations, history.latest]:
        for value in record.values():
            assert value is None or float(value) < 1e300 or value != value
