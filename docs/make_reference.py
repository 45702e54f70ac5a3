"""Makes the pages and tables that come from the code and from measurements.

These are ``docs/reference``, from the command line's help and the table of knobs, and the tables of
``docs/explanation/benchmarks.md`` and ``README.md`` (``docs.benchmark_tables``). ``python -m docs.make_reference``
writes them; with ``--check`` it lists the pages that are out of date and exits with 1.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import copycat
import typer.main
from copycat.cli.app import app
from copycat.settings.knob import Knob, choice_label
from copycat.settings.presets import PRESETS
from copycat.settings.tables import COPYCAT_KNOBS, INFERENCE_KNOBS, Settings

from docs.benchmark_tables import fill
from docs.docstrings import markdown, signature
from docs.markdown_tables import Results

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
_NOTE = "<!-- Made by `make docs` from the code; do not edit. -->"


def pages() -> dict[Path, str]:
    """Every page that is generated, wholly or in part: its path and its text."""
    group: Any = typer.main.get_command(app)
    texts = {
        REFERENCE / "knobs.md": _knobs(),
        REFERENCE / "files.md": _files(),
        REFERENCE / "python.md": _python(),
    }
    for path in (HERE / "explanation/benchmarks.md", HERE.parent / "README.md"):
        texts[path] = fill(path.read_text(encoding="utf-8"), Results())
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            for inner, subcommand in sorted(command.commands.items()):
                texts[REFERENCE / f"commands/{name}-{inner}.md"] = _command(f"{name} {inner}", subcommand)
        else:
            texts[REFERENCE / f"commands/{name}.md"] = _command(name, command)
    return texts


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([f"copycat {name}", *(a.name.upper() for a in arguments), "[OPTIONS]"])
    lines = [_NOTE, f"# copycat {name}", "", command.help or "", "", "```", usage, "```"]
    if arguments:
        lines += ["", "| argument | |", "|---|---|"]
        lines += [f"| `{a.name.upper()}` | {_text(a)} |" for a in arguments]
    if options:
        lines += ["", "| option | |", "|---|---|"]
        lines += [f"| {', '.join(f'`{o}`' for o in (*p.opts, *p.secondary_opts))} | {_text(p)} |" for p in options]
    return "\n".join(lines) + "\n"


def _text(parameter: Any) -> str:
    return (getattr(parameter, "help", None) or "").replace("\\[", "[").replace("|", "\\|")


def _knobs() -> str:
    lines = [_NOTE, "# Knobs", ""]
    lines += [
        "Script name, default and range of every knob, from the one table in `python/copycat/settings/tables.py`.",
        "",
    ]
    for title, table in (("CopyCat", COPYCAT_KNOBS), ("Inference", INFERENCE_KNOBS)):
        for page in dict.fromkeys(knob.page for knob in table):
            lines += [f"## {title}: {page}", "", "| label | knob | default | values | |", "|---|---|---|---|---|"]
            lines += [_row(knob) for knob in table if knob.page == page]
            lines.append("")
    lines += _presets()
    return "\n".join(lines).rstrip() + "\n"


def _presets() -> list[str]:
    labels = {knob.field: knob.label for knob in Settings.knobs()}
    fields = next(iter(PRESETS.values()))
    lines = ["## Presets", "", "What each Preset sets; a knob that you set yourself takes precedence.", ""]
    lines += [f"| Preset | {' | '.join(labels[field] for field in fields)} |", "|---" * (1 + len(fields)) + "|"]
    lines += [f"| {name} | {' | '.join(str(values[f]) for f in fields)} |" for name, values in PRESETS.items()]
    return lines


def _files() -> str:
    lines = [_NOTE, "# File formats", ""]
    for title, module in (("A run", "runs"), ("The .cat", "model.cat"), ("The .ost", "training.checkpoint")):
        docstring = importlib.import_module(f"copycat.{module}").__doc__ or ""
        lines += [f"## {title}", "", f"Module `copycat.{module}`.", "", markdown(docstring), ""]
    return "\n".join(lines).rstrip() + "\n"


def _python() -> str:
    lines = [_NOTE, "# Python", "", markdown(copycat.__doc__ or ""), ""]
    for name in copycat.__all__:
        value = getattr(copycat, name)
        if name.startswith("_"):
            continue
        head = signature(name, value) if inspect.isfunction(value) else f"class {name}"
        lines += [f"## {name}", "", "```python", head, "```", "", markdown(value.__doc__ or ""), ""]
        if name.endswith("Settings"):
            lines += ["Its fields are the knobs in snake_case: [knobs](knobs.md).", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(knob: Knob) -> str:
    if knob.kind in ("button", "info", "table"):
        default: str = knob.kind
    elif knob.kind == "bool":
        default = "on" if knob.default else "off"
    else:
        default = (choice_label(knob.default) if knob.choices else str(knob.default)) or "–"
    values = ", ".join(map(choice_label, knob.choices))
    if not values and knob.minimum is not None:
        values = f"{knob.minimum} to {knob.maximum}" if knob.maximum is not None else f"from {knob.minimum}"
    name = f"`{knob.name}`" + (f" (alias `{knob.alias}`)" if knob.alias else "")
    return f"| {knob.label} | {name} | {default} | {values} | {knob.hint} |"


def main() -> None:
    """Writes or checks the pages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    check = parser.parse_args().check
    texts = pages()
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in (REFERENCE / "commands").glob("*.md") if path not in texts]
    if check:
        for path in stale:
            print(f"{path.relative_to(HERE.parent)}: out of date; run make docs")
        sys.exit(bool(stale))
    (REFERENCE / "commands").mkdir(exist_ok=True)
    for path in stale:
        if path in texts:
            path.write_text(texts[path])
        else:
            path.unlink()


if __name__ == "__main__":
    main()
