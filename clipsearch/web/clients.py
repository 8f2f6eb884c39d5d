"""The connections to the services: made once for each side and token, shared, and bounded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clipsearch.client.aio import AsyncClient, AsyncEncoderClient
from clipsearch.web.settings import WebSettings

CALL_S = 20.0
MOST = 64


class Services:
    """A side's two services, called with one token."""

    def __init__(self, side: str, search: AsyncClient, encoder: AsyncEncoderClient) -> None:
        self.side = side
        self.search = search
        self.encoder = encoder
        self.users = 0

    async def close(self) -> None:
        """Closes both connections."""
        await asyncio.gather(self.search.close(), self.encoder.close())


class Clients:
    """Makes and keeps `Services`; those unused for longest are closed beyond `most`."""

    def __init__(self, settings: WebSettings, most: int = MOST) -> None:
        self._settings = settings
        self._most = most
        self._kept: OrderedDict[tuple[str, str | None], Services] = OrderedDict()

    @asynccontextmanager
    async def use(self, side: str, token: str | None) -> AsyncIterator[Services]:
        """The services of a side; they stay open while the block runs."""
        key = (side, token)
        services = self._kept.get(key)
        if services is None:
            services = self._kept[key] = self._make(side, token)
        self._kept.move_to_end(key)
        services.users += 1
        try:
            await self._close_old()
            yield services
        finally:
            services.users -= 1

    async def close(self) -> None:
        """Closes all; calls in progress fail."""
        kept, self._kept = list(self._kept.values()), OrderedDict()
        await asyncio.gather(*(services.close() for services in kept))

    def _make(self, side: str, token: str | None) -> Services:
        addresses, tls = self._settings.sides[side], self._settings.tls
        return Services(
            side,
            AsyncClient(addresses.search, timeout=CALL_S, token=token, tls=tls),
            AsyncEncoderClient(addresses.encoder, timeout=CALL_S, token=token, tls=tls),
        )

    async def _close_old(self) -> None:
        idle = [key for key, services in self._kept.items() if not services.users]
        for key in idle[: max(0, len(self._kept) - self._most)]:
            await self._kept.pop(key).close()
