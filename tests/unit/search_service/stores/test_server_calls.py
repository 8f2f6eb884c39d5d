"""Which calls are made again, on nodes that answer, fail or hang as told."""

from __future__ import annotations

import asyncio
import time

import pytest

from clipsearch.serving.deadline import deadline_at
from clipsearch.serving.errors import DeadlineExceeded, InvalidArgument, Unavailable
from search_service.stores.qdrant import calls
from search_service.stores.qdrant.calls import MOST_TRIES, ServerCalls
from search_service.stores.qdrant.errors import StoreUnsettled

HANGS = asyncio.CancelledError()


class Nodes:
    """Answers call after call: a value, an error to raise, or HANGS."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0
        self.given_up = 0

    async def __call__(self, timeout: int) -> object:
        answer = self.answers[self.calls]
        self.calls += 1
        if answer is HANGS:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        if isinstance(answer, Exception):
            raise answer
        return answer


AWAY = Unavailable("store", "the store cannot be reached")


@pytest.mark.parametrize("method", ["read", "write"])
async def test_a_node_that_is_away_costs_a_try(method):
    nodes = Nodes(AWAY, AWAY, "answer")
    assert await getattr(ServerCalls(30), method)("x", nodes) == "answer"


@pytest.mark.parametrize("method", ["read", "write"])
async def test_a_wrong_request_is_wrong_on_every_node(method):
    nodes = Nodes(InvalidArgument("request", "wrong"))
    with pytest.raises(InvalidArgument):
        await getattr(ServerCalls(30), method)("x", nodes)
    assert nodes.calls == 1


@pytest.mark.parametrize("method", ["read", "write"])
async def test_tries_end(method):
    nodes = Nodes(*[AWAY] * 10)
    with pytest.raises(Unavailable):
        await getattr(ServerCalls(30), method)("x", nodes)
    assert nodes.calls == MOST_TRIES


@pytest.mark.parametrize("method", ["read", "write"])
async def test_what_a_cluster_cannot_do_yet_is_tried_until_it_can(method, monkeypatch):
    monkeypatch.setattr(calls, "_PAUSES_S", (0.0,))
    nodes = Nodes(*[StoreUnsettled("store", "1 of 2 read operations failed")] * 20, "answer")
    assert await getattr(ServerCalls(30), method)("x", nodes) == "answer"


async def test_a_read_that_hangs_is_asked_of_another_node_and_then_given_up(monkeypatch):
    monkeypatch.setattr(calls, "_HEDGE_AFTER_S", 0.01)
    nodes = Nodes(HANGS, "answer")
    assert await ServerCalls(30).read("x", nodes) == "answer"
    assert (nodes.calls, nodes.given_up) == (2, 1)


async def test_the_first_answer_counts_also_when_a_later_try_fails(monkeypatch):
    monkeypatch.setattr(calls, "_HEDGE_AFTER_S", 0.01)
    first, failed = True, asyncio.Event()

    async def send(timeout: int) -> str:
        nonlocal first
        if not first:
            failed.set()
            raise AWAY
        first = False
        await failed.wait()
        return "slow answer"

    assert await ServerCalls(30).read("x", send) == "slow answer"


async def test_a_write_that_hangs_is_given_up_before_it_is_made_again(monkeypatch):
    nodes = Nodes(HANGS, "answer")
    late = [0.0, 0.0, 3599.9]  # when it begins, and when it is tried
    now = calls._now
    monkeypatch.setattr(calls, "_now", lambda: now() + (late.pop(0) if late else 0.0))
    assert await ServerCalls(3600).write("x", nodes) == "answer"
    assert (nodes.calls, nodes.given_up) == (2, 1)


@pytest.mark.parametrize("method", ["once", "read", "write"])
async def test_no_try_outlives_the_deadline(method):
    nodes = Nodes(*[HANGS] * 10)
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.05):
        await getattr(ServerCalls(30), method)("x", nodes)
    assert nodes.given_up == nodes.calls


async def test_what_answers_otherwise_the_second_time_is_made_once():
    nodes = Nodes(AWAY)
    with pytest.raises(Unavailable):
        await ServerCalls(30).once("x", nodes)
