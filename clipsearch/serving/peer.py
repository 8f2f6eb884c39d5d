"""Connections to another service for as long as this one lives, whose TLS files may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import grpc
import structlog

from clipsearch.credentials import ClientTls, CredentialsError
from clipsearch.serving.files import stamp

POLL_S = 1.0
# Calls in progress on the connection before get this long to finish.
_GRACE_S = 60.0

Stub = TypeVar("Stub")

_log = structlog.get_logger(__name__)


class Peer(Generic[Stub]):
    """`stub` is on a channel of `connect`, by turns where there are several.

    After the files of `tls` have changed it is on new ones: gRPC's channels keep the credentials that they
    were made with, and a client certificate that is renewed every day would be the expired one at the next
    reconnection.
    """

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        stub: Callable[[grpc.aio.Channel], Stub],
        tls: ClientTls | None,
        channels: int = 1,
    ) -> None:
        """Connects. Raises CredentialsError."""
        self._connect = connect
        self._make_stub = stub
        self._count = channels
        self._paths = tls.paths() if tls is not None else []
        self._stamp = stamp(self._paths)
        self._channels = self._connected()
        self._turn = 0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def stub(self) -> Stub:
        """Of the channel whose turn it is. One that cannot connect is passed over while another can.

        By turns and not by calls in flight: a connection that fails its calls at once has none in flight.
        """
        for _ in self._channels:
            self._turn = (self._turn + 1) % len(self._channels)
            channel, stub = self._channels[self._turn]
            if channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                break
        return stub

    async def watch(self) -> None:
        """Connects anew whenever the files have changed, for ever."""
        while True:
            await asyncio.sleep(POLL_S)
            now = await asyncio.to_thread(stamp, self._paths)
            if now != self._stamp:
                self._stamp = now
                self._reconnect()

    async def close(self) -> None:
        """Closes every connection; calls in progress fail."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*(channel.close() for channel, _ in self._channels))

    def _connected(self) -> list[tuple[grpc.aio.Channel, Stub]]:
        channels = [self._connect() for _ in range(self._count)]
        return [(channel, self._make_stub(channel)) for channel in channels]

    def _reconnect(self) -> None:
        try:
            channels = self._connected()
        except CredentialsError as error:
            _log.error("the client's TLS files have changed and are not usable", problem=str(error))
            return
        _log.info("connecting with new TLS files")
        before, self._channels = self._channels, channels
        for channel, _ in before:
            closing = asyncio.create_task(channel.close(_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
