"""Prints the results of ``copycat info``, ``copycat check`` and ``copycat suggest``, and the version."""

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
    from copycat.sequence.pairs import Pair

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


def report_suggestions(
    model: str, plate: str, frames: str, ground_truth_frames: str | None, as_json: bool, **knobs: Any
) -> None:
    """Prints the frames of a plate, the one to paint next first; arguments as for ``suggest``."""
    from copycat.inference.suggest import suggest

    arguments: dict[str, Any] = {"frames": frames, "ground_truth_frames": ground_truth_frames, **knobs}
    if as_json:
        print(json.dumps([asdict(suggestion) for suggestion in suggest(model, plate, **arguments)], indent=1))
        return
    with render_display() as (progress, warn):
        suggestions = suggest(model, plate, progress=progress, warn=warn, **arguments)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("Rank", "Frame", "Score"):
        table.add_column(title, justify="right")
    table.add_column("")
    rank = 0
    for suggestion in suggestions:
        row = [str(suggestion.frame), f"{suggestion.score:.5f}"]
        if suggestion.painted:
            table.add_row("", *row, "painted", style="dim")
        else:
            rank += 1
            table.add_row(str(rank), *row, "", style="bold" if rank == 1 else "")
    Console(highlight=False).print(table)
