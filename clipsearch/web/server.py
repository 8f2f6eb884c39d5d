"""Runs the application on a socket until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
_STOP_S = 3
_IDLE_S = 30
HEAD_S = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def serve(
    app: ASGIApp, listener: socket.socket, certificate: Path | None = None, key: Path | None = None
) -> None:
    """Answers until SIGINT or SIGTERM; requests in progress then get a few seconds."""
    config = uvicorn.Config(
        app,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        lifespan="on",
        http=HeadTimeoutProtocol,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,  # addresses hold ids and words that were searched for
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_STOP_S,
    )
    # uvicorn raises a signal that stopped it once more when it is done, for handlers that stood here
    # before. To be stopped is no failure, so these do nothing.
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class HeadTimeoutProtocol(H11Protocol):
    """Closes a connection that has sent no whole head, or still sends what nobody reads, for HEAD_S.

    uvicorn itself waits for the rest of a head for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # noqa: D102
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """The clock runs from the first byte after an answer, however many follow, until a head is whole."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
