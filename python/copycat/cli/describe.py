"""Prints the results of ``copycat info``, ``copycat check`` and ``copycat review``, and the version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from copycat import __version__
from copycat.cli.terminal import printable, render_display
from copycat.model import cat
from copycat.sequence import read_info
from copycat.settings.tables import Settings

if TYPE_CHECKING:
    from copycat.inference.review import ReviewedFrame
    from copycat.sequence.pairs import Pair

_LISTED_FRAMES = 20
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def version() -> str:
    """The version, what it was built with, and whether a CUDA device is there."""
    from copycat import ops

    built = ops.build_info()
    cuda = f"CUDA {built['cuda_version']} for {built['cuda_architectures']}" if built["cuda"] else "without CUDA"
    device = "a CUDA device is there" if ops.cuda_available() else "no CUDA device here"
    return f"copycat {__version__} ({cuda}; {built['compiler']}; CPU kernels: {built['cpu_instructions']}; {device})"


def describe(path: Path, as_json: bool) -> None:
    """Describes a .cat or an image file.

    Raises:
        CopycatError: the file is neither.
    """
    console = Console(highlight=False)
    facts = _model_facts(path) if path.suffix == ".cat" else _image_facts(path)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    title = escape(printable(str(path)))
    table = Table(show_header=False, box=None, title=title, title_justify="left", title_style="bold")
    for name, value in facts.items():
        if name != "settings":
            table.add_row(name, escape(printable(str(value))))
    console.print(table)


def _model_facts(path: Path) -> dict[str, object]:
    header = cat.read_header(path)
    network = header.outline()
    return {
        "run": header.run,
        "channels": f"{','.join(header.channels_in)} -> {','.join(header.channels_out)}",
        "model size": header.model_size,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "receptive field": f"{network.receptive_field} px",
        "clean plate": _plate(header),
        "step": header.step,
        "level": f"1/{header.level}",
        "loss": header.loss,
        "value encoding": "signed log" if any(header.input_encoding.log_scale) else "as in the file",
        "mattes": ", ".join(c for c, m in zip(header.channels_out, header.target_encoding.matte, strict=False) if m)
        or "none",
        "data hash": header.data_hash[:16],
        "settings": dict(header.settings),
    }


def _plate(header: cat.ModelHeader) -> str:
    if header.plate_size is None:
        return "none"
    return "{1}x{0}".format(*header.plate_size) + (", made for each frame" if header.plate_moves else "")


def _image_facts(path: Path) -> dict[str, object]:
    info = read_info(path)
    return {
        "format": info.format,
        "size": f"{info.width}x{info.height}",
        "data window": ", ".join(map(str, info.data_window)),
        "depth": info.dtype,
        "channels": ", ".join(info.channels),
        "scene-linear": info.linear,
    }


def report_check(pairs: Sequence[Pair], settings: Settings, as_json: bool) -> bool:
    """Prints the findings of a check; returns whether a training with these settings would fail."""
    from copycat.checks.dataset import inspect_dataset

    report = inspect_dataset(pairs, settings)
    failing = any(finding.severity == "error" for finding in report.findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in report.findings], indent=1, default=str))
        return failing
    console = Console(highlight=False, soft_wrap=True)
    for finding in report.findings:
        console.print(f"[{_COLOURS[finding.severity]}]{finding.severity}:[/] {escape(printable(finding.sentence))}")
    if not report.findings:
        console.print("nothing is wrong with this data set")
    return failing


def report_review(model: str, plate: str, **arguments: Any) -> ReviewedFrame | None:
    """Reviews a plate and prints the most doubtful frames; arguments as for ``review``.

    Returns:
        The most doubtful frame; None if all are painted.
    """
    from copycat.inference.review import review

    with render_display() as (progress, warn, _):
        found = review(model, plate, progress=progress, warn=warn, **arguments)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("Frame", "Doubt", "Disagreement", "Unlikeness", "Chatter", "Indecision"):
        table.add_column(title, justify="right")
    table.add_column("")
    for one in found.worst[:_LISTED_FRAMES]:
        chatter, indecision = ("-" if x is None else f"{x:.{d}f}" for x, d in ((one.chatter, 3), (one.indecision, 5)))
        row = (
            str(one.frame),
            f"{one.doubt:.2f}",
            f"{one.disagreement:.5f}",
            f"{one.unlikeness:.3f}",
            chatter,
            indecision,
        )
        table.add_row(*row, "doubtful" if one.doubtful else "", style="yellow" if one.doubtful else "")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    doubtful = sum(one.doubtful for one in found.frames)
    painted = len(found.frames) - len(found.worst)
    console.print(
        f"Frames: {len(found.frames)}, of them {painted} painted, {doubtful} doubtful; "
        "a doubt of 1 is usual on painted frames"
    )
    if found.sheet:
        console.print(f"worst frames: {escape(printable(str(found.sheet)))}")
    return found.worst[0] if found.worst else None
