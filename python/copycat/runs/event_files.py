"""TensorBoard event files, written without TensorBoard. Standard library only.

An event file is a row of records (TFRecord): the length of the data as uint64, a checksum of those eight bytes, the
data, a checksum of the data; all little-endian. The checksum is CRC-32C (RFC 3720, appendix B.4), turned right by 15
bits plus 0xa282ead8. The data are one Event of TensorFlow's ``event.proto``, in protobuf's wire format::

    Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
    Summary { repeated Value value = 1; }
    Value   { string tag = 1; float simple_value = 2; }

The first event holds the file version ``brain.Event:2``, every other one a step and its numbers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from copycat.runs.files import Run, modified
from copycat.runs.history import glance, number
from copycat.runs.summary import SummaryReader
from copycat.runs.writing import RunError, temporary_beside

_VERSION = b"brain.Event:2"
_TAGS = {"loss": "loss", "lr": "learning rate", "level": "level", "rate": "steps per second", "memory": "GPU memory"}


def _checksum_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _checksum_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number_: int, data: bytes) -> bytes:
    return _varint(number_ << 3 | 2) + _varint(len(data)) + data


def scalar_event(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """The record of one step.

    Args:
        wall_time: seconds since the epoch.
        step: not negative.
        values: numbers by their tag.
    """
    summary = b"".join(
        _bytes_field(1, _bytes_field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
        for tag, value in values.items()
    )
    return _record(b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + _bytes_field(5, summary))


def write_event_file(run: Run, directory: Path) -> Path:
    """Writes all numbers of a run as ``<directory>/<run>/events.out.tfevents.copycat``, replacing an earlier one.

    Event times assume that training ran without a break until the last line.

    Returns:
        The file.

    Raises:
        RunError: the file cannot be written.
    """
    path = directory / run.name / "events.out.tfevents.copycat"
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                _write_events(run, stream)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _write_events(run: Run, stream: BinaryIO) -> None:
    start = modified(run.summary) - glance(run).info().seconds
    stream.write(_record(b"\x09" + struct.pack("<d", start) + _bytes_field(3, _VERSION)))
    seconds = 0.0
    for records, _ in SummaryReader(run.summary).blocks():
        for record in records:
            values = {}
            parts = record.get("parts")
            named = {f"loss/{key}": value for key, value in parts.items()} if isinstance(parts, dict) else {}
            named.update((tag, record[key]) for key, tag in _TAGS.items() if key in record)
            if "psnr" in record:
                named["validation PSNR"] = record["psnr"]
            for tag, value in named.items():
                if (as_float := number(value)) == as_float and abs(as_float) < 3.4e38:
                    values[tag] = as_float
            step = number(record.get("step"))
            if values and 0 <= step < 2**63:
                if (time := number(record.get("time"))) == time:
                    seconds = time
                stream.write(scalar_event(start + seconds, int(step), values))
