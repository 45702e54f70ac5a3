"""The .summary: written by one, read while it grows, torn, cut back by a resume, on a full disk."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from copycat.runs import Run, RunHistory, SummaryReader, SummaryWriter, read_info, write_whole
from fake_trainer import header, step_record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, "r")


def fill(run: Run, steps: int, resume_step: int | None = None) -> None:
    writer = SummaryWriter(run, resume_step)
    writer.append(header(steps))
    for step in range((resume_step or 0) + 1, steps + 1):
        writer.append(step_record(step, steps))
    writer.close()


def test_a_reader_gets_each_record_once(run: Run) -> None:
    writer, reader = SummaryWriter(run), SummaryReader(run.summary)
    writer.append(header(10))
    assert reader.poll() == ([header(10)], True)
    writer.append(step_record(1, 10), step_record(2, 10))
    records, anew = reader.poll()
    assert ([record["step"] for record in records], anew) == ([1, 2], False)
    assert reader.poll() == ([], False)
    writer.close()


def test_a_file_that_is_not_there_yet_is_empty(run: Run) -> None:
    reader = SummaryReader(run.summary)
    assert reader.poll() == ([], False)
    fill(run, 2)
    assert len(reader.poll()[0]) == 3


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_waits_until_it_is_whole(run: Run, cut: int) -> None:
    fill(run, 3)
    data = run.summary.read_bytes()
    run.summary.write_bytes(data[:-cut])
    reader = SummaryReader(run.summary)
    assert [r["step"] for r in reader.poll()[0] if "step" in r] == [1, 2]
    with run.summary.open("ab") as stream:
        stream.write(data[-cut:])
    assert [r["step"] for r in reader.poll()[0]] == [3]


def test_lines_that_are_no_record_are_passed_over(run: Run) -> None:
    lines = [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b'{"step": 1, "loss": 0.5}',
        b'{"step": 7',
        b'"loss": 1}',
        b'{"step": 2, "loss": 1}',
    ]
    run.summary.write_bytes(b"\n".join(lines) + b"\n")
    assert [r["step"] for r in SummaryReader(run.summary).poll()[0]] == [1, 2]


def test_odd_values_do_not_break_the_table(run: Run) -> None:
    odd = [
        {"run": "text"},
        {"run": {"totalSteps": "many", "modelSize": ["<b>"]}},
        {"step": "one", "loss": 1},
        {"step": 1, "loss": "low", "time": None},
        {"step": 2, "loss": None},
        {"step": 2, "psnr": "high"},
        {"step": 10**400, "loss": 1},
        {"end": 7, "reason": {"a": 1}},
    ]
    run.summary.write_text("".join(json.dumps(record) + "\n" for record in odd))
    info = read_info(run)
    assert (info.steps, info.total_steps, info.loss, info.best_psnr, info.state) == (2, None, None, None, "stopped")


def test_a_resume_drops_what_came_after_it(run: Run) -> None:
    writer = SummaryWriter(run)
    writer.append(header(100), *(step_record(step, 100) for step in range(1, 51)))
    writer.append({"step": 20, "psnr": 30.0}, {"step": 40, "psnr": 40.0})
    writer.append({"end": "stopped", "reason": "", "step": 50})
    writer.close()
    with run.summary.open("ab") as stream:
        stream.write(b'{"step": 51, "lo')
    reader = RunHistory(run)
    reader.update()
    assert len(reader.steps) == 50
    assert reader.end is not None
    writer = SummaryWriter(run, resume_step=30)
    writer.append({"run": {"totalSteps": 100}}, step_record(31, 100))
    writer.close()
    generation = reader.generation
    assert reader.update()
    assert reader.generation == generation + 1
    assert list(reader.steps.column("step")) == list(range(1, 32))
    assert [v["step"] for v in reader.validations] == [20]
    assert reader.end is None
    assert reader.info().best_psnr == 30.0


def test_a_file_replaced_under_the_same_inode_is_seen(run: Run) -> None:
    fill(run, 5)
    history = RunHistory(run)
    history.update()
    other = run.summary.read_bytes().replace(b'"time":0.0', b'"time":9.0')
    with run.summary.open("r+b") as stream:  # as if the inode of the old file had been given out again
        stream.write(other + json.dumps(step_record(6, 5)).encode() + b"\n")
    history.update()
    assert list(history.steps.column("step")) == [1, 2, 3, 4, 5, 6]
    assert min(history.steps.column("time")[:5]) > 9


def test_numbers_that_are_not_finite_are_written_as_null(run: Run) -> None:
    writer = SummaryWriter(run)
    writer.append({"step": 1, "loss": math.nan, "parts": {"l1": math.inf, "l2": [1.0]}})
    writer.close()
    assert json.loads(run.summary.read_text()) == {"step": 1, "loss": None, "parts": {"l1": None, "l2": [1.0]}}
    history = RunHistory(run)
    history.update()
    assert math.isnan(history.steps[0]["loss"])


def test_a_long_summary_is_read_in_blocks(run: Run) -> None:
    steps = 40000
    lines = [json.dumps(header(steps))] + [json.dumps(step_record(step, steps)) for step in range(1, steps + 1)]
    write_whole(run.summary, "\n".join(lines).encode() + b"\n")
    assert sum(1 for _ in SummaryReader(run.summary).blocks()) > 3
    history = RunHistory(run)
    assert history.update()
    assert not history.update()
    assert list(history.steps.column("step")) == list(range(1, steps + 1))
    assert history.steps[-1]["loss"] == step_record(steps, steps)["loss"]
    assert [record["step"] for record in history.steps[2:4]] == [3, 4]


FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from copycat.runs import Run, RunError, SummaryWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = SummaryWriter(Run(Path(sys.argv[1]), "r"))
writer.append({"step": 1, "loss": 1.0})
size = os.stat(writer._run.summary).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
try:
    writer.append({"step": 2, "loss": 0.123456789, "parts": {"l1": 0.1}})
except RunError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append({"end": "failed", "reason": "disk full", "step": 1})
"""


def test_a_full_disk_leaves_no_torn_line_and_the_reason_can_still_be_written(run: Run) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(run.directory)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.startswith(f"{run.summary}: cannot be written: ")
    assert [json.loads(line) for line in run.summary.read_text().splitlines()] == [
        {"step": 1, "loss": 1.0},
        {"end": "failed", "reason": "disk full", "step": 1},
    ]
    info = read_info(run)
    assert (info.state, info.reason) == ("failed", "disk full")


@pytest.mark.parametrize(
    ("end", "state"),
    [("finished", "finished"), ("stopped", "stopped"), ("interrupted", "stopped"), ("terminated", "stopped")],
)
def test_how_a_run_ended_is_its_state(run: Run, end: str, state: str) -> None:
    fill(run, 3)
    assert read_info(run).state == "killed"
    with run.summary.open("a") as stream:
        stream.write(json.dumps({"end": end, "step": 3}) + "\n")
    os.utime(run.summary, (1e9, 1e9))
    info = read_info(run)
    assert (info.state, info.steps, info.total_steps, info.model_size, info.updated) == (state, 3, 3, "Medium", 1e9)
