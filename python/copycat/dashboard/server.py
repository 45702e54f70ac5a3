"""The web server of the Progress page: pictures, static files, one page for each browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from nicegui import app, background_tasks, ui

from copycat.dashboard.access import Access
from copycat.dashboard.page import Page
from copycat.dashboard.trainings import Trainings
from copycat.plots.live import Watch
from copycat.runs import Run, RunError

STATIC = Path(__file__).parent / "static"
SCAN_SECONDS = 1.0
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#1d2126"/>'
    '<path d="M5 9c5 0 6 14 22 14" fill="none" stroke="#e69f00" stroke-width="3.5" stroke-linecap="round"/></svg>'
)


def serve(directory: Path, host: str, port: int, browser: bool, token: str | None, options: Mapping[str, str]) -> None:
    """Serves the page of a Data Directory until it is interrupted.

    Args:
        directory: an absolute path.
        host, port: where to listen; port is free.
        browser: open the page in the browser.
        token: asked of every browser; None where the host is the loopback address.
        options: of the address that is printed and opened: what knobs of the page stand at to begin with.
    """
    watch, trainings = Watch(directory), Trainings(directory)
    app.add_static_files("/copycat", STATIC)
    app.add_api_route("/pictures/{name}/{kind}/{step}", _pictures(directory), include_in_schema=False)
    app.add_middleware(Access, host=host, port=port, token=token)

    @ui.page("/", title=f"{directory.name} - copycat", dark=True)
    def page(request: Request) -> None:
        Page(watch, trainings, local=token is None, options=request.query_params)

    query = "/?" + urlencode({**({"token": token} if token else {}), **options})
    query = query.rstrip("?")
    shown_host = f"[{host}]" if ":" in host else host
    app.on_startup(lambda: print(f"Progress of {directory}: http://{shown_host}:{port}{query}", flush=True))
    app.on_startup(lambda: background_tasks.create(_keep_watching(watch), name="watch the runs"))
    ui.run(
        host=host,
        port=port,
        title="copycat",
        favicon=_ICON,
        show=query if browser else False,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        message_history_length=100,
    )


def _pictures(directory: Path) -> Callable[..., Response]:
    """The handler that sends contact sheets and previews: nothing else, and nothing from elsewhere."""

    def picture(name: str, kind: Literal["sheet", "preview"], step: int) -> Response:
        missing = PlainTextResponse("There is no such picture.", 404)
        try:
            run = Run(directory, name)
        except RunError:
            return missing
        path = run.contact_sheet(step) if kind == "sheet" else run.preview(step)
        if step < 0 or not path.is_file() or path.resolve().parent != directory:
            return missing
        return FileResponse(path, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    return picture


async def _keep_watching(watch: Watch) -> None:
    """Scans as long as somebody looks."""
    while True:
        more = any(app.clients("/")) and await asyncio.to_thread(watch.scan)
        await asyncio.sleep(0.0 if more else SCAN_SECONDS)
