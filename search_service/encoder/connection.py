"""The connection to an encoder for as long as this service lives, whose TLS files may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog

from clipsearch.channel.credentials import ClientTls, CredentialsError
from clipsearch.encoder.v1.encoder_pb2_grpc import EncoderServiceStub
from clipsearch.serving.security.file_watch import POLL_S, Watched

# Calls in progress on the connection before get this long to finish.
_GRACE_S = 60.0

_log = structlog.get_logger(__name__)


class Connection:
    """`stub` is on a channel of `connect`, and after the files of `tls` have changed on a new one.

    gRPC's channels keep the credentials that they were made with, and a client certificate that is renewed
    every day would be the expired one at the next reconnection.
    """

    def __init__(self, connect: Callable[[], grpc.aio.Channel], tls: ClientTls | None) -> None:
        """Connects. Raises what `connect` does: CredentialsError and AddressError."""
        self._connect = connect
        self._files = Watched(tls.paths() if tls is not None else [])
        self._open()
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

    def _open(self) -> None:
        self._channel = self._connect()
        self.stub = EncoderServiceStub(self._channel)

    def _reconnect(self) -> None:
        before = self._channel
        try:
            self._open()
        except CredentialsError as error:
            _log.error("the client's TLS files have changed and are not usable", problem=str(error))
            return
        _log.info("connecting with new TLS files")
        closing = asyncio.create_task(before.close(_GRACE_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
