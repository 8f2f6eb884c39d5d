"""Request ids: taken over, made up, logged, forwarded and told in errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2

from clipsearch.serving.current_call import forwarded, name_call
from clipsearch.serving.deadline import deadline
from clipsearch.serving.errors import NotFound
from tests.unit.clipsearch.serving.served import GET_MODEL, call, detail, running
from tests.waiting import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def server():
    async with running() as server:
        yield server


async def seen(server, **metadata: str) -> dict[str, Any]:
    """What a line of the log names that the handler writes."""
    found: dict[str, Any] = {}

    async def look(request, context):
        found.update(name_call(None, "", {}), forwarded=forwarded())

    server.answers[GET_MODEL] = look
    await call(server.channel, metadata=[(key.replace("_", "-"), value) for key, value in metadata.items()])
    return found


async def ask(server, identity: str, timeout: float | None = None) -> None:
    await call(server.channel, metadata=[("x-request-id", identity)], timeout=timeout)


async def test_the_callers_id_is_kept_and_passed_on(server):
    found = await seen(server, x_request_id="order-17/a")
    assert found["request_id"] == "order-17/a"
    assert found["forwarded"] == (("x-request-id", "order-17/a"),)
    assert found["method"] == GET_MODEL


@pytest.mark.parametrize("forged", ["", "a" * 129, "two words", "x{}"])
async def test_an_id_that_could_spoil_the_log_is_replaced(server, forged):
    found = await seen(server, x_request_id=forged)
    assert found["request_id"] != forged
    assert len(found["request_id"]) == 32


async def test_every_call_has_an_id_of_its_own_and_none_is_left_behind(server):
    assert (await seen(server))["request_id"] != (await seen(server))["request_id"]
    assert name_call(None, "", {}) == {}
    assert forwarded() == ()


async def test_the_trace_id_of_the_caller_is_logged(server):
    assert (await seen(server, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"))["trace_id"] == TRACE
    assert "trace_id" not in await seen(server, traceparent="00-nonsense-01")


async def test_each_call_is_a_line_of_the_debug_log_with_its_status_and_errors_tell_the_id(server):
    async def fails(request, context):
        raise NotFound("collection", "x")

    hanging = asyncio.Event()

    async def hangs(request, context):
        hanging.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # The caller's clock is ahead by as long as its call was on the way.
            await asyncio.sleep(min(deadline() - time.monotonic(), 0.3))
            raise

    async def breaks(request, context):
        raise RuntimeError

    def logged() -> set[str]:
        return {entry["request_id"] for entry in logs if entry["event"] == "call"}

    with structlog.testing.capture_logs(processors=[name_call]) as logs:
        await seen(server, x_request_id="good")
        for identity, answer in (("bad", fails), ("broken", breaks)):
            server.answers[GET_MODEL] = answer
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(server, identity)
            assert detail(caught.value, error_details_pb2.RequestInfo).request_id == identity
        server.answers[GET_MODEL] = hangs
        while not hanging.is_set():  # it may be late before it has arrived
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(server, "late", timeout=0.3)
        hanging.clear()
        given_up = asyncio.create_task(ask(server, "gone"))
        await hanging.wait()
        given_up.cancel()
        await until(lambda: logged() >= {"late", "gone"})
    lines = {entry["request_id"]: entry for entry in logs if entry["event"] == "call"}
    assert {identity: entry["code"] for identity, entry in lines.items()} == {
        "good": "OK",
        "bad": "NOT_FOUND",
        "late": "DEADLINE_EXCEEDED",
        "broken": "INTERNAL",
        "gone": "CANCELLED",
    }
    assert lines["late"]["seconds"] > 0
