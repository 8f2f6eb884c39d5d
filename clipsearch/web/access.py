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

from clipsearch.client.errors import ClipSearchError
from clipsearch.web.clients import Clients
from clipsearch.web.errors import NAMES, Service, WebError, from_service
from clipsearch.web.settings import WebSettings

REMEMBERED_S = 60.0
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_PROBE_S = 5.0
_SERVICES: tuple[Service, ...] = ("search", "encoder")


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

    async def check_sign_in(self, token: str) -> None:
        """Asks the services whether they know a token. Raises WebError: 401, or 503 or 504 if none answers.

        A service that refuses it, beside others that take it, decides unless one of those asks for tokens.
        """
        probes = [(side, service) for side in self._settings.sides for service in _SERVICES]
        answers = await asyncio.gather(*(self._refusal(*probe, token) for probe in probes))
        refusals = [answer for answer in answers if answer is not None]
        taken_by = [probe for probe, answer in zip(probes, answers, strict=True) if answer is None]
        unknown = next((refusal for refusal in refusals if refusal.status == 401), None)
        if not taken_by:
            raise unknown or refusals[0]
        if unknown is not None:
            without = await asyncio.gather(*(self._refusal(*probe, None) for probe in taken_by))
            if not any(refusal is not None and refusal.status == 401 for refusal in without):
                raise unknown

    async def check_request(self, request: Request) -> None:
        """Whether a request may have what is served from here and shows points: each search service decides.

        They are asked at most once a minute. On this machine it is open to all. Raises WebError.
        """
        if self._settings.local:
            return
        token = self.token(request)
        key = hashlib.sha256((token or "").encode()).hexdigest()
        if key not in self._accepted:
            refusals = await asyncio.gather(
                *(self._refusal(side, "search", token) for side in self._settings.sides)
            )
            for refusal in refusals:
                if refusal is not None:
                    raise refusal
            self._accepted[key] = True

    async def _refusal(self, side: str, service: Service, token: str | None) -> WebError | None:
        """Why a service does not take the token; None if it does."""
        services = self._clients.of(side, token)
        try:
            async with asyncio.timeout(_PROBE_S):
                if service == "search":
                    await services.search.list_collections()
                else:
                    await services.encoder.model()
        except ClipSearchError as error:
            failure = from_service(error, side, service)
            # A token that may not do this, or has done too much, is known all the same.
            return None if failure.status in (403, 429) else failure
        except TimeoutError:
            return WebError(
                504, "DEADLINE_EXCEEDED", f"the {NAMES[service]} did not answer in time", service=service
            )
        return None
