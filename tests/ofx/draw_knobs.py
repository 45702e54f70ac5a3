"""Draws the panels of both effects as a host lays them out, from what the plugin describes: docs/pictures/knobs.png.

Usage: ``python tests/ofx/draw_knobs.py OUTPUT.png`` (needs playwright and Chromium)
"""

from __future__ import annotations

import html
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

import ofx_host

STYLE = """
body { margin: 0; padding: 14px; background: #1f1f1f; color: #d0d0d0; font: 12px sans-serif; width: 1380px; }
.panels { display: flex; gap: 12px; align-items: flex-start; }
.panel { background: #323232; border: 1px solid #111; border-radius: 4px; flex: 1; }
.title { background: #464646; padding: 5px 8px; font-weight: bold; }
.tab { background: #3c3c3c; padding: 4px 8px; border-bottom: 1px solid #222; color: #f0b060; }
.row { display: flex; margin: 3px 8px; align-items: center; }
.label { width: 150px; text-align: right; padding-right: 8px; white-space: nowrap; overflow: hidden; }
.field { background: #262626; border: 1px solid #191919; padding: 2px 6px; flex: 1; min-height: 14px;
  white-space: pre; }
.tall { min-height: 44px; }
.off { color: #8a8a8a; background: #2e2e2e; }
.button { background: #5a5a5a; border-radius: 3px; padding: 3px 10px; }
"""


def field(row: dict[str, Any]) -> str:
    """A parameter as HTML."""
    kind = row["type"].removeprefix("OfxParamType")
    label = html.escape(row["OfxPropLabel"][0])
    if kind == "PushButton":
        return f'<div class="row"><div class="label"></div><div class="button">{label}</div></div>'
    value = row["OfxParamPropDefault"][0]
    if kind == "Boolean":
        box = "&#9745;" if value else "&#9744;"
        return f'<div class="row"><div class="label"></div><div>{box} {label}</div></div>'
    if kind == "Choice":
        shown = html.escape(row["OfxParamPropChoiceOption"][value]) + " &#9662;"
    else:
        shown = html.escape(str(int(value) if isinstance(value, float) and value.is_integer() else value))
    look = " off" if row.get("OfxParamPropEnabled") == [0] else ""
    look += " tall" if row.get("OfxParamPropStringMode") == ["OfxParamStringIsMultiLine"] else ""
    return f'<div class="row"><div class="label">{label}</div><div class="field{look}">{shown}</div></div>'


def panels(host: ofx_host.Host) -> str:
    """All pages of both effects."""
    columns = []
    for plugin in ("CopyCat", "Inference"):
        params = host.do("describe", plugin=plugin)["params"]
        rows = {row["name"]: row for row in params}
        for page in (row for row in params if row["type"] == "OfxParamTypePage"):
            fields = "".join(field(rows[name]) for name in page["OfxParamPropPageChild"])
            name = page["OfxPropLabel"][0]
            columns.append(
                f'<div class="panel"><div class="title">{plugin}</div><div class="tab">{name}</div>{fields}</div>'
            )
    lines = (columns[:2], columns[2:])
    return "".join(f'<div class="panels" style="margin-bottom:12px">{"".join(line)}</div>' for line in lines)


def main(output: str) -> None:
    """Writes the picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, ofx_host.Host(Path(folder)) as host, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1410, "height": 900})
        page.set_content(f"<style>{STYLE}</style>{panels(host)}")
        page.screenshot(path=output, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
