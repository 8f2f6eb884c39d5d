"""Who asks: the browser's own token, or the server's where only this machine reaches it.

The server judges no token. Each is passed on, and the services decide.
"""

from __future__ import annotations

import asyncio
import hashlib
import re

from cachetools import TTLCache
from starlette.requests import Request
from starlette.responses import Response

from clipsearch.errors import ClipSearchError
from clipsearch.web.clients import Clients, Services
from clipsearch.web.errors import WebError, from_service
from clipsearch.web.settings import WebSettings

REMEMBERED_S = 60.0
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_PROBE_S = 5.0


class Access:
    """Keeps a browser's token in a cookie that no script can read, and says which token a request has."""

    def __init__(self, settings: WebSettings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        # A browser sends a __Host- cookie to the host that set it, over TLS, and takes it from no other.
        self._cookie = "__Host-clipsearch-token" if settings.secure else "clipsearch-token"
        self._accepted: TTLCache[str, bool] = TTLCache(1024, REMEMBERED_S)

    def own(self, request: Request) -> str | None:
        """The browser's token."""
        token = request.cookies.get(self._cookie, "")
        return token if _TOKEN.fullmatch(token) else None

    def token(self, request: Request) -> str | None:
        """The token to call the services with. Raises WebError (401) where only the browser could bring one.

        With a client certificate of the server's the services may ask for no token. Beyond this
        machine that would open them to everybody who reaches the page.
        """
        token = self.own(request) or self._settings.token
        tls = self._settings.tls
        if token is None and not self._settings.local and tls is not None and tls.certificate is not None:
            raise WebError(401, "TOKEN_MISSING", "sign in with a token of the services")
        return token

    def sign_in(self, response: Response, token: str) -> None:
        """Gives the browser its token to keep until it closes."""
        response.set_cookie(
            self._cookie, token, path="/", secure=self._settings.secure, httponly=True, samesite="strict"
        )

    def sign_out(self, response: Response) -> None:
        """Takes it back."""
        response.delete_cookie(
            self._cookie, path="/", secure=self._settings.secure, httponly=True, samesite="strict"
        )

    async def check(self, token: str | None) -> None:
        """Asks the services whether they know the token, at most once a minute.

        Any one of them will do. Raises WebError: 401 if none does, 503 or 504 if none can be asked.
        """
        key = hashlib.sha256((token or "").encode()).hexdigest()
        if key in self._accepted:
            return
        refusals = await asyncio.gather(*(self._ask(side, token) for side in self._settings.sides))
        errors = [error for side in refusals for error in side if error is not None]
        if len(errors) == 2 * len(self._settings.sides):
            raise min(errors, key=lambda error: error.status)
        self._accepted[key] = True

    async def check_request(self, request: Request) -> None:
        """The same for what is served here and asks no service; on this machine it is open to all."""
        if not self._settings.local:
            await self.check(self.token(request))

    async def _ask(self, side: str, token: str | None) -> tuple[WebError | None, WebError | None]:
        async with self._clients.use(side, token) as services:
            return await asyncio.gather(_search_refuses(services), _encoder_refuses(services))


async def _search_refuses(services: Services) -> WebError | None:
    try:
        async with asyncio.timeout(_PROBE_S):
            await services.search.list_collections()
    except ClipSearchError as error:
        return _refusal(from_service(error, services.side, "search"))
    except TimeoutError:
        return WebError(504, "DEADLINE_EXCEEDED", "the search service did not answer in time")
    return None


async def _encoder_refuses(services: Services) -> WebError | None:
    try:
        async with asyncio.timeout(_PROBE_S):
            services.remember(await services.encoder.model())
    except ClipSearchError as error:
        return _refusal(from_service(error, services.side, "encoder"))
    except TimeoutError:
        return WebError(504, "DEADLINE_EXCEEDED", "the encoder did not answer in time")
    return None


def _refusal(error: WebError) -> WebError | None:
    """A token that may not do this, or has done too much, is known all the same."""
    return error if error.status in (401, 503, 504) or error.status >= 500 else None
