"""The connections to the services: one for each side and service, shared by all tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from clipsearch.client.aio import AsyncClient, AsyncEncoderClient, with_token
from clipsearch.web.errors import WebError
from clipsearch.web.settings import WebSettings

CALL_S = 20.0


@dataclass(frozen=True, slots=True)
class Services:
    """A side's two services, called with one token."""

    side: str
    search: AsyncClient
    encoder: AsyncEncoderClient


class Clients:
    """Belongs to the running loop."""

    def __init__(self, settings: WebSettings) -> None:
        self._sides = {
            side: Services(
                side,
                AsyncClient(addresses.search, timeout=CALL_S, tls=settings.tls),
                AsyncEncoderClient(addresses.encoder, timeout=CALL_S, tls=settings.tls),
            )
            for side, addresses in settings.sides.items()
        }

    def of(self, side: str, token: str | None) -> Services:
        """A side's services, called with a token. Raises WebError for a side that was not given at start."""
        if side not in self._sides:
            raise WebError(404, "SIDE_UNKNOWN", f"there is no side {side!r}", field="side")
        shared = self._sides[side]
        return Services(side, with_token(shared.search, token), with_token(shared.encoder, token))

    async def close(self) -> None:
        """Closes all; calls in progress fail."""
        for services in self._sides.values():
            await asyncio.gather(services.search.close(), services.encoder.close())
