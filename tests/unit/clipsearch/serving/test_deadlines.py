"""The default deadline, on a real server."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from clipsearch.serving.deadlines import DeadlineInterceptor
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from tests.unit.clipsearch.serving.served import GET_MODEL, call, refusal, running

EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
async def server():
    async with running(ErrorInterceptor(), DeadlineInterceptor(0.2)) as server:
        yield server


async def test_a_call_without_a_deadline_gets_the_default_and_is_cancelled_at_it(server):
    seen: list[object] = []

    async def hangs(request, context):
        seen.append(context.time_remaining())
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    server.answers[GET_MODEL] = hangs
    assert await refusal(server.channel, timeout=None) == (EXCEEDED, "DEADLINE_EXCEEDED")
    left, end = seen
    assert 0 < left <= 0.2
    assert end == "cancelled"


async def test_the_callers_own_deadline_stands_shorter_or_longer(server):
    async def takes(request, context):
        left = context.time_remaining()
        assert left > 1
        await asyncio.sleep(0.3)  # longer than the default

    server.answers[GET_MODEL] = takes
    await call(server.channel, timeout=20)


async def test_everything_else_of_the_context_is_there(server):
    async def reads(request, context):
        assert dict(context.invocation_metadata())["x-asked"] == "yes"
        await context.abort(grpc.StatusCode.ABORTED, "on purpose")

    server.answers[GET_MODEL] = reads
    code, _ = await refusal(server.channel, timeout=None, metadata=[("x-asked", "yes")])
    assert code is grpc.StatusCode.ABORTED


async def test_a_timeout_of_the_handlers_own_is_not_the_deadline(server):
    async def fails(request, context):
        raise TimeoutError

    server.answers[GET_MODEL] = fails
    assert await refusal(server.channel, timeout=None) == (grpc.StatusCode.INTERNAL, "INTERNAL")
