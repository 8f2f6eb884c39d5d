"""Metrics of a server that answers real calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import generate_latest

from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import NotFound
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.tokens import Grants
from clipsearch.serving.telemetry.metrics import Metrics
from tests.unit.clipsearch.serving.served import GET_MODEL, SEARCH, Running, call, refusal, running
from tests.waiting import until

ENCODER = {"grpc_service": "clipsearch.encoder.v1.EncoderService", "grpc_method": "GetModel"}
SEARCHES = {"grpc_service": "clipsearch.search.v1.SearchService", "grpc_method": "Search"}


@dataclass
class Measured:
    server: Running
    channel: grpc.aio.Channel
    metrics: Metrics
    token: str

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def page(self) -> str:
        return generate_latest(self.metrics.registry).decode()


@pytest.fixture
async def measured(tokens) -> AsyncIterator[Measured]:
    token = tokens.add("x", "encode", "search")
    metrics = Metrics()
    calls = CallInterceptor(guard=Guard(Grants(tokens.path)), metrics=metrics)
    async with running(calls) as server:
        yield Measured(server, server.channel, metrics, token)


async def test_calls_are_timed_and_counted_by_method_code_and_the_reason_of_a_failure(measured):
    async def missing(request, context):
        raise NotFound("collection", "x")

    async def broken(request, context):
        raise RuntimeError("a fault")

    await call(measured.channel, token=measured.token)
    await call(measured.channel, token=measured.token)
    await refusal(measured.channel)
    measured.server.answers |= {SEARCH: missing, GET_MODEL: broken}
    await refusal(measured.channel, SEARCH, token=measured.token)
    await refusal(measured.channel, token=measured.token)
    handled = "grpc_server_handled_total"
    # A call that fails is told so before it is counted: its caller may be the first.
    await until(lambda: measured.value(handled, **SEARCHES, grpc_code="NOT_FOUND") == 1)
    await until(lambda: measured.value(handled, **ENCODER, grpc_code="INTERNAL") == 1)
    assert measured.value(handled, **ENCODER, grpc_code="UNAUTHENTICATED") == 1
    assert measured.value(handled, **ENCODER, grpc_code="OK") == 2
    assert measured.value("grpc_server_handling_seconds_count", **ENCODER) == 4
    assert measured.value("grpc_server_handling_seconds_count", **SEARCHES) == 1
    assert measured.value("clipsearch_errors_total", **SEARCHES, reason="COLLECTION_NOT_FOUND") == 1
    assert measured.value("clipsearch_errors_total", **ENCODER, reason="INTERNAL") == 1


async def test_calls_in_flight_go_up_and_down(measured):
    release = asyncio.Event()

    async def waits(request, context):
        await release.wait()

    measured.server.answers[GET_MODEL] = waits
    calls = [asyncio.create_task(call(measured.channel, token=measured.token)) for _ in range(3)]
    await until(lambda: measured.value("grpc_server_in_flight", **ENCODER) == 3)
    release.set()
    await asyncio.gather(*calls)
    assert measured.value("grpc_server_in_flight", **ENCODER) == 0


async def test_the_page_describes_the_process_and_has_no_series_of_unknown_methods(measured):
    with pytest.raises(grpc.aio.AioRpcError):
        await measured.channel.unary_unary("/clipsearch.encoder.v1.EncoderService/Nope")(b"")
    await health_pb2_grpc.HealthStub(measured.channel).Check(health_pb2.HealthCheckRequest())
    text = measured.page()
    assert "Nope" not in text
    assert "grpc.health" not in text
    assert 'clipsearch_build_info{grpc="' in text
    assert "process_resident_memory_bytes" in text
    assert 'python_gc_collections_total{generation="2"}' in text
