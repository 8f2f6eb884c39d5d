"""The HTTP port beside the gRPC one: metrics for Prometheus, and health for probes.

    /metrics  /healthz: does the process live  /readyz[?service=NAME]: is it ready for calls

Plain HTTP without tokens, also where calls need TLS and tokens: it tells nothing that a caller has sent. It
runs in threads of its own, so neither calls nor gRPC's limit on them stand before it; what it says of health
it asks the event loop, which calls depend on.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from clipsearch.serving.health import LIVENESS, Readiness

# A loop that does not answer within this time is as good as none. The probes in deploy/ wait longer.
LOOP_ANSWERS_S = 2.0


class HttpPortError(Exception):
    """The HTTP port cannot be had; the message is one line for the operator."""


@contextmanager
def http_port(
    host: str, port: int | None, registry: CollectorRegistry, readiness: Readiness
) -> Iterator[str | None]:
    """Serves the pages until the block ends; yields host:port, or None for port None (off).

    To be called on the event loop that serves the calls. Raises HttpPortError.
    """
    if port is None:
        yield None
        return
    application = _Application(registry, readiness, asyncio.get_running_loop())
    address = host.strip("[]")
    try:
        server = make_server(address, port, application, _server_class(address), _SilentHandler)
    except OSError as error:
        raise HttpPortError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="http", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _SilentHandler(WSGIRequestHandler):
    """Logs no line for a request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def _server_class(address: str) -> type[ThreadingWSGIServer]:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    return Server


class _Application:
    """The pages, as a WSGI application."""

    def __init__(
        self, registry: CollectorRegistry, readiness: Readiness, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._readiness = readiness
        self._loop = loop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._metrics(environ, start_response)
        status, text = HTTPStatus.NOT_FOUND, "/metrics, /healthz or /readyz"
        if path == "/healthz":
            status, text = self._health(LIVENESS)
        elif path == "/readyz":
            status, text = self._health(parse_qs(environ.get("QUERY_STRING", "")).get("service", [""])[0])
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    def _health(self, service: str) -> tuple[HTTPStatus, str]:
        asked = asyncio.run_coroutine_threadsafe(self._readiness.serving(service), self._loop)
        try:
            serving = asked.result(LOOP_ANSWERS_S)
        except TimeoutError:
            asked.cancel()
            return (
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the event loop did not answer within {LOOP_ANSWERS_S:g} s",
            )
        if serving is None and service not in ("", LIVENESS):
            return HTTPStatus.NOT_FOUND, "there is no such service, or it is not served yet"
        if not serving:
            return HTTPStatus.SERVICE_UNAVAILABLE, "NOT_SERVING"
        return HTTPStatus.OK, "SERVING"
