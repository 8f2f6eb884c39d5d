"""The limit on calls in progress, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.serving.concurrency import ConcurrencyInterceptor
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from tests.unit.clipsearch.serving.served import GET_MODEL, Running, call, detail, refusal, running

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
    async with (
        running(ErrorInterceptor(), limit) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):

        async def waits(request, context):
            await release.wait()

        server.answers[GET_MODEL] = waits
        yield Busy(server, channel, limit, release)


async def fill(busy: Busy) -> list[asyncio.Task]:
    calls = [asyncio.create_task(call(busy.channel)) for _ in range(2)]
    async with asyncio.timeout(5):
        while busy.limit.in_progress < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    return calls


async def test_past_the_limit_a_call_is_refused_unread_and_told_when_to_come_back(busy):
    await fill(busy)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(busy.channel)
    assert caught.value.code() is EXHAUSTED
    assert detail(caught.value, error_details_pb2.ErrorInfo).reason == "TOO_MANY_CALLS"
    assert detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() >= 50
    assert len(busy.server.decoded) == 2


async def test_places_are_free_again_after_success_failure_and_cancellation(busy):
    first, second = await fill(busy)
    first.cancel()
    async with asyncio.timeout(5):
        while busy.limit.in_progress > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
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
    answer = await health_pb2_grpc.HealthStub(busy.channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_burst_never_has_more_than_the_limit_in_progress(busy):
    most = 0

    async def counts(request, context):
        nonlocal most
        most = max(most, busy.limit.in_progress)
        await asyncio.sleep(0.005)

    busy.server.answers[GET_MODEL] = counts
    results = await asyncio.gather(*(call(busy.channel) for _ in range(50)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert most == 2
    assert 2 <= 50 - len(refused) < 50
    assert {error.code() for error in refused} == {EXHAUSTED}


async def test_callers_are_told_to_wait_about_as_long_as_a_call_takes(busy):
    async def takes_long(request, context):
        await asyncio.sleep(0.3)

    busy.server.answers[GET_MODEL] = takes_long
    for _ in range(3):
        await asyncio.gather(*(call(busy.channel) for _ in range(2)))
    assert 0.05 < busy.limit._mean_s < 0.3
