"""A trainer that trains nothing: real files, a real lock, and the trainer's own code for requests and signals."""

from __future__ import annotations

import argparse
import math
import struct
import time
import zlib
from pathlib import Path

from copycat.runs import Run, SummaryWriter, TrainerLock, write_whole
from copycat.training.control import REASONS, Control
from copycat.training.signals import StopSignals


def picture(width: int, height: int, shade: int) -> bytes:
    """A PNG of a three by three contact sheet: each cell has a shade of its own."""
    rows = b""
    for y in range(height):
        cells = [((3 * y // height) * 60 + (3 * x // width) * 30 + shade) % 256 for x in range(width)]
        rows += b"\0" + bytes(value for cell in cells for value in (cell, 255 - cell, shade))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def step_record(step: int, total: int, seconds_per_step: float = 0.01) -> dict[str, object]:
    """A plausible line of a summary: the loss falls, and jumps a little where a stage starts."""
    stage = min(3 * (step - 1) // total, 2)
    wobble = 0.2 * math.sin(step * 12.9898) + 0.12 * math.sin(step * 78.233)
    loss = (0.012 + 0.22 * math.exp(-6.0 * step / total) + 0.02 * stage / 3) * (1 + wobble)
    return {
        "step": step,
        "loss": round(loss, 6),
        "parts": {"l1": round(loss * 0.8, 6), "l2": round(loss * 0.2, 6)},
        "level": (4, 2, 1)[stage],
        "lr": 1e-3,
        "time": round(step * seconds_per_step, 4),
    }


def header(total: int) -> dict[str, object]:
    """The header line of a run of ``total`` steps."""
    third = total // 3
    return {
        "run": {
            "totalSteps": total,
            "stages": [[4, 1, third], [2, third + 1, 2 * third], [1, 2 * third + 1, total]],
            "pairs": 4,
            "batch": 4,
            "modelSize": "Medium",
            "device": "cpu",
        }
    }


def main() -> None:
    """Trains nothing until all steps are done or somebody asks it to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("name")
    parser.add_argument("--steps", type=int, default=1000000)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--resume", type=int)
    options = parser.parse_args()
    run = Run(options.directory, options.name)
    lock = TrainerLock(run)
    writer = SummaryWriter(run, options.resume)
    writer.append(header(options.steps))
    step, finishing = options.resume or 0, False
    with StopSignals() as signals:
        control = Control(run, signals)
        while step < options.steps and not control.look() and not finishing:
            step += 1
            writer.append(step_record(step, options.steps))
            if step % options.pictures == 0:
                write_whole(control.run.contact_sheet(step), picture(96, 96, step % 251))
                write_whole(control.run.preview(step), picture(64, 48, step % 251))
                write_whole(control.run.checkpoint(step), b"not a model")
                writer.append({"step": step, "psnr": 30 + 8 * step / options.steps})
            finishing = control.take_finish()
            time.sleep(options.pause)
    write_whole(control.run.resume_state, b"state")
    how = control.stop or "finished"
    writer.append({"end": how, "reason": REASONS.get(how, ""), "step": step})
    writer.close()
    lock.release(control.run)


if __name__ == "__main__":
    main()
