"""The terminal table, JSON, CSV, and TensorBoard's event files decoded by an independent reader."""

from __future__ import annotations

import csv
import io
import json
import struct
from pathlib import Path

import pytest
from copycat.cli.runs_table import show_runs, sparkline
from copycat.runs import Display, Run, RunError, StepColumns, SummaryWriter, glance, read_info
from copycat.runs.event_files import crc32c, write_event_file
from fake_trainer import header, step_record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, end, reason in (("first", "finished", ""), ("second", "failed", "a\x1b[31mb")):
        writer = SummaryWriter(Run(tmp_path, name))
        writer.append(header(200), *(step_record(step, 200, 0.25) for step in range(1, 201)))
        writer.append({"step": 100, "psnr": 30.5}, {"step": 200, "psnr": 29.5})
        writer.append({"end": end, "reason": reason, "step": 200})
        writer.close()
    Display.read(tmp_path).set("first", colour="#112233")
    return tmp_path


def test_the_table(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(directory)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split() == ["Name", "Steps", "Loss", "PSNR", "Curve", "(log)", "State", "Size", "Time"]
    first = next(line for line in lines if "first" in line)
    assert " 200 " in first
    assert "30.50" in first
    assert "finished" in first
    assert "█" in first
    assert "second: a [31mb" in text
    assert "\x1b" not in text


def test_json_and_csv_say_the_same(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(directory, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    show_runs(directory, as_csv=True)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == [line["name"] for line in lines]
    first = next(row for row in rows if row["name"] == "first")
    assert (first["state"], first["steps"], first["best_psnr"], first["colour"]) == ("finished", 200, 30.5, "#112233")
    assert next(line for line in lines if line["name"] == "first")["best_psnr"] == "30.5"


def test_an_empty_and_a_missing_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(RunError, match=r"nowhere.*cannot be read"):
        show_runs(tmp_path / "nowhere")


def test_a_glance_knows_what_the_whole_history_knows(directory: Path) -> None:
    run = Run(directory, "first")
    info = read_info(run)
    assert (info.steps, info.total_steps, info.best_psnr, info.state) == (200, 200, 30.5, "finished")
    assert info.loss == step_record(200, 200)["loss"]
    steps = list(glance(run, 16).steps.column("step"))
    assert steps == sorted(set(steps))
    assert steps[0] < 20
    assert steps[-1] == 200
    assert len(steps) < 20


@pytest.mark.parametrize("text", ["", "\n", "{", '{"step": 1, "loss": 2}', '{"step": 1, "loss": 2}\n{"st'])
def test_a_glance_at_a_short_or_torn_file(tmp_path: Path, text: str) -> None:
    run = Run(tmp_path, "r")
    run.summary.write_text(text)
    assert read_info(run).steps == (1 if text.count("\n") and text.startswith('{"step') else 0)
    assert read_info(Run(tmp_path, "absent")).steps == 0


def curve(losses: list[float]) -> StepColumns:
    columns = StepColumns()
    columns.extend([{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    return columns


def test_sparklines() -> None:
    assert sparkline(curve([])) == ""
    assert sparkline(curve([0.5])) == "▁"
    assert sparkline(curve([float("nan"), 0.0, -1.0])) == ""
    assert sparkline(curve([10.0 ** (-step / 8) for step in range(8)]), 8) == "█▇▆▅▄▃▂▁"


def test_the_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4


def read_records(data: bytes) -> list[bytes]:
    records = []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        assert check == mask(crc32c(data[:8]))
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == mask(crc32c(body))
        records.append(body)
        data = data[16 + length :]
    return records


def mask(value: int) -> int:
    return ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def fields(message: bytes) -> list[tuple[int, object]]:
    """(number, value) of each field of a protobuf message."""
    found: list[tuple[int, object]] = []

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    at = 0
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
            found.append((key >> 3, value))
        elif key & 7 == 2:
            length, at = varint(at)
            found.append((key >> 3, message[at : at + length]))
            at += length
        else:
            size, kind = (8, "<d") if key & 7 == 1 else (4, "<f")
            found.append((key >> 3, struct.unpack(kind, message[at : at + size])[0]))
            at += size
    return found


def test_event_files(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    show_runs(directory, tensorboard=out)
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed) == sorted(str(path) for path in out.glob("*/events.out.tfevents.copycat"))
    path = write_event_file(Run(directory, "first"), out)  # again: replaced, not added to
    events = [dict(fields(record)) for record in read_records(path.read_bytes())]
    assert events[0][3] == b"brain.Event:2"
    assert len(events) == 1 + 200 + 2
    record = step_record(7, 200, 0.25)
    event = events[7]
    scalars = {
        dict(fields(value))[1].decode(): dict(fields(value))[2]  # type: ignore[attr-defined]
        for _, value in fields(event[5])  # type: ignore[arg-type]
    }
    assert event[2] == 7
    assert event[1] - events[0][1] == pytest.approx(record["time"])  # type: ignore[operator]
    assert scalars["loss"] == pytest.approx(record["loss"], rel=1e-6)
    assert scalars["level"] == 4
    assert set(scalars) == {"loss", "loss/l1", "loss/l2", "learning rate", "level"}
    assert len(list(path.parent.iterdir())) == 1
