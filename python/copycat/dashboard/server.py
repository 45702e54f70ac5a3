"""The web server of the Progress page: pictures, static files, one page for each browser."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Path as PathPart
from fastapi import Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from nicegui import app, background_tasks, ui

from copycat.dashboard import shot_pictures
from copycat.dashboard.access import Access, is_loopback
from copycat.dashboard.faults import Faults
from copycat.dashboard.page import Page
from copycat.dashboard.renders import Renders
from copycat.dashboard.shot_process import ShotProcess, Weights
from copycat.plots.live import Watch
from copycat.runs import Run, RunError
from copycat.runs.launch import Trainings

STATIC = Path(__file__).parent / "static"
SCAN_SECONDS = 1.0
_REST_SECONDS = 5.0
Step = Annotated[int, PathPart(ge=0, lt=10**12)]
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#1d2126"/>'
    '<path d="M5 9c5 0 6 14 22 14" fill="none" stroke="#e69f00" stroke-width="3.5" stroke-linecap="round"/></svg>'
)


def serve(
    directory: Path, host: str, listening: socket.socket, browser: bool, token: str, options: Mapping[str, str]
) -> None:
    """Serves the page of a Data Directory until it is interrupted.

    Args:
        directory: an absolute path.
        host: the name of the address that is listened on.
        listening: a socket that listens there; closed in the end.
        browser: open the page in the browser.
        token: every browser must bring it; part of the address that is printed.
        options: of the address that is printed and opened: the initial values of the page's knobs.
    """
    port = listening.getsockname()[1]
    watch, trainings, renders, faults = Watch(directory), Trainings(), Renders(), Faults()
    shots = ShotProcess()
    ticket = secrets.token_urlsafe(24)
    app.add_static_files("/copycat", STATIC)
    app.add_api_route("/pictures/{name}/{kind}/{step}", _pictures(directory), include_in_schema=False)
    frames = shot_pictures.pictures(directory, shots, Weights())
    app.add_api_route(shot_pictures.ADDRESS, frames, include_in_schema=False)
    app.add_middleware(Access, host=host, port=port, token=token, ticket=ticket if browser else "")
    app.on_exception(faults.add)

    @ui.page("/", title=f"{directory.name} - copycat", dark=True)
    def page(request: Request) -> None:
        Page(watch, trainings, renders, faults, local=is_loopback(host), options=request.query_params)

    shown_host = f"[{host}]" if ":" in host else host
    address = f"http://{shown_host}:{port}/?{urlencode({'token': token, **options})}"
    app.on_startup(lambda: print(f"Progress of {directory}: {address}", flush=True))
    app.on_startup(lambda: background_tasks.create(_keep_watching(watch, faults), name="watch the runs"))
    app.on_startup(lambda: background_tasks.create(_keep_resting(shots), name="end the pictures' process"))
    app.on_shutdown(shots.close)
    ui.run(
        host=host,
        port=port,
        title="copycat",
        favicon=_ICON,
        show=f"/?{urlencode({'token': ticket, **options})}" if browser else False,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        message_history_length=100,
        **_listening_options(listening),
    )
    listening.close()


def _listening_options(listening: socket.socket) -> dict[str, Any]:
    """What uvicorn serves a listening socket by."""
    if os.name != "posix":  # uvicorn takes no descriptor there, and the port is free for a moment
        listening.close()
        return {}
    # uvicorn takes it for a Unix socket, whose connections asyncio leaves as they are: they inherit this one's option.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return {"fd": listening.fileno()}


def _pictures(directory: Path) -> Callable[..., Response]:
    """The handler that sends contact sheets and previews: nothing else, and nothing from elsewhere."""

    def picture(name: str, kind: Literal["sheet", "preview"], step: Step) -> Response:
        missing = PlainTextResponse("There is no such picture.", 404)
        try:
            run = Run(directory, name)
        except RunError:
            return missing
        path = run.contact_sheet(step) if kind == "sheet" else run.preview(step)
        if not path.is_file() or path.resolve().parent != directory:
            return missing
        return FileResponse(path, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    return picture


async def _keep_resting(shots: ShotProcess) -> None:
    """Ends the process that makes pictures when nobody looks."""
    while True:
        shots.end_if_idle()
        await asyncio.sleep(_REST_SECONDS)


async def _keep_watching(watch: Watch, faults: Faults) -> None:
    """Scans while somebody looks."""
    while True:
        more = False
        try:
            more = any(app.clients("/")) and await asyncio.to_thread(watch.scan)
        except Exception as error:
            faults.add(error)
        await asyncio.sleep(0.0 if more else SCAN_SECONDS)
