"""The limit on calls in progress, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.serving import concurrency
from clipsearch.serving.concurrency import ConcurrencyInterceptor
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from tests.unit.clipsearch.serving.served import GET_MODEL, Running, call, detail, refusal, running
from tests.waiting import until

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass
class Busy:
    server: Running
    channel: grpc.aio.Channel
    limit: ConcurrencyInterceptor
    release: asyncio.Event


@pytest.fixture
async def busy() -> AsyncIterator[Busy]:
    """A server of two places whose GetModel takes until it is released."""
    limit = ConcurrencyInterceptor(2)
    release = asyncio.Event()
    async with running(ErrorInterceptor(), limit) as server:

        async def waits(request, context):
            await release.wait()

        server.answers[GET_MODEL] = waits
        yield Busy(server, server.channel, limit, release)


async def fill(busy: Busy) -> list[asyncio.Task]:
    calls = [asyncio.create_task(call(busy.channel)) for _ in range(2)]
    await until(lambda: busy.limit.in_progress == 2)
    return calls


async def test_past_the_limit_calls_are_refused_unread_and_told_when_to_come_back(busy):
    calls = [asyncio.create_task(call(busy.channel)) for _ in range(50)]
    await until(lambda: sum(task.done() for task in calls) == 48)
    assert busy.limit.in_progress == len(busy.server.decoded) == 2
    busy.release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(refused) == 48
    for error in refused:
        assert error.code() is EXHAUSTED
        assert detail(error, error_details_pb2.ErrorInfo).reason == "TOO_MANY_CALLS"
        assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() >= 50


async def test_places_are_free_again_after_success_failure_and_cancellation(busy):
    first, second = await fill(busy)
    first.cancel()
    await until(lambda: busy.limit.in_progress == 1)
    busy.release.set()
    await second
    await call(busy.channel)

    async def fails(request, context):
        raise RuntimeError

    busy.server.answers[GET_MODEL] = fails
    assert (await refusal(busy.channel))[0] is grpc.StatusCode.INTERNAL
    assert busy.limit.in_progress == 0


async def test_health_answers_however_full_it_is(busy):
    await fill(busy)
    answer = await health_pb2_grpc.HealthStub(busy.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_callers_are_told_to_wait_about_as_long_as_a_call_takes(busy, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(concurrency, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    busy.release.set()
    for _ in range(30):  # of ten seconds each
        await call(busy.channel)
    busy.release.clear()
    calls = await fill(busy)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(busy.channel)
    assert 5 < detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToSeconds() <= 10
    busy.release.set()
    await asyncio.gather(*calls)
