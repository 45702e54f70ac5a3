"""What nobody foresaw becomes one sentence, and a log file with the traceback: on the command line and in Python."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import copycat as package
import pytest
from conftest import Outcome, Shot, random_model, run_copycat
from copycat.boundary import guarded
from copycat.errors import CopycatError, UnexpectedError
from copycat.inference import render


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def render_frames(*arguments: object) -> dict[int, str]:
        raise ZeroDivisionError("a bug\nin two lines")

    monkeypatch.setattr(render, "_render_frames", render_frames)


def test_the_command_line_says_one_sentence_and_where_the_traceback_is(
    bug: None, shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    status, _, err = copycat("infer", random_model(tmp_path / "m.cat"), shot.input, tmp_path / "out.%04d.exr")
    said = re.fullmatch(
        r"error: copycat failed: ZeroDivisionError: a bug in two lines \(details: (\S+copycat\.log)\)\n", err
    )
    assert status == 1
    assert said, err
    log = Path(said[1]).read_text()
    assert "Traceback (most recent call last)" in log
    assert "in render_frames" in log


def test_python_raises_one_class(bug: None, shot: Shot, tmp_path: Path, tiny: None) -> None:
    path = random_model(tmp_path / "m.cat")
    with pytest.raises(UnexpectedError, match="copycat failed: ZeroDivisionError") as raised:
        package.infer(path, shot.input, tmp_path / "out.%04d.exr", use_gpu_if_available=False)
    assert isinstance(raised.value, CopycatError)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(TypeError, match="argument"):
        package.load()


def test_what_the_caller_raises_stays_the_callers(shot: Shot, tmp_path: Path, tiny: None) -> None:
    class MyOwnError(Exception):
        pass

    def progress(_report: object) -> None:
        raise MyOwnError

    path = random_model(tmp_path / "m.cat")
    with pytest.raises(MyOwnError):
        package.infer(path, shot.input, tmp_path / "out.%04d.exr", progress=progress, use_gpu_if_available=False)


def test_a_log_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")

    @guarded
    def fails() -> None:
        raise MemoryError

    with pytest.raises(UnexpectedError, match=r"copycat failed: MemoryError \(.*copycat\.log cannot be written\)"):
        fails()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.cat")
    status, out, err = run_copycat("info", name, cwd=tmp_path)
    assert (status, out) == (1, "")
    assert err == "error: \\udcff\\udcfe.cat: the model file does not exist\n"


def test_a_terminal_is_not_obeyed(tmp_path: Path) -> None:
    name = "\x1b[31m\x1b]0;title\x07.cat"
    _, _, err = run_copycat("info", name, cwd=tmp_path)
    assert err.isprintable() or err.rstrip("\n").isprintable()
