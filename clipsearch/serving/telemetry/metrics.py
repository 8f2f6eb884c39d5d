"""Prometheus metrics of the calls, and the port that they are read from.

The names of the call metrics are those of go-grpc-prometheus, so that dashboards made for it work.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any
from wsgiref.simple_server import WSGIServer

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from clipsearch.serving.telemetry.loop_lag import LoopLag
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, timed, wrap

# Seconds; from a cached text to a full batch of phone photos.
LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip

_METHOD = ("grpc_service", "grpc_method")


class MetricsError(Exception):
    """The metrics port cannot be had; the message is one line for the operator."""


class Metrics:
    """What every service counts. Services put their own metrics into `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.handled = Counter(
            "grpc_server_handled",
            "Calls that were answered, by status code.",
            (*_METHOD, "grpc_code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's request to its answer.",
            _METHOD,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.errors = Counter(
            "clipsearch_errors",
            "Calls that failed, by the reason that the caller was told.",
            (*_METHOD, "reason"),
            registry=self.registry,
        )
        self.in_flight = Gauge("grpc_server_in_flight", "Calls in progress.", _METHOD, registry=self.registry)
        self.ready = Gauge(
            "clipsearch_ready",
            "1 where health says SERVING, 0 where NOT_SERVING, by service.",
            ("grpc_service",),
            registry=self.registry,
        )
        self.loop_lag = LoopLag(self.registry)
        build = Gauge(
            "clipsearch_build_info",
            "Always 1; the labels say what runs.",
            ("version", "python", "grpc"),
            registry=self.registry,
        )
        build.labels(
            metadata.version("clipsearch"), platform.python_version(), metadata.version("grpcio")
        ).set(1)

    def failed(self, method: str, reason: str) -> None:
        """A call of `method`, /service/name, failed for `reason`."""
        _, service, name = method.split("/", 2)
        self.errors.labels(service, name, reason).inc()

    @contextmanager
    def served(self, host: str, port: int | None) -> Iterator[str | None]:
        """Serves the metrics over HTTP from a thread; yields host:port, or None for port None (off).

        Raises MetricsError.
        """
        if port is None:
            yield None
            return
        try:
            server, thread = start_http_server(port, host.strip("[]"), self.registry)
        except OSError as error:
            raise MetricsError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from None
        try:
            yield f"{host}:{server.server_port}"
        finally:
            _close(server, thread)


class MetricsInterceptor(grpc.aio.ServerInterceptor):
    """Counts and times the unary calls. Health is left out: probes would drown the rest."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._wrappers: dict[str, Callable[[Call], Call]] = {}

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH):
            return handler
        wrapper = self._wrappers.get(method)
        if wrapper is None:
            wrapper = self._wrappers[method] = self._measure(method)
        return wrap(handler, wrapper)

    def _measure(self, path: str) -> Callable[[Call], Call]:
        _, service, method = path.split("/", 2)
        in_flight = self._metrics.in_flight.labels(service, method)
        in_seconds = self._metrics.seconds.labels(service, method)
        handled = self._metrics.handled

        def count(code: str, seconds: float) -> None:
            in_flight.dec()
            in_seconds.observe(seconds)
            handled.labels(service, method, code).inc()

        def around(call: Call) -> Call:
            async def measured(request: Any, context: Context) -> Any:
                in_flight.inc()
                return await timed(call, request, context, count)

            return measured

        return around


def _close(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()
