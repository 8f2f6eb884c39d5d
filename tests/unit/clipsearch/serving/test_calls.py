"""What calls have in common: the limit on those in progress, the default deadline, refusal at the headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.serving import calls as calls_module
from clipsearch.serving.calls import HEALTH, MOST_STREAMS, CallInterceptor, given_up
from clipsearch.serving.deadline import deadline
from clipsearch.serving.errors import ResourceExhausted
from clipsearch.serving.reflection import NAMES as REFLECTION
from tests.unit.clipsearch.serving.served import GET_MODEL, SEARCH, Running, call, detail, refusal, running
from tests.waiting import HANGS_S, until

TOO_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass
class Busy:
    server: Running
    channel: grpc.aio.Channel
    limit: CallInterceptor
    release: asyncio.Event


@pytest.mark.parametrize(
    ("left_s", "code"),
    [(0.0, "DEADLINE_EXCEEDED"), (0.04, "DEADLINE_EXCEEDED"), (0.06, "CANCELLED"), (None, "CANCELLED")],
)
def test_who_gives_up_at_its_deadline_is_late_though_ours_is_still_to_come(left_s, code):
    assert given_up(left_s) == code


@pytest.fixture
async def busy() -> AsyncIterator[Busy]:
    """A server of two places whose GetModel takes until it is released."""
    limit = CallInterceptor(limit=2)
    release = asyncio.Event()
    async with running(limit) as server:

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


async def test_a_health_check_whose_request_does_not_come_is_ended(busy, monkeypatch):
    check = busy.channel.stream_unary(f"{HEALTH}Check")
    monkeypatch.setattr(calls_module, "CHECK_ARRIVES_S", HANGS_S)
    assert await check(iter([])).code() is grpc.StatusCode.INVALID_ARGUMENT
    monkeypatch.setattr(calls_module, "CHECK_ARRIVES_S", 0.01)
    assert await check().code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(params=["watch", "watch that sends nothing", "reflection"])
def open_stream(request) -> Callable[[grpc.aio.Channel], grpc.aio.Call]:
    """Opens a stream that lasts until its caller ends it."""

    def opened(channel: grpc.aio.Channel) -> grpc.aio.Call:
        if request.param == "watch":
            return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        path = (
            f"{HEALTH}Watch"
            if request.param.startswith("watch")
            else f"/{REFLECTION[0]}/ServerReflectionInfo"
        )
        return channel.stream_stream(path)()

    return opened


async def test_streams_past_their_limit_are_refused_and_calls_are_not(open_stream):
    calls = CallInterceptor()
    async with running(calls) as server, grpc.aio.insecure_channel(server.address) as other:
        streams = [
            open_stream(channel) for channel in (server.channel, other) for _ in range(MOST_STREAMS // 2)
        ]
        await until(lambda: calls.open_streams == MOST_STREAMS)
        refused = open_stream(server.channel)
        assert await refused.code() is EXHAUSTED
        assert "64 streams are open" in await refused.details()
        assert calls.open_streams == MOST_STREAMS
        await call(server.channel)
        await health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest())
        streams[0].cancel()
        await until(lambda: calls.open_streams == MOST_STREAMS - 1)
        await other.close()
        await until(lambda: calls.open_streams == MOST_STREAMS // 2 - 1)


async def test_a_stream_that_ends_by_itself_or_fails_leaves_room():
    calls = CallInterceptor()
    async with running(calls) as server:
        stream = server.channel.stream_stream(f"/{REFLECTION[0]}/ServerReflectionInfo")
        codes = [await stream(iter(sent)).code() for sent in ([], [b"\xff"])]
        assert codes[0] is grpc.StatusCode.OK is not codes[1]
        assert calls.open_streams == 0


async def test_callers_are_told_to_wait_about_as_long_as_a_call_takes(busy, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(calls_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
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


@pytest.fixture
async def hasty():
    async with running(CallInterceptor(deadline_s=0.2)) as server:
        yield server


async def test_a_call_without_a_deadline_gets_the_default_and_is_cancelled_at_it(hasty):
    seen: list[object] = []

    async def hangs(request, context):
        seen.append(deadline() - time.monotonic())
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    hasty.answers[GET_MODEL] = hangs
    while not seen:  # it may be late before it is answered
        assert await refusal(hasty.channel, timeout=None) == (TOO_LATE, "DEADLINE_EXCEEDED")
    left, end = seen
    assert left <= 0.2
    assert end == "cancelled"


async def test_the_callers_own_deadline_stands_shorter_or_longer(hasty):
    async def takes(request, context):
        assert deadline() - time.monotonic() > 1
        await asyncio.sleep(0.3)  # longer than the default

    hasty.answers[GET_MODEL] = takes
    await call(hasty.channel, timeout=20)


async def test_a_timeout_of_the_handlers_own_is_not_the_deadline():
    async def fails(request, context):
        raise TimeoutError

    async with running(CallInterceptor(deadline_s=HANGS_S)) as server:
        server.answers[GET_MODEL] = fails
        assert await refusal(server.channel, timeout=None) == (grpc.StatusCode.INTERNAL, "INTERNAL")


async def test_what_a_service_would_refuse_anyway_it_refuses_when_the_headers_come():
    asked: list[tuple[str, float]] = []

    def precheck(method: str) -> None:
        asked.append((method, deadline() - time.monotonic()))
        raise ResourceExhausted("the queue is full", "QUEUE_FULL", 2.0)

    calls = CallInterceptor(deadline_s=3600)
    calls.prechecks["clipsearch.encoder.v1.EncoderService"] = precheck
    async with running(calls) as server:
        assert await refusal(server.channel, timeout=None) == (EXHAUSTED, "QUEUE_FULL")
        assert await refusal(server.channel, timeout=HANGS_S) == (EXHAUSTED, "QUEUE_FULL")
        await call(server.channel, SEARCH)
        assert server.decoded == [SEARCH]
    assert [method for method, _ in asked] == ["GetModel", "GetModel"]
    assert 3600 - HANGS_S < asked[0][1] <= 3600
    assert 0 < asked[1][1] < HANGS_S + 1  # gRPC tells it in steps
