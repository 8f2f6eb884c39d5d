"""The connections to the services: made once for each side and token, shared, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clipsearch.aio import AsyncClient, AsyncEncoderClient
from clipsearch.errors import ClipSearchError
from clipsearch.results import Model
from clipsearch.web.settings import WebSettings

CALL_S = 20.0
MOST = 64
_MODEL_S = 30.0
_MISSED_S = 5.0
_PROBE_S = 2.0


class Services:
    """A side's two services, called with one token."""

    def __init__(self, side: str, search: AsyncClient, encoder: AsyncEncoderClient) -> None:
        self.side = side
        self.search = search
        self.encoder = encoder
        self.users = 0
        self._model: Model | None = None
        self._model_until = 0.0

    async def known_model(self) -> Model | None:
        """The encoder's model, asked for twice a minute; None for some seconds after it did not tell."""
        if time.monotonic() >= self._model_until:
            try:
                async with asyncio.timeout(_PROBE_S):
                    self.remember(await self.encoder.model())
            except (ClipSearchError, TimeoutError):
                self._model, self._model_until = None, time.monotonic() + _MISSED_S
        return self._model

    def remember(self, model: Model) -> None:
        """What `known_model` answers for the next half minute."""
        self._model, self._model_until = model, time.monotonic() + _MODEL_S

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
