"""A connection to another service for as long as this one lives, whose TLS files may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import grpc
import structlog

from clipsearch.channel.credentials import ClientTls, CredentialsError
from clipsearch.serving.security.files import POLL_S, Watched

# Calls in progress on the connection before get this long to finish.
_GRACE_S = 60.0

Stub = TypeVar("Stub")

_log = structlog.get_logger(__name__)


class Peer(Generic[Stub]):
    """`stub` is on a channel of `connect`, and after the files of `tls` have changed on a new one.

    gRPC's channels keep the credentials that they were made with, and a client certificate that is renewed
    every day would be the expired one at the next reconnection.
    """

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        stub: Callable[[grpc.aio.Channel], Stub],
        tls: ClientTls | None,
    ) -> None:
        """Connects. Raises CredentialsError."""
        self._connect = connect
        self._make_stub = stub
        self._files = Watched(tls.paths() if tls is not None else [])
        self._channel, self.stub = self._connected()
        self._closing: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Connects anew whenever the files have changed, for ever."""
        while True:
            await asyncio.sleep(POLL_S)
            if await asyncio.to_thread(self._files.changed):
                self._reconnect()

    async def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        for task in self._closing:
            task.cancel()
        await self._channel.close()

    def _connected(self) -> tuple[grpc.aio.Channel, Stub]:
        channel = self._connect()
        return channel, self._make_stub(channel)

    def _reconnect(self) -> None:
        try:
            channel, stub = self._connected()
        except CredentialsError as error:
            _log.error("the client's TLS files have changed and are not usable", problem=str(error))
            return
        _log.info("connecting with new TLS files")
        closing = asyncio.create_task(self._channel.close(_GRACE_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._channel, self.stub = channel, stub
