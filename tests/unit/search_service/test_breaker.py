"""A breaker over a dependency that answers, refuses, is down or is frozen."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from clipsearch.serving.errors import DeadlineExceeded, NotFound, Unavailable
from search_service import breaker as breaker_module
from search_service.breaker import RETRY_AFTER_S, Breaker
from tests.waiting import at_once


class Store:
    """Does as `mode` says; `kind` is no coroutine and passes through."""

    kind = "toy"

    def __init__(self) -> None:
        self.mode = "up"
        self.calls = 0
        self.thaws = asyncio.Event()

    async def ping(self) -> None:
        await self._as_told()

    async def count(self, collection: str) -> int:
        self.calls += 1
        await self._as_told()
        return len(collection)

    async def get(self, name: str) -> None:
        raise NotFound("collection", name)

    async def late(self) -> None:
        raise DeadlineExceeded

    async def _as_told(self) -> None:
        if self.mode == "down":
            raise Unavailable("store", "the store cannot be reached")
        if self.mode == "frozen":
            await self.thaws.wait()
            raise Unavailable("store", "the store cannot be reached")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch) -> None:
    monkeypatch.setattr(breaker_module, "_ANSWER_S", 0.1)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def told() -> list[bool]:
    return []


@pytest.fixture
def guarded(store, told) -> Store:
    return Breaker("store", told.append).guarded(store)


async def test_what_passes_passes_unchanged(guarded):
    assert await guarded.count("hats") == 4
    assert guarded.kind == "toy"
    with pytest.raises(NotFound):
        await guarded.get("shoes")


@pytest.mark.parametrize("mode", ["down", "frozen"])
async def test_after_a_failed_probe_calls_are_refused_at_once_until_one_succeeds(guarded, store, told, mode):
    store.mode = mode
    with pytest.raises(Unavailable):
        await guarded.ping()
    with pytest.raises(Unavailable) as refused:
        at_once(guarded.count("hats"))
    assert store.calls == 0, "the dependency was asked all the same"
    assert (refused.value.reason, refused.value.retry_after_s) == ("STORE_UNAVAILABLE", RETRY_AFTER_S)
    assert refused.value.message == (
        "the store cannot be reached" if mode == "down" else "the store does not answer"
    )
    store.mode = "up"
    with pytest.raises(Unavailable):
        await guarded.count("hats")
    await guarded.ping()
    assert await guarded.count("hats") == 4
    assert told == [True, False, True]


async def test_a_probe_that_fails_without_a_word_opens_it_too(told):
    breaker = Breaker("store", told.append)
    for _ in range(2):
        with pytest.raises(Unavailable):
            async with breaker.probe():
                raise Unavailable("store", "")
    with pytest.raises(Unavailable, match="the store does not answer"):
        async with breaker.call():
            pytest.fail("the dependency was asked all the same")
    assert told == [True, False]


async def test_calls_under_way_are_given_up_when_it_opens(guarded, store):
    store.mode = "frozen"
    calls = [asyncio.create_task(guarded.count("hats")) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(2):  # the second failure in a row has nobody left to give up
        with pytest.raises(Unavailable):
            await guarded.ping()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert {outcome.message for outcome in outcomes} == {"the store does not answer"}


async def test_a_probe_that_fails_while_calls_are_answered_opens_nothing(guarded, store, monkeypatch):
    monkeypatch.setattr(breaker_module, "_ANSWER_S", 3600)
    store.mode = "frozen"
    ping = asyncio.create_task(guarded.ping())
    await asyncio.sleep(0)
    with pytest.raises(NotFound):  # an answer as good as any
        await guarded.get("shoes")
    store.thaws.set()
    await ping
    store.mode = "up"
    assert await guarded.count("hats") == 4


async def test_a_deadline_that_passed_is_no_answer(guarded, store, monkeypatch):
    monkeypatch.setattr(breaker_module, "_ANSWER_S", 3600)
    store.mode = "frozen"
    ping = asyncio.create_task(guarded.ping())
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await guarded.late()
    store.thaws.set()
    with pytest.raises(Unavailable):
        await ping


async def test_a_caller_that_goes_is_no_failure(guarded, store):
    store.mode = "frozen"
    call = asyncio.create_task(guarded.count("hats"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(TimeoutError):  # the caller's own limit stays what it is
        async with asyncio.timeout(0.02):
            await guarded.count("hats")


async def test_the_log_tells_each_change_once(guarded, store):
    with structlog.testing.capture_logs() as logs:
        for mode in ("up", "down", "down", "up"):
            store.mode = mode
            try:
                await guarded.ping()
            except Unavailable:
                continue
    assert [entry["event"] for entry in logs] == ["calls are refused", "calls are made again"]
