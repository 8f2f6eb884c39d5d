"""Prometheus metrics of the calls and the process.

The names of the call metrics are those of go-grpc-prometheus, so that dashboards made for it work.
"""

from __future__ import annotations

import platform
from importlib import metadata

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from clipsearch.serving.telemetry.loop_lag import LoopLag

# Seconds; from a cached text to a full batch of phone photos.
LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip

_METHOD = ("grpc_service", "grpc_method")


class CallMetrics:
    """Counts and times the calls of one RPC."""

    def __init__(self, metrics: Metrics, service: str, method: str) -> None:
        self._of = service, method
        self._in_flight = metrics.in_flight.labels(service, method)
        self._seconds = metrics.seconds.labels(service, method)
        self._handled = metrics.handled
        self._errors = metrics.errors
        self._answered = metrics.handled.labels(service, method, "OK")

    def begin(self) -> None:
        """A call has come."""
        self._in_flight.inc()

    def failed(self, reason: str) -> None:
        """A call is told that it failed for `reason`."""
        self._errors.labels(*self._of, reason).inc()

    def end(self, code: str, seconds: float) -> None:
        """A call has ended with the status `code` after `seconds`."""
        self._in_flight.dec()
        self._seconds.observe(seconds)
        (self._answered if code == "OK" else self._handled.labels(*self._of, code)).inc()


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

    def of_method(self, path: str) -> CallMetrics:
        """The series of the RPC at `path`, /service/name."""
        _, service, name = path.split("/", 2)
        return CallMetrics(self, service, name)
