"""The life of a service process: bind, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc

from clipsearch.channel.connection import host_port, is_loopback
from clipsearch.channel.credentials import CredentialsError
from clipsearch.files import write_whole
from clipsearch.serving.calls import MOST_STREAMS, CallInterceptor
from clipsearch.serving.health import Readiness
from clipsearch.serving.http_port import http_port
from clipsearch.serving.receiving.arrivals import Arrivals
from clipsearch.serving.receiving.requests import Requests
from clipsearch.serving.reflection import add_reflection
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.tls import server_credentials
from clipsearch.serving.security.tokens import Grants
from clipsearch.serving.server import make_server
from clipsearch.serving.service import Service, StartError
from clipsearch.serving.settings import MIB, ServingSettings, environment_names
from clipsearch.serving.telemetry.metrics import Metrics
from clipsearch.serving.telemetry.tracing import Tracing, tracing

# What a caller may send before its request is asked for. By default gRPC lets it grow to 4 MiB and more, and
# a call that waits, or is about to be refused, would hold that.
ARRIVING = [("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0)]
# gRPC refuses by itself past so many times the limit on calls. Below that we do, and say when to come back;
# it is for floods in which even refusals pile up.
_FUSE = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """What the parts of a service share: metrics to add to, what traces calls, and how to end it.

    `fail` is called on the event loop with the problem, where it cannot go on; the first one counts.
    """

    metrics: Metrics
    traces: Tracing
    fail: Callable[[str], None]


OpenServices = Callable[[Process], AbstractAsyncContextManager[Sequence[Service]]]


class _Stop:
    """Whether the process is to stop, at once (a second signal), and because of what problem."""

    def __init__(self, title: str) -> None:
        self.wanted, self.at_once = asyncio.Event(), asyncio.Event()
        self.problem = ""
        self._title = title

    def fail(self, problem: str) -> None:
        """It cannot go on."""
        if not self.wanted.is_set():
            _log.error(f"{self._title} cannot go on", problem=problem)
            self.problem = problem
            self.wanted.set()

    def heed_signals(self) -> None:
        """SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(
                number, lambda: (self.at_once if self.wanted.is_set() else self.wanted).set()
            )


async def serve(settings: ServingSettings, title: str, open_services: OpenServices) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal stops at once.

    `open_services` loads the model or opens the store on entry and lets go of it on exit. The port
    is bound before, so that a port in use is told at once, and answers only afterwards. Raises StartError;
    after draining too, where the gRPC server ended or a service broke.
    """
    metrics, stop = Metrics(), _Stop(title)
    readiness = Readiness(lambda name, ready: metrics.ready.labels(name or "overall").set(ready))
    try:
        with (
            tracing(settings.otlp_endpoint, title) as traces,
            http_port(settings.host, settings.metrics_port, metrics.registry, readiness) as metrics_address,
        ):
            if metrics_address is not None:
                _log.info("metrics are served", address=metrics_address)
            await _serve(settings, title, open_services, Process(metrics, traces, stop.fail), readiness, stop)
    except CredentialsError as error:
        raise StartError(str(error)) from None


async def _serve(
    settings: ServingSettings,
    title: str,
    open_services: OpenServices,
    process: Process,
    readiness: Readiness,
    stop: _Stop,
) -> None:
    grants = _grants(settings)
    calls = _calls(settings, process, grants)
    fuse = _FUSE * settings.max_concurrent_rpcs + MOST_STREAMS  # streams count too
    server = make_server([*process.traces.server, calls], _options(settings), fuse)
    address = _bind(server, settings)
    async with open_services(process) as services:
        await readiness.begin(services)
        calls.prechecks = {one.name: one.precheck for one in services if one.precheck is not None}
        health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
        for service in services:
            service.add(server)
        if settings.reflection:
            add_reflection(server, [health.SERVICE_NAME, *(service.name for service in services)])
        stop.heed_signals()
        await server.start()
        background = [readiness.watch(), _notice_end(server, stop.fail)]
        if grants is not None:
            background.append(grants.watch())
        if settings.metrics_port is not None:
            background.append(process.metrics.loop_lag.watch())
        async with _running(background):
            if await _first(readiness.ready, stop.wanted):
                _log.info(f"{title} is serving", address=address)
                await _write_address(settings, address, stop.fail)
                await stop.wanted.wait()
            await _drain(server, readiness, settings, stop.at_once)
        if stop.problem:
            raise StartError(stop.problem)
        _log.info(f"{title} has stopped")


def _calls(settings: ServingSettings, process: Process, grants: Grants | None) -> CallInterceptor:
    arrivals = Arrivals(settings.request_memory_mb * MIB, settings.default_deadline_s)
    return CallInterceptor(
        Requests(arrivals, settings.most_request_memory, settings.most_elements),
        limit=settings.max_concurrent_rpcs,
        deadline_s=settings.default_deadline_s,
        guard=Guard(grants, settings.token_rate_per_s) if grants is not None else None,
        metrics=process.metrics,
        trace_id=process.traces.trace_id,
    )


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Plain messages only (bit 0): gRPC unpacks others before they can be counted, a request of 60 KB to
        # one of 63 MB, and twelve of those took 1.6 GB at once.
        ("grpc.compression_enabled_algorithms_bitset", 1),
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
    address = host_port(settings.host, settings.port)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise StartError(
            f"cannot listen on {address}: the port is in use, or the address is not one of this machine"
        ) from None
    return host_port(settings.host, port)


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


async def _write_address(settings: ServingSettings, address: str, fail: Callable[[str], None]) -> None:
    """Into the port file, if there is to be one."""
    path = settings.port_file
    if path is None:
        return
    try:
        await asyncio.to_thread(write_whole, path, f"{address}\n".encode())
    except OSError as error:
        name = environment_names(type(settings))["port_file"]
        fail(f"{name}: {path} cannot be written: {error.strerror}")


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
