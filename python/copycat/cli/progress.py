"""``copycat progress``: serves the Progress page of a Data Directory."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from copycat.errors import CopycatError
from copycat.settings.tables import ProgressSettings

FIRST_PORT = 8600
_PORTS_TRIED = 50


def progress(
    data_directory: Path,
    port: int = 0,
    browser: bool = True,
    host: str = "127.0.0.1",
    token: str | None = None,
    **display: Any,
) -> None:
    """Serves the Progress page until Ctrl-C.

    Args:
        data_directory: where the runs are.
        port: to listen on; 0 takes the first free one from 8600 on.
        browser: open the page in the browser.
        host: address to listen on.
        token: every browser must bring it; a random one when none is given.
        display: fields of :class:`copycat.settings.tables.ProgressSettings` that the opened address sets.

    Raises:
        CopycatError: a knob's value is not allowed, there is no such directory, the port is taken, or NiceGUI is not
            installed.
    """
    options = display_options(ProgressSettings(**display), display)
    data_directory = Path(data_directory).resolve()
    if not os.path.isdir(data_directory):
        raise CopycatError(f"{data_directory}: there is no such Data Directory")
    if importlib.util.find_spec("nicegui") is None:
        raise CopycatError(
            "the Progress page needs NiceGUI, which is not installed: pip install 'copycat-vfx[progress]'"
        )
    from copycat.dashboard.server import serve

    token = token or secrets.token_urlsafe(24)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
        serve(data_directory, host, listen(host, port), browser, token, options)


def display_options(settings: ProgressSettings, fields: Iterable[str]) -> dict[str, str]:
    """The named fields as options of the page's address: ``{"logScale": "true", ...}``."""
    named = {knob.name for knob in ProgressSettings.knobs() if knob.field in set(fields)}
    return {name: str(value).lower() for name, value in settings.to_dict().items() if name in named}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``port``, or on the first free one where it is 0; nobody else can take it any more.

    Raises:
        CopycatError: it is taken, or the address is not one of this machine.
    """
    candidates = [port] if port else range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED)
    problem = ""
    for candidate in candidates:
        listening = None
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            listening = socket.socket(family, socket.SOCK_STREAM)
            if os.name == "posix":  # a port whose last server has just ended is free; on Windows any would be
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, candidate))
            listening.listen()
            return listening
        except (OSError, OverflowError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            if listening:
                listening.close()
    raise CopycatError(f"cannot listen on {host} port {port or FIRST_PORT}: {problem}")
