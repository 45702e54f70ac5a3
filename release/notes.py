"""Prints the notes of a release: the section of its version in CHANGELOG.md.

``python -m release.notes v0.1.0``
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


class NotesError(Exception):
    """There is nothing to release under this version."""


def notes(changelog: str, version: str) -> str:
    """The text below the heading of a version, up to the next version.

    Raises:
        NotesError: the version has no heading, is marked as unreleased, or has no text.
    """
    sections = re.split(r"^## (.+)$", changelog, flags=re.MULTILINE)
    headings, texts = sections[1::2], sections[2::2]
    for heading, text in zip(headings, texts, strict=True):
        number, _, remark = heading.partition(" ")
        if number != version:
            continue
        if "unreleased" in remark:
            raise NotesError(f"CHANGELOG.md: {version} is marked as unreleased; write its date")
        if not text.strip():
            raise NotesError(f"CHANGELOG.md: {version} has no notes")
        return text.strip() + "\n"
    raise NotesError(f"CHANGELOG.md: there is no version {version}")


def package_version() -> str:
    """The version that the package has, of which CMake and the wheel's metadata read theirs."""
    source = (ROOT / "python/copycat/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found
    return found[1]


def main(arguments: list[str] | None = None) -> None:
    """Prints the notes of a tag, ``v0.1.0``, which must be that of the package."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if len(words) != 1 or not words[0].startswith("v"):
            raise NotesError("give one tag, as v0.1.0")
        if words[0][1:] != package_version():
            raise NotesError(f"the tag is {words[0]}, the package is {package_version()}")
        print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), words[0][1:]), end="")
    except NotesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
