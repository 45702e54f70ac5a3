"""Every link of a page leads to a file that exists, and to a heading of it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "python").rglob("*.md")])


def prose(page: str) -> str:
    """The page without code, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```+).*?^\1", "", page, flags=re.MULTILINE | re.DOTALL))


def anchors(page: str) -> set[str]:
    """The ids of the headings, as Python-Markdown makes them."""
    ids = set()
    for title in re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    ):
        plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
        ids.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return ids


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for link in re.findall(r"\]\(([^()\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        target = (path.parent / name).resolve() if name else path
        is_file = target.is_file() and (ROOT / "docs" not in path.parents or ROOT / "docs" in target.parents)
        if not is_file or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_lead_to_files_and_headings(path: Path) -> None:
    assert broken(path) == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title, and more\n\n```\n# no title\n```\n")
    page = tmp_path / "page.md"
    links = ("other.md", "missing.md", "other.md#a-title-and-more", "other.md#no-title", "https://example.org/x")
    page.write_text(
        "# Page\n\n" + "\n".join(f"[text]({link})" for link in (*links, "#page", "#nothing")) + "\n`[a](b)`\n"
    )
    assert broken(page) == ["missing.md", "other.md#no-title", "#nothing"]
