"""The life of a service process: bind, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clipsearch.serving.errors_interceptor import ErrorInterceptor
from clipsearch.serving.settings import ServingSettings

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The service cannot start; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full proto name, and what adds its servicer to a server."""

    name: str
    add: Callable[[grpc.aio.Server], None]


OpenServices = Callable[[], AbstractAsyncContextManager[Sequence[Service]]]


async def serve(settings: ServingSettings, title: str, open_services: OpenServices) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal stops at once.

    `open_services` loads the model or opens the store on entry and lets go of it on exit. The port
    is bound before, so that a port in use is told at once, and answers only afterwards.
    Raises StartError.
    """
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        options=_options(settings),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )
    port = _bind(server, settings)
    async with open_services() as services:
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        for service in services:
            service.add(server)
        names = [service.name for service in services]
        if settings.reflection:
            reflection.enable_server_reflection(
                [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
            )
        stop, hurry = _stop_signals()
        await server.start()
        for name in ("", *names):
            await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        address = f"{settings.host}:{port}"
        _log.info(f"{title} is serving", address=address)
        if settings.port_file is not None:
            _write_whole(settings.port_file, address)
        await stop.wait()
        await _drain(server, health_servicer, settings, hurry)
        _log.info(f"{title} has stopped")


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Off, or a second server could share the port in silence and get half of the calls.
        ("grpc.so_reuseport", 0),
        # Clients of this project ping every 30 s; a server that does not permit it hangs up on them.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Connections end now and then, so that new replicas get traffic.
        ("grpc.max_connection_age_ms", 30 * 60_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
    ]


def _bind(server: grpc.aio.Server, settings: ServingSettings) -> int:
    try:
        return server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError:
        raise StartError(
            f"cannot listen on {settings.host}:{settings.port}: "
            "the port is in use, or the address is not one of this machine"
        ) from None


def _stop_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second SIGTERM or SIGINT."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop, hurry


async def _drain(
    server: grpc.aio.Server,
    health_servicer: health.aio.HealthServicer,
    settings: ServingSettings,
    hurry: asyncio.Event,
) -> None:
    _log.info("draining", delay_s=settings.drain_delay_s, grace_s=settings.drain_grace_s)
    await health_servicer.enter_graceful_shutdown()
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait([hurried], timeout=settings.drain_delay_s)
    stopping = asyncio.create_task(server.stop(settings.drain_grace_s))
    await asyncio.wait([hurried, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await server.stop(None)
    await stopping
    hurried.cancel()


def _write_whole(path: Path, text: str) -> None:
    """Writes so that a reader finds nothing or everything."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
