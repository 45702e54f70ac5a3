"""Markdown tables of results (``benchmarks.record``), with lines that say where their numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.record import FOLDER, Result, Value, read


class Results:
    """The results of a folder, read when a table asks for them.

    Attributes:
        used: names of the results that were asked for and exist.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def get(self, name: str) -> Result | None:
        """A result, or None if it was not measured."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        self.used.add(name)
        return read(path)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: Value, form: str) -> str:
    """A number as ``form`` prints it (``%`` after it: times 100); words as they are; nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, dict):
        raise TypeError(f"{value} is not one number")
    return f"{100 * value:{form[:-1]}} %" if form.endswith("%") else f"{value:{form}}"


def with_sources(text: str, results: Iterable[Result | None]) -> str:
    """A table, and below it a line for each commit, date and machine with the results that were measured there."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result:
            groups.setdefault(_circumstances(result), []).append(result)
    lines = [
        (f"`{of[0].command}`" if len(of) == 1 else "results " + ", ".join(f"`{result.name}`" for result in of))
        + f": {circumstances}"
        for circumstances, of in groups.items()
    ]
    return "\n\n".join(filter(None, (text, "  \n".join(f"*{line}*" for line in lines))))


def _circumstances(result: Result) -> str:
    of = result.machine
    cpu = " ".join(str(of[key]) for key in ("cpu", "instructions") if key in of)
    cores = "1 core" if of.get("cores") == 1 else f"{of['cores']} cores"
    parts = [f"commit {result.commit}", result.date, *filter(None, (str(of.get("gpu", "")), cpu, cores))]
    return ", ".join(parts)


def unmeasured(command: str) -> str:
    """The text for a benchmark without a result."""
    return f"*Not measured with the present code. `{command}` measures it.*"
