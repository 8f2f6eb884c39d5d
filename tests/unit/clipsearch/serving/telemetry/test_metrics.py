"""Metrics as Prometheus scrapes them: over HTTP, from a server that answers real calls."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from clipsearch.serving.errors import NotFound
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from clipsearch.serving.security.auth import AuthInterceptor
from clipsearch.serving.security.tokens import Grants
from clipsearch.serving.telemetry.metrics import Metrics, MetricsError, MetricsInterceptor
from tests.unit.clipsearch.serving.served import GET_MODEL, SEARCH, Running, call, refusal, running
from tests.waiting import HANGS_S

ENCODER = {"grpc_service": "clipsearch.encoder.v1.EncoderService", "grpc_method": "GetModel"}


@dataclass
class Measured:
    server: Running
    channel: grpc.aio.Channel
    scrape: Callable[[], str]

    def value(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.scrape()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    async def becomes(self, wanted: float, name: str, **labels: str) -> None:
        """A call that fails is told so before it is counted: its caller may be the first."""
        end = time.monotonic() + HANGS_S
        while (value := await asyncio.to_thread(self.value, name, **labels)) != wanted:
            assert time.monotonic() < end, f"{name} is {value}"
            await asyncio.sleep(0.01)


def scraper(address: str) -> Callable[[], str]:
    def scrape() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return answer.read().decode()

    return scrape


@pytest.fixture
async def measured(tokens) -> AsyncIterator[Measured]:
    metrics = Metrics()
    interceptors = (MetricsInterceptor(metrics), ErrorInterceptor(metrics.failed))
    with metrics.served("127.0.0.1", 0) as address:
        assert address is not None
        async with (
            running(*interceptors) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            yield Measured(server, channel, scraper(address))


async def test_calls_are_counted_by_method_and_code_and_timed(measured):
    async def missing(request, context):
        raise NotFound("collection", "x")

    measured.server.answers[SEARCH] = missing
    await call(measured.channel)
    await call(measured.channel)
    await refusal(measured.channel, SEARCH)
    search = {"grpc_service": "clipsearch.search.v1.SearchService", "grpc_method": "Search"}
    assert measured.value("grpc_server_handled_total", **ENCODER, grpc_code="OK") == 2
    await measured.becomes(1, "grpc_server_handled_total", **search, grpc_code="NOT_FOUND")
    assert measured.value("grpc_server_handling_seconds_count", **ENCODER) == 2
    assert measured.value("grpc_server_handling_seconds_count", **search) == 1


async def test_failed_calls_are_counted_by_the_reason_that_the_caller_was_told(measured):
    async def missing(request, context):
        raise NotFound("collection", "x")

    async def broken(request, context):
        raise RuntimeError("a fault")

    measured.server.answers[SEARCH] = missing
    measured.server.answers[GET_MODEL] = broken
    await refusal(measured.channel, SEARCH)
    await refusal(measured.channel, GET_MODEL)
    search = {"grpc_service": "clipsearch.search.v1.SearchService", "grpc_method": "Search"}
    assert measured.value("clipsearch_errors_total", **search, reason="COLLECTION_NOT_FOUND") == 1
    assert measured.value("clipsearch_errors_total", **ENCODER, reason="INTERNAL") == 1


async def test_calls_in_flight_go_up_and_down(measured):
    release = asyncio.Event()

    async def waits(request, context):
        await release.wait()

    measured.server.answers[GET_MODEL] = waits
    calls = [asyncio.create_task(call(measured.channel)) for _ in range(3)]
    await measured.becomes(3, "grpc_server_in_flight", **ENCODER)
    release.set()
    await asyncio.gather(*calls)
    assert measured.value("grpc_server_in_flight", **ENCODER) == 0


async def test_refused_calls_are_counted_and_unknown_methods_make_no_series(tokens):
    tokens.add("x", "encode")
    metrics = Metrics()
    interceptors = (MetricsInterceptor(metrics), ErrorInterceptor(), AuthInterceptor(Grants(tokens.path)))
    with metrics.served("127.0.0.1", 0) as address:
        async with (
            running(*interceptors) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            await refusal(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/clipsearch.encoder.v1.EncoderService/Nope")(b"")
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            it = Measured(server, channel, scraper(address))
            assert it.value("grpc_server_handled_total", **ENCODER, grpc_code="UNAUTHENTICATED") == 1
            assert "Nope" not in it.scrape()
            assert "grpc.health" not in it.scrape()


def test_the_build_and_the_process_are_described():
    metrics = Metrics()
    with metrics.served("127.0.0.1", 0) as address:
        text = scraper(address)()
    assert 'clipsearch_build_info{grpc="' in text
    assert "process_resident_memory_bytes" in text
    assert 'python_gc_collections_total{generation="2"}' in text


def test_a_port_in_use_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(MetricsError, match=f"cannot serve metrics on 127.0.0.1:{port}"),
            Metrics().served("127.0.0.1", port),
        ):
            pass


def test_no_port_no_server():
    with Metrics().served("127.0.0.1", None) as address:
        assert address is None
