"""Turns docstrings (Google style, with the reST that they use) into Markdown for the reference pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def markdown(docstring: str) -> str:
    """A docstring as Markdown: paragraphs, lists, tables, and a list for each section of arguments or exceptions."""
    lines = inspect.cleandoc(docstring).splitlines()
    blocks: list[str] = []
    while lines:
        if re.fullmatch(r"=+( +=+)+", lines[0]):
            end = [number for number, line in enumerate(lines) if re.fullmatch(r"=+( +=+)+", line)][1]
            blocks += [_table(lines[: end + 1]), ""]
            del lines[: end + 1]
        elif lines[0].rstrip(":") in _SECTIONS and lines[0].endswith(":"):
            title = lines.pop(0).rstrip(":")
            body = _indented(lines)
            blocks += [
                "",
                f"**{title}**",
                "",
                *(_items(body) if title in ("Args", "Attributes", "Raises") else _text(body)),
            ]
        elif lines[0].endswith("::"):
            blocks += [_inline(lines.pop(0)[:-1]), ""]
            blocks += ["```text", *inspect.cleandoc("\n".join(["", *_indented(lines)])).splitlines(), "```"]
        else:
            blocks.append(_inline(lines.pop(0)))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks)).strip()


def signature(name: str, value: Any) -> str:
    """How a function is called, with its defaults but without types."""
    parameters = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parameters.append(f"{'**' if parameter.kind is parameter.VAR_KEYWORD else ''}{parameter.name}{default}")
    return f"{name}({', '.join(parameters)})"


def _indented(lines: list[str]) -> list[str]:
    """Takes the indented lines off the front."""
    body = []
    while lines and (not lines[0] or lines[0].startswith(" ")):
        body.append(lines.pop(0))
    return body


def _items(body: list[str]) -> Iterator[str]:
    """``name: text`` as a list."""
    for line in inspect.cleandoc("\n".join(["", *body])).splitlines():
        name = re.match(r"([\w., *`]+): (.*)", line)
        if name:
            yield f"- `{name[1]}`: {_inline(name[2])}"
        elif line:
            yield f"  {_inline(line.strip())}"


def _text(body: list[str]) -> Iterator[str]:
    yield from (_inline(line.strip()) for line in body if line.strip())


def _table(lines: list[str]) -> str:
    """A simple table of reST; a line without a first column continues the row above."""
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    rows: list[list[str]] = []
    for line in lines[1:-1]:
        ends = [*starts[1:], max(len(line), starts[-1])]
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if cells[0] and not (rows and rows[-1][0].endswith(",")):
            rows.append(cells)
        else:
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], cells, strict=True)]
    head = ["| | |", "|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows)])


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`[~.]?([^`]+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)
