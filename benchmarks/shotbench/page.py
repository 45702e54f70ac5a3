"""The page of ShotBench: its table, and for each task one held-out frame as every tool rendered it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.record import Result, read
from benchmarks.shotbench.task import Task

# Figures of a result: key, heading, format. Those of mattes come last.
FIGURES = (
    ("psnr", "PSNR", ".2f"),
    ("psnr_in8", "without an 8 px frame", ".2f"),
    ("inside", "inside", ".2f"),
    ("outside", "outside", ".2f"),
    ("j", "J", ".1f"),
    ("f", "F", ".1f"),
    ("error", "mean error", ".4f"),
    ("flicker", "flicker", ".3f"),
    ("cpu_seconds", "CPU-seconds", ".0f"),
    ("wall_seconds", "wall seconds", ".0f"),
    ("steps", "steps", ".0f"),
)
_WIDEST, _LABEL = 400, 26


def cell(result: Result, key: str, form: str) -> str:
    """The mean of the runs and, of several, the least and the greatest."""
    mean = result.row(run="mean").get(key)
    if mean is None:
        return ""
    runs = [float(str(row[key])) for row in result.rows if row["run"] != "mean" and key in row]
    low, high = (format(of(runs), form) for of in (min, max)) if runs else ("", "")
    spread = f" ({low} to {high})" if low != high and key not in ("cpu_seconds", "wall_seconds", "steps") else ""
    return format(float(str(mean)), form) + spread


def write(results: Path, out: Path, tasks: Sequence[Task]) -> Path:
    """Writes ``index.html`` and a picture for each task.

    Args:
        results: folder of the ``shotbench-*.json``.
        out: folder with the tools' frames, ``TASK/TOOL/run0/rendered``; gets the page.
        tasks: those on the page.
    """
    parts = []
    for task in tasks:
        found = [read(path) for path in sorted(results.glob(f"shotbench-{task.name}-*.json"))]
        pictures = _pictures(task, out / task.name)
        cv2.imwrite(str(out / f"{task.name}.jpg"), side_by_side(pictures), [cv2.IMWRITE_JPEG_QUALITY, 88])
        parts += [f"<h2>{html.escape(task.name)}</h2>", _table(found), f'<img src="{task.name}.jpg" alt="">']
    path = out / "index.html"
    style = "body{font:15px system-ui;margin:2em;background:#181818;color:#ddd}img{max-width:100%}"
    style += "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #444}"
    head = f'<!doctype html><meta charset="utf-8"><title>ShotBench</title><style>{style}</style><h1>ShotBench</h1>'
    path.write_text(head + "\n".join(parts), encoding="utf-8")
    return path


def _table(results: Iterable[Result]) -> str:
    found = list(results)
    columns = [figure for figure in FIGURES if any(figure[0] in r.row(run="mean") for r in found)]
    lines = ["<tr><th>tool</th>" + "".join(f"<th>{heading}</th>" for _, heading, _ in columns) + "</tr>"]
    for result in found:
        cells = "".join(f"<td>{cell(result, key, form)}</td>" for key, _, form in columns)
        lines.append(f"<tr><td>{html.escape(result.name.split('-', 2)[2])}</td>{cells}</tr>")
    return "<table>" + "".join(lines) + "</table>"


def _pictures(task: Task, tools: Path) -> dict[str, np.ndarray]:
    """Input, each tool's result and truth of the middle held-out frame, cut out around the work."""
    test = task.folder / "test"
    names = sorted(path.name for path in (test / "dst").glob("*.png"))
    name = names[len(names) // 2]
    source, truth = (cv2.imread(str(test / side / name)) for side in ("src", "dst"))
    window = work_window(source, truth) if not task.matte else np.s_[:, :]
    found = {"Input": source[window]}
    for path in sorted(tools.glob(f"*/run0/rendered/{name}")):
        found[path.parts[-4]] = cv2.imread(str(path))[window]
    return found | {"Ground Truth": truth[window]}


def work_window(source: np.ndarray, truth: np.ndarray) -> tuple[slice, slice]:
    """The part of a frame, half its height and width at most, where the pair differs most."""
    height, width = source.shape[:2]
    rows, columns = min(height, max(height // 2, 240)), min(width, max(width // 2, 320))
    difference = np.abs(source.astype(np.float32) - truth).mean(axis=-1)
    # Sums over windows, by their upper left corners.
    summed = cv2.integral(difference)
    windows = summed[rows:, columns:] - summed[:-rows, columns:] - summed[rows:, :-columns] + summed[:-rows, :-columns]
    y, x = np.unravel_index(int(np.argmax(windows)), windows.shape)
    return slice(int(y), int(y) + rows), slice(int(x), int(x) + columns)


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures of one size in a row, labelled, each at most 400 pixels wide."""
    columns = []
    for label, picture in pictures.items():
        scale = min(1.0, _WIDEST / picture.shape[1])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        bar = np.full((_LABEL, small.shape[1], 3), 24, np.uint8)
        cv2.putText(bar, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (220, 220, 220), 1, cv2.LINE_AA)
        columns.append(np.concatenate([bar, small]))
    return np.concatenate(columns, axis=1)
