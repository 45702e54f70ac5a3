"""What the page's server knows of the runs, without a browser."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from copycat import runs
from copycat.dashboard.status import readings
from copycat.plots import live as watch_module
from copycat.plots.live import Watch
from copycat.runs import Display, Run, SummaryWriter, TrainerLock
from fake_trainer import header, step_record


def make(directory: Path, name: str, steps: int = 30) -> Run:
    run = Run(directory, name)
    writer = SummaryWriter(run)
    writer.append(header(60), *(step_record(step, 60, 0.5) for step in range(1, steps + 1)))
    writer.close()
    return run


def test_runs_come_and_go(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert not watch.scan()
    assert watch.rows() == []
    assert watch.active is None
    first = make(tmp_path, "first")
    watch.scan()
    assert [row.run for row in watch.rows()] == [first]
    assert watch.active == "first"
    assert len(watch.curve("first").steps) == 30  # type: ignore[union-attr]
    version = watch.version
    watch.scan()
    assert watch.version == version
    runs.delete(first)
    watch.scan()
    assert watch.rows() == []
    assert watch.version > version


def test_a_local_run_is_followed_and_a_foreign_one_only_when_asked(tmp_path: Path) -> None:
    local, foreign = make(tmp_path, "local"), make(tmp_path, "foreign")
    foreign.file(".lock").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    lock = TrainerLock(local)
    watch = Watch(tmp_path)
    watch.scan()
    for run in (local, foreign):
        with run.summary.open("a") as stream:
            stream.write(json.dumps(step_record(31, 60, 0.5)) + "\n")
    watch.scan()
    assert {row.run.name: row.steps for row in watch.rows()} == {"local": 31, "foreign": 30}
    watch.scan(everything=True)
    assert {row.run.name: row.steps for row in watch.rows()} == {"local": 31, "foreign": 31}
    texts = readings(watch.row("local"), watch)
    assert (texts["Step"], texts["Steps/s"], texts["Time left"]) == ("31 / 60", "2.0", "14 s")
    assert texts["Stage"] == "1/2 resolution"
    lock.release(local)
    watch.scan()
    assert watch.row("local").state == "killed"  # type: ignore[union-attr]


def test_only_shown_runs_are_read_whole_and_not_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        make(tmp_path, name)
    Display.read(tmp_path).set("c", shown=False)
    with Display.edit(tmp_path) as display:
        display.active = "a"
    monkeypatch.setattr(watch_module, "_READ_SECONDS", -1.0)
    watch = Watch(tmp_path)
    assert watch.scan()
    assert [watch.curve(name) for name in "abc"] == [None, None, None]
    monkeypatch.setattr(watch_module, "_READ_SECONDS", 60.0)
    assert not watch.scan()
    assert [watch.curve(name) is not None for name in "abc"] == [True, True, False]
    with Display.edit(tmp_path) as display:
        display.active = "c"
    watch.scan()
    assert watch.curve("c") is not None
    assert [row.run.name for row in watch.rows() if row.active] == ["c"]


def test_a_run_that_starts_shows_before_it_has_written_anything(tmp_path: Path) -> None:
    make(tmp_path, "old")
    lock = TrainerLock(Run(tmp_path, "new"))
    watch = Watch(tmp_path)
    watch.scan()
    assert [row.run.name for row in watch.rows()] == ["old"]
    lock.inheritance()
    watch.scan()
    assert [(row.run.name, row.state) for row in watch.rows()] == [("new", "starting"), ("old", "killed")]
    assert watch.rows()[0].updated > 0
    version = watch.version
    watch.scan()
    assert watch.version == version
    lock.release(Run(tmp_path, "new"))
    watch.scan()
    assert [row.run.name for row in watch.rows()] == ["old"]


def test_a_directory_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make(data, "r")
    watch = Watch(data)
    watch.scan()
    data.rename(tmp_path / "gone")
    watch.scan()
    assert "cannot be read" in watch.problem
    assert len(watch.rows()) == 1
    assert watch.pictures("r").sheets == []
    (tmp_path / "gone").rename(data)
    watch.scan()
    assert watch.problem == ""


def test_a_run_that_this_machine_trains_again_between_two_looks_is_read_on(tmp_path: Path) -> None:
    run, foreign = make(tmp_path, "ours"), make(tmp_path, "theirs")
    for name, host in (("ours", socket.gethostname()), ("theirs", "elsewhere")):
        Run(tmp_path, name).provenance.write_text(json.dumps({"host": host}))
    watch = Watch(tmp_path)
    watch.scan()
    for again in (run, foreign):
        with again.summary.open("a") as stream:
            stream.write(json.dumps(step_record(31, 60, 0.5)) + "\n")
    watch.scan()
    assert {row.run.name: row.steps for row in watch.rows()} == {"ours": 31, "theirs": 30}


def test_rows_need_no_curves(tmp_path: Path) -> None:
    make(tmp_path, "r")
    watch = Watch(tmp_path)
    assert not watch.scan(curves=False)
    assert watch.row("r").steps == 30  # type: ignore[union-attr]
    assert watch.curve("r") is None
    watch.scan()
    assert watch.curve("r") is not None
