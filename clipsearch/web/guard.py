"""What stands before every route: whose page may call, and the headers that every answer bears."""

from __future__ import annotations

import asyncio
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipsearch.web.errors import WebError, answer

ANSWER_S = 300.0
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_READS = ("GET", "HEAD")
_FOREIGN = WebError(403, "ORIGIN_FOREIGN", "only this server's own page may call it")


class Guard:
    """Wraps the whole application, so that the answers to faults are guarded too.

    `hosts`: the only names that a browser may call the server by, so that no other site can point
    a name of its own at it (DNS rebinding); None = any.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":  # websockets are switched off in the server
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refusal is None else answer(refusal)
        # Work has shorter limits of its own; this one is for a browser that does not read the answer.
        # The server then closes the connection.
        try:
            async with asyncio.timeout(ANSWER_S) as limit:
                await app(scope, receive, guarded)
        except TimeoutError:
            if not limit.expired():
                raise

    def _refusal(self, method: str, headers: Headers) -> WebError | None:
        host = headers.get("host", "")
        if self._hosts is not None and (_parts(f"//{host}").hostname or "") not in self._hosts:
            return WebError(
                403, "HOST_UNKNOWN", "this server is called by another name; use the address it printed"
            )
        foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if method in _READS:
            # Another site may lead people here by a link; it may not have their browser ask for anything.
            linked = (
                headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            )
            return _FOREIGN if foreign and not linked else None
        origin = headers.get("origin")
        if foreign or (origin is not None and _parts(origin).netloc.lower() != host.lower()):
            return _FOREIGN
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            return WebError(415, "NOT_JSON", "the request's Content-Type must be application/json")
        return None


def _parts(url: str) -> SplitResult:
    """All of them empty for what is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
