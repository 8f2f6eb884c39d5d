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
from clipsearch.serving.service import StartError

# A loop that does not answer within this time is as good as none. The probes in deploy/ wait longer.
LOOP_ANSWERS_S = 2.0


@contextmanager
def http_port(
    host: str, port: int | None, registry: CollectorRegistry, readiness: Readiness
) -> Iterator[str | None]:
    """Serves the pages until the block ends; yields host:port, or None for port None (off).

    To be called on the event loop that serves the calls. Raises StartError.
    """
    if port is None:
        yield None
        return
    loop, metrics, address = asyncio.get_running_loop(), make_wsgi_app(registry), host.strip("[]")

    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        status, text = HTTPStatus.NOT_FOUND, "/metrics, /healthz or /readyz"
        if path == "/healthz":
            status, text = _health(readiness, LIVENESS, loop)
        elif path == "/readyz":
            asked = parse_qs(environ.get("QUERY_STRING", "")).get("service", [""])
            status, text = _health(readiness, asked[0], loop)
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    try:
        server = make_server(address, port, application, Server, _SilentHandler)
    except OSError as error:
        raise StartError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from None
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


def _health(readiness: Readiness, service: str, loop: asyncio.AbstractEventLoop) -> tuple[HTTPStatus, str]:
    asked = asyncio.run_coroutine_threadsafe(readiness.serving(service), loop)
    try:
        serving = asked.result(LOOP_ANSWERS_S)
    except TimeoutError:
        asked.cancel()
        late = f"the event loop did not answer within {LOOP_ANSWERS_S:g} s"
        return HTTPStatus.SERVICE_UNAVAILABLE, late
    if serving is None and service not in ("", LIVENESS):
        return HTTPStatus.NOT_FOUND, "there is no such service, or it is not served yet"
    if not serving:
        return HTTPStatus.SERVICE_UNAVAILABLE, "NOT_SERVING"
    return HTTPStatus.OK, "SERVING"
