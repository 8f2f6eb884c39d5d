"""Requests on their way: what they may hold, who waits and who gives way, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import ResourceExhausted
from clipsearch.serving.receiving import arrivals as arrivals_module
from clipsearch.serving.receiving.arrivals import Arrivals
from clipsearch.serving.receiving.requests import Requests
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.tokens import Grant, Grants, Scope
from clipsearch.serving.settings import MIB
from tests.unit.clipsearch.serving.http2 import Unfinished
from tests.unit.clipsearch.serving.served import SEARCH, call, refusal, running
from tests.waiting import until

PATH = "/clipsearch.encoder.v1.EncoderService/EncodeText"
BUDGET = 8 * MIB
# What a call may send unasked, and a frame that was under way.
UNASKED = 65_535
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
REQUEST = encoder_pb2.EncodeTextRequest(texts=["whole"])


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals(BUDGET, limit_s=60)


def taking(arrivals: Arrivals, **options: Any) -> CallInterceptor:
    return CallInterceptor(Requests(arrivals, BUDGET, {}), **options)


@asynccontextmanager
async def unfinished(address: str, calls: int, size: int) -> AsyncIterator[Unfinished]:
    """Calls that send `size` bytes of a message of 50 MB and no more."""
    them = Unfinished(PATH.encode(), calls, 50_000_000, size)
    task = asyncio.create_task(them.run(address))
    try:
        yield them
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_limit_on_calls_holds_when_their_headers_come(arrivals):
    calls = taking(arrivals, limit=1)
    async with (
        running(calls) as server,
        unfinished(server.address, calls=4, size=2 * MIB) as them,
    ):
        await until(lambda: len(them.answers) == 3 and them.sent[1] == 2 * MIB)
        assert {answer["grpc-status"] for answer in them.answers.values()} == {str(EXHAUSTED.value[0])}
        assert calls.in_progress == 1
        assert all(sent <= UNASKED for stream, sent in them.sent.items() if stream != 1)


@pytest.mark.parametrize("known_by", ["token", "certificate"])
async def test_a_caller_without_rights_is_refused_before_its_body_is_taken(arrivals, tokens, known_by):
    if known_by == "token":
        tokens.add("somebody", "encode")
    else:
        tokens.write(Grant(name="gateway", certificate="gateway.example", scopes={Scope.ENCODE}))
    async with (
        running(taking(arrivals, guard=Guard(Grants(tokens.path)))) as server,
        unfinished(server.address, calls=4, size=2 * MIB) as them,
    ):
        await until(lambda: len(them.answers) == 4)
        codes = {answer["grpc-status"] for answer in them.answers.values()}
        assert codes == {str(grpc.StatusCode.UNAUTHENTICATED.value[0])}
        assert max(them.sent.values()) <= UNASKED


async def test_unfinished_requests_stay_within_the_budget_and_others_are_served_meanwhile(arrivals):
    async with (
        running(taking(arrivals)) as server,
        unfinished(server.address, calls=8, size=4 * MIB) as one,
        unfinished(server.address, calls=8, size=4 * MIB) as other,
    ):
        await until(lambda: arrivals.arriving > BUDGET / 4)
        for _ in range(40):
            await call(server.channel, PATH, REQUEST, timeout=20)
            assert arrivals.arriving < 4 * BUDGET
            await asyncio.sleep(0.01)
        await until(lambda: one.answers or other.answers)
        refused = [*one.answers.values(), *other.answers.values()]
        assert {answer["grpc-status"] for answer in refused} == {str(EXHAUSTED.value[0])}
        assert "bytes of requests are in memory or on their way" in refused[0]["grpc-message"]


async def test_at_the_limit_on_calls_one_that_has_been_arriving_for_long_gives_way(arrivals, monkeypatch):
    monkeypatch.setattr(arrivals_module, "_PATIENCE_S", 3600)
    calls = taking(arrivals, limit=2)
    async with (
        running(calls) as server,
        unfinished(server.address, calls=2, size=100) as them,
    ):
        await until(lambda: calls.in_progress == 2)
        assert await refusal(server.channel, PATH, REQUEST) == (EXHAUSTED, "TOO_MANY_CALLS")
        monkeypatch.setattr(arrivals_module, "_PATIENCE_S", 0)  # they have had it
        calls.prechecks["clipsearch.search.v1.SearchService"] = no_room
        assert await refusal(server.channel, SEARCH) == (EXHAUSTED, "QUEUE_FULL")
        assert calls.in_progress == 2  # nobody gave way for that
        await call(server.channel, PATH, REQUEST)
        await until(lambda: len(them.answers) == 1)


def no_room(method: str) -> None:
    raise ResourceExhausted("the queue is full", "QUEUE_FULL", 1.0)


async def test_what_is_answered_counts_until_its_answer_and_the_next_waits(arrivals):
    release, begun = asyncio.Event(), []

    async def waits(request, context):
        begun.append(len(request.images[0]))
        await release.wait()

    path = PATH.replace("Text", "Image")
    large = encoder_pb2.EncodeImageRequest(images=[bytes(2_500_000)])  # twice: the message and a copy
    async with running(taking(arrivals)) as server:
        server.answers[path] = waits
        first = asyncio.create_task(call(server.channel, path, large, timeout=20))
        await until(lambda: begun)
        assert 5_000_000 <= arrivals.held < 5_010_000
        second = asyncio.create_task(call(server.channel, path, large, timeout=20))
        await until(lambda: arrivals.held > 7_000_000)
        await asyncio.sleep(0.05)
        assert len(begun) == 1
        await call(server.channel, PATH, REQUEST)  # one that takes next to nothing does not wait
        release.set()
        await asyncio.gather(first, second)
    assert len(begun) == 2
    assert arrivals.held == 0


@pytest.mark.parametrize("how", ["cancelled", "refused", "raises"])
async def test_nothing_stays_behind_however_a_call_ends(arrivals, how):
    begun = asyncio.Event()

    async def ends(request, context):
        begun.set()
        if how == "raises":
            raise RuntimeError
        await asyncio.sleep(60)

    async with running(taking(arrivals)) as server:
        server.answers[PATH] = ends
        texts = [""] * 1_000_000 if how == "refused" else ["x" * 100_000]
        sent = asyncio.create_task(call(server.channel, PATH, encoder_pb2.EncodeTextRequest(texts=texts)))
        if how == "cancelled":
            await begun.wait()
            sent.cancel()
        await asyncio.wait([sent])
        await until(lambda: arrivals.held == 0)
        assert arrivals._answering == 0
