"""Who may talk to the page: a browser that has the token, under a name that this machine is served by."""

from __future__ import annotations

import ipaddress
import re
import secrets
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(?P<name>[^\[\]/@?#\s:]*|\[[0-9a-fA-F:.]+\])(:\d+)?")
_HEADERS = {"x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def served_names(host: str) -> frozenset[str]:
    """The host names of requests that are answered; none where every name is.

    A page of the loopback address answers to no other name, so that a foreign web page cannot reach it through a domain
    of its own (DNS rebinding). A page of another address answers to any name: a machine cannot list its own names.
    """
    if not is_loopback(host):
        return frozenset()
    return frozenset(("localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host))


class Access:
    """An ASGI layer in front of everything, web sockets included.

    Every browser needs the token, also on this machine: its other users could start trainings as this one. The token
    comes once in the address; a cookie keeps it from then on. The cookie's name holds the port, since the servers of a
    machine share their cookies. It is Lax and not Strict, or a link on another site would open a page that asks for
    the token again. A request from a page of another origin, or under a foreign name, is refused in any case.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str, ticket: str = "") -> None:
        """``ticket`` stands for the token once: other users can read the command line that opens the browser."""
        self._app = app
        self._names = served_names(host)
        self._token = token
        self._tickets = {ticket} - {""}
        self._cookie = f"copycat_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            refusal = self._refusal(HTTPConnection(scope))
        except ValueError as error:  # a header that urllib cannot parse
            refusal = PlainTextResponse(f"A header of the request is malformed: {error}", 400)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        else:
            await refusal(scope, receive, send)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        host = connection.headers.get("host", "").lower()
        origin = connection.headers.get("origin")
        parts = _HOST.fullmatch(host)
        if not parts:
            raise ValueError(f"Host {host!r}")
        _ = urlsplit(f"//{host}").port  # raises ValueError where it is malformed
        if self._names and parts["name"] not in self._names:
            return PlainTextResponse("This page is not served under that name.", 400)
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return PlainTextResponse("Requests from pages of another origin are refused.", 403)
        candidate = connection.query_params.get("token", "")
        if self._is_token(candidate) or candidate in self._tickets:
            self._tickets.discard(candidate)
            return self._welcome(connection)
        if self._is_token(connection.cookies.get(self._cookie, "")):
            return None
        return PlainTextResponse("Open this page with the address that copycat progress printed.", 401)

    def _welcome(self, connection: HTTPConnection) -> Response:
        """Moves the token from the address into the cookie."""
        options = urlencode([(name, value) for name, value in connection.query_params.multi_items() if name != "token"])
        path = "/" + connection.scope["path"].lstrip("/")  # never another host
        response = RedirectResponse(path + (f"?{options}" if options else ""), 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
        return response

    def _is_token(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode(errors="replace"), self._token.encode())


def _with_headers(send: Send) -> Send:
    """Keeps other sites from framing the page, and browsers from guessing a file's type."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_with_headers
