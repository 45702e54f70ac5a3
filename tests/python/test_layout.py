"""docs/architecture.md is true of the folders, and a file over 400 lines says why."""

from __future__ import annotations

import importlib
import io
import re
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python/copycat"
LINES = 400
SOURCES = ("*.py", "*.pyi", "*.cpp", "*.h", "*.cu", "*.cuh", "*.inc", "*.js", "*.css", "*.sh", "*.yaml")
FOLDERS = ("benchmarks", "cpp", "docs", "examples", "hosts", "ofx", "python", "release", "tests", "tools")
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def layers() -> list[str]:
    """The layers of import-linter, top to bottom."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return list(contract["layers"])


def test_the_picture_of_the_layers_is_what_import_linter_checks() -> None:
    picture = [re.findall(r"│ (\w+) ", line) for line in PAGE.splitlines()]
    assert [names for names in picture if names] == [layer.split(" | ") for layer in layers()]


def test_every_folder_is_a_layer() -> None:
    names = {name for layer in layers() for name in layer.split(" | ")}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert names == folders | {path.stem for path in PACKAGE.glob("[a-z]*.py")}


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:training|model|data|ops|sequence|runs)[./]\w[\w./]*)`", PAGE)))
)
def test_a_name_on_the_page_exists(name: str) -> None:
    parts = re.split("[./]", name)
    found = importlib.import_module(f"copycat.{parts[0]}")
    for depth, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(["copycat", *parts[:depth]]))
        found = getattr(found, part)


def test_the_glossary_is_sorted_and_says_each_word_once() -> None:
    table = PAGE.partition("## Glossary")[2].partition("\n## ")[0]
    terms = re.findall(r"^\| (?!term |---)([^|]+?) \|", table, re.MULTILINE)
    assert len(terms) >= 40
    assert terms == sorted(set(terms), key=str.casefold)


def test_a_long_file_says_why_in_its_first_comment() -> None:
    paths = [path for folder in FOLDERS for kind in SOURCES for path in (ROOT / folder).rglob(kind)]
    silent = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LINES and not any("Over 400 lines:" in line for line in lines[:30]):
            silent.append(f"{path.relative_to(ROOT)}: {len(lines)}")
    assert not silent, "split these, or say in the first comment 'Over 400 lines: <reason>'"


# Words that say nothing are no names.
EMPTY_WORDS = {"known", "told", "seen", "made", "those", "rest", "place", "wanted", "begun"}


def test_no_name_in_the_package_is_an_empty_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in PACKAGE.rglob("*.py")
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.NAME and token.string.strip("_") in EMPTY_WORDS
    ]
    assert found == []
