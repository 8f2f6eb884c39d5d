"""The life of a service process: bind, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clipsearch.files import write_whole
from clipsearch.serving.concurrency import ConcurrencyInterceptor
from clipsearch.serving.deadlines import DeadlineInterceptor
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from clipsearch.serving.health import Probe, Readiness
from clipsearch.serving.receiving.arrivals import Arrivals
from clipsearch.serving.receiving.interceptor import ReceivingInterceptor
from clipsearch.serving.security.auth import AuthInterceptor
from clipsearch.serving.security.tls import TlsError, server_credentials
from clipsearch.serving.security.tokens import Grants, TokensError
from clipsearch.serving.server import make_server
from clipsearch.serving.settings import MIB, ServingSettings, environment_names, is_loopback
from clipsearch.serving.telemetry.metrics import Metrics, MetricsError, MetricsInterceptor
from clipsearch.serving.telemetry.request_id import RequestInterceptor
from clipsearch.serving.telemetry.tracing import Tracing, TracingError, tracing

# What a caller may send before its request is asked for. By default gRPC lets it grow to 4 MiB and more, and
# a call that waits, or is about to be refused, would hold that.
ARRIVING = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The service cannot start, or not go on; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full proto name, what adds its servicer to a server, and its readiness probe.

    `ready` returns if the service can do its work and raises if not; services may share one. It is
    asked once a second and must not block the event loop. None = ready as soon as it is served.
    """

    name: str
    add: Callable[[grpc.aio.Server], None]
    ready: Probe | None = None


OpenServices = Callable[[], AbstractAsyncContextManager[Sequence[Service]]]


class Failure:
    """Tells `serve` that a service cannot go on, and why; the first time counts."""

    def __init__(self) -> None:
        self.problem = ""
        self.told = asyncio.Event()

    def __call__(self, problem: str) -> None:
        """Called on the event loop."""
        self.problem = self.problem or problem
        self.told.set()


async def serve(
    settings: ServingSettings,
    title: str,
    open_services: OpenServices,
    metrics: Metrics | None = None,
    traces: Tracing | None = None,
    failure: Failure | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal stops at once.

    `open_services` loads the model or opens the store on entry and lets go of it on exit. The port
    is bound before, so that a port in use is told at once, and answers only afterwards. `metrics` and
    `traces` are handed in by services that add to the metrics or call others, `failure` by those that may
    break for good. Raises StartError; after draining too, where the gRPC server ended or a service broke.
    """
    metrics = metrics or Metrics()
    try:
        with (
            nullcontext(traces) if traces is not None else tracing(settings.otlp_endpoint, title) as tracer,
            metrics.served(settings.host, settings.metrics_port) as metrics_address,
        ):
            if metrics_address is not None:
                _log.info("metrics are served", address=metrics_address)
            await _serve(settings, title, open_services, metrics, tracer, failure or Failure())
    except (MetricsError, TlsError, TokensError, TracingError) as error:
        raise StartError(str(error)) from None


async def _serve(
    settings: ServingSettings,
    title: str,
    open_services: OpenServices,
    metrics: Metrics,
    tracer: Tracing,
    failure: Failure,
) -> None:
    grants = _grants(settings)
    server = make_server(_interceptors(settings, metrics, tracer, grants), _options(settings))
    address = _bind(server, settings)
    async with open_services() as services:
        readiness = Readiness(
            {service.name: service.ready for service in services},
            settings.unready_after_s,
            lambda name, ready: metrics.ready.labels(name or "overall").set(ready),
        )
        await readiness.begin()
        _register(server, services, readiness, settings)
        stop, stop_now = _stop_signals()
        await server.start()
        problems: list[str] = []

        def fail(problem: str) -> None:
            if not stop.is_set():
                _log.error(f"{title} cannot go on", problem=problem)
                problems.append(problem)
                stop.set()

        background = [
            readiness.watch(),
            _notice_end(server, fail),
            _notice_failure(failure, fail),
            *([grants.watch()] if grants is not None else []),
        ]
        if settings.metrics_port is not None:
            background.append(metrics.loop_lag.watch())
        async with _running(background):
            if await _first(readiness.ready, stop):
                _log.info(f"{title} is serving", address=address)
                if settings.port_file is not None:
                    await asyncio.to_thread(write_whole, settings.port_file, f"{address}\n".encode())
                await stop.wait()
            await _drain(server, readiness, settings, stop_now)
        if problems:
            raise StartError(problems[0])
        _log.info(f"{title} has stopped")


def _interceptors(
    settings: ServingSettings, metrics: Metrics, tracer: Tracing, grants: Grants | None
) -> list[grpc.aio.ServerInterceptor]:
    """Outermost first. Errors are inside of what counts them and outside of what raises them."""
    arrivals = Arrivals(settings.request_memory_mb * MIB, settings.default_deadline_s)
    return [
        *tracer.server,
        RequestInterceptor(tracer.trace_id),
        MetricsInterceptor(metrics),
        ErrorInterceptor(metrics.failed),
        *([AuthInterceptor(grants, settings.token_rate_per_s)] if grants is not None else []),
        ConcurrencyInterceptor(settings.max_concurrent_rpcs, arrivals.give_way),
        DeadlineInterceptor(settings.default_deadline_s),
        # Innermost: what refuses a caller does so before its request is taken in.
        ReceivingInterceptor(arrivals, settings.most_request_memory, settings.most_elements),
    ]


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Else off, or a second server could share the port in silence and get half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 4 * settings.max_concurrent_rpcs),
        *ARRIVING,
        # A connection that says nothing, or nothing that is TLS or HTTP/2, is let go.
        ("grpc.server_handshake_timeout_ms", 10_000),
        # Clients of this project ping every 30 s; a server that does not permit it hangs up on them.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # gRPC adds a jitter of 10 %, so that connections made together do not end together.
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(settings.max_connection_age_grace_s * 1000)),
    ]


def _grants(settings: ServingSettings) -> Grants | None:
    """Who may call; None = everybody. Warns of what an operator will hardly have meant."""
    if settings.tokens_file is None:
        if not is_loopback(settings.host) and settings.tls_client_ca is None:
            _log.warning("everybody who can reach this address may call", host=settings.host)
        return None
    grants = Grants(settings.tokens_file)
    names = environment_names(type(settings))
    if settings.tls_certificate is None and not is_loopback(settings.host):
        _log.warning("tokens travel in plain text", host=settings.host, without=names["tls_certificate"])
    if grants.knows_certificates and settings.tls_client_ca is None:
        _log.warning("grants of certificates have no effect", without=names["tls_client_ca"])
    return grants


def _bind(server: grpc.aio.Server, settings: ServingSettings) -> str:
    """Returns the address as clients write it."""
    credentials = server_credentials(settings)
    host = _bracketed(settings.host)
    address = f"{host}:{settings.port}"
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise StartError(
            f"cannot listen on {address}: the port is in use, or the address is not one of this machine"
        ) from None
    return f"{host}:{port}"


def _bracketed(host: str) -> str:
    """The host as it stands before a port."""
    return f"[{host}]" if ":" in host and "[" not in host else host


def _register(
    server: grpc.aio.Server, services: Sequence[Service], readiness: Readiness, settings: ServingSettings
) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    for service in services:
        service.add(server)
    if settings.reflection:
        names = [service.name for service in services]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)


def _stop_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second SIGTERM or SIGINT."""
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop, stop_now


@asynccontextmanager
async def _running(work: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs the coroutines beside the block and cancels them at its end."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _notice_end(server: grpc.aio.Server, fail: Callable[[str], None]) -> None:
    """Ends the process where the server ends: one that lives on without it would answer nobody."""
    with suppress(Exception):  # what ended it, which gRPC has logged
        await server.wait_for_termination()
    fail("the gRPC server has ended by itself")


async def _notice_failure(failure: Failure, fail: Callable[[str], None]) -> None:
    await failure.told.wait()
    fail(failure.problem)


async def _first(wanted: asyncio.Event, other: asyncio.Event) -> bool:
    """Waits for either; true if it is `wanted`."""
    tasks = [asyncio.create_task(event.wait()) for event in (wanted, other)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return wanted.is_set()


async def _drain(
    server: grpc.aio.Server, readiness: Readiness, settings: ServingSettings, stop_now: asyncio.Event
) -> None:
    _log.info("draining", delay_s=settings.drain_delay_s, grace_s=settings.drain_grace_s)
    await readiness.drain()
    stopped_now = asyncio.create_task(stop_now.wait())
    await asyncio.wait([stopped_now], timeout=settings.drain_delay_s)
    stopping = asyncio.create_task(server.stop(settings.drain_grace_s))
    await asyncio.wait([stopped_now, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await server.stop(None)
    await stopping
    stopped_now.cancel()
