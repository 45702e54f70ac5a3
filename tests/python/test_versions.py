"""`make versions`: the combinations, what is said of those that cannot be had, and how they end."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from release import versions
from release.versions import COMBINATIONS, Combination

ROOT = Path(__file__).parents[2]
OLD, NEW = Combination("3.11", "2.6.0", "1.26", oldest=True), Combination("3.13", "2.13.0", "2")


def test_the_oldest_and_the_newest_of_each_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = {name: f"{name}>={version}" for name, version in (("torch", "2.6"), ("numpy", "1.26"))}
    assert set(oldest.values()) <= set(project["dependencies"])
    assert project["requires-python"] == f">={min(c.python for c in COMBINATIONS)}"
    assert f"Python :: {max(c.python for c in COMBINATIONS)}" in project["classifiers"][2]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH ?= torch=={NEW.torch}\n" in makefile
    for torch in (OLD.torch, NEW.torch):
        assert {(c.python, c.numpy) for c in COMBINATIONS if c.torch == torch} == {
            ("3.11", "1.26"),
            ("3.11", "2"),
            ("3.13", "2"),
        }
    assert len(set(COMBINATIONS)) == 6
    assert OLD in COMBINATIONS


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run; pip finds no torch for Python 3.13, and the tests of numpy 2 fail."""
    called: list[list[str]] = []

    def run(command: list[object], **options: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        called.append(words)
        lost = words[0] == "make" and words[2].endswith("/torch") and "python3.13" in words[2]
        said = "ERROR: No matching distribution found for torch==2.13.0" if lost else ""
        return subprocess.CompletedProcess(words, int(lost or ("pytest" in words and "numpy2" in words[0])), "", said)

    monkeypatch.setattr(versions, "FOLDER", tmp_path)
    monkeypatch.setattr(versions.subprocess, "run", run)
    monkeypatch.setattr(versions, "find_python", lambda version: f"/of/python{version}")
    return called


def test_a_combination_gets_its_own_environment_and_constraints(tmp_path: Path, commands: list[list[str]]) -> None:
    assert versions.run_all([OLD], ["-k", "export"], strict=True) == 0
    torch, setup, tests = commands
    folder = tmp_path / "python3.11-torch2.6.0-numpy1.26"
    assert torch[:3] == ["make", "-s", f"{folder}/torch"]
    assert {"PYTHON=/of/python3.11", f"VENV={folder}", "TORCH=torch==2.6.0"} <= set(torch) & set(setup)
    assert setup[2] == "setup-test"
    assert tests == [f"{folder}/bin/python", "-m", "pytest", "-k", "export"]
    assert re.fullmatch(
        r"torch==2\.6\.0\nnumpy==1\.26\.\*\nnicegui==3\.\d+\.\*\nfastapi==0\.\d+\.\*\nstarlette==1\.[\d.]+\.\*\n",
        Path(f"{folder}.txt").read_text(),
    )


@pytest.mark.parametrize("strict", [False, True])
def test_what_cannot_be_had_is_said_and_fails_where_all_is_asked_for(
    strict: bool, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert versions.run_all([OLD, NEW], [], strict) == int(strict)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{OLD}: passed",
        f"{NEW}: not run: pip finds no torch 2.13.0 or numpy 2 for Python 3.13 here",
    ]


def test_a_python_that_is_missing_is_named(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    assert versions.run_all([OLD], [], strict=False) == 1  # nothing has passed
    assert f"{OLD}: not run: Python 3.11 with headers is not on this machine\n" in capsys.readouterr().out
    assert commands == []


def test_tests_that_fail_stop_no_other_combination(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert versions.run_all([Combination("3.11", "2.6.0", "2"), OLD], [], strict=False) == 1
    assert capsys.readouterr().out.endswith(f"numpy2: tests fail\n{OLD}: passed\n")


def test_the_command_line_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[object] = []
    run_all: Callable[..., int] = lambda *words: chosen.append(words) or 0  # noqa: E731
    monkeypatch.setattr(versions, "run_all", run_all)
    monkeypatch.setattr(sys, "argv", ["versions", "--strict", "--only", str(OLD), "--", "-k", "export"])
    with pytest.raises(SystemExit, match="0"):
        versions.main()
    assert chosen == [([OLD], ["-k", "export"], True)]
