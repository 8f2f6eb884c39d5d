"""Runs the application on a socket until a signal ends it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from clipsearch.web.patience import PatientProtocol

MAX_CONNECTIONS = 256
_STOP_S = 3
_IDLE_S = 30
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
        http=PatientProtocol,
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
