"""Equal items in flight: computed once, for all who wait for them."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.unit.encoder_service.queue.batching import Item, RecordingSession, batcher, held, request
from tests.waiting import until


async def test_equal_items_are_computed_once_also_within_a_request(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        async with held(session, made):
            calls = [
                asyncio.create_task(request(made, [Item(1), Item(1), Item(2)], keys=["a", "a", "b"])),
                asyncio.create_task(request(made, [Item(2), Item(1), Item(3)], keys=["b", "a", "c"])),
            ]
        answers = await asyncio.gather(*calls)
        assert [[int(one.vector[0]) for one in answer] for answer in answers] == [[1, 1, 2], [2, 1, 3]]
        assert session.seen == [1, 2, 3]
        await request(made, [Item(1)], keys=["a"])
    assert session.seen == [1, 2, 3, 1], "nothing is kept once all have their answer"


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_caller_that_goes_leaves_the_others_their_answer(
    executor: ThreadPoolExecutor, leaver: int
) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        async with held(session, made):
            items = [[Item(1), Item(2)], [Item(1), Item(3)]]
            keys = ["12", "13"]
            calls = [asyncio.create_task(request(made, items[n], keys=[*keys[n]])) for n in (0, 1)]
            await asyncio.sleep(0)
            calls[leaver].cancel()
        answer = await calls[1 - leaver]
    assert [int(one.vector[0]) for one in answer] == [item.name for item in items[1 - leaver]]
    assert session.seen == [item.name for item in items[1 - leaver]]


async def test_a_failure_reaches_all_who_wait_for_it_at_once_and_is_not_kept(
    executor: ThreadPoolExecutor,
) -> None:
    session = RecordingSession()
    async with batcher(session, executor, capacity=1) as made:
        async with held(session, made):
            calls = [
                asyncio.create_task(request(made, [Item(-1), Item(name)], keys=["broken", f"{name}"]))
                for name in (1, 2)
            ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["the session broke"] * 2
        assert (await request(made, [Item(5)], keys=["broken"]))[0].vector[0] == 5
    assert session.seen.count(-1) == 1


async def test_nobody_joins_an_item_that_has_failed(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor, capacity=1) as made:
        with ExitStack() as holding:
            failed = holding.enter_context(made.group(math.inf))
            failed.submit([Item(-1)], ["same"])
            with pytest.raises(RuntimeError):
                await failed.answers()
            async with held(session, made):
                first = asyncio.create_task(request(made, [Item(5)], keys=["same"]))
                await until(lambda: len(made) == 1)
                holding.close()  # what has come in its place is there to be joined all the same
                second = asyncio.create_task(request(made, [Item(5)], keys=["same"]))
            answers = await asyncio.gather(first, second)
    assert [int(one.vector[0]) for (one,) in answers] == [5, 5]
    assert session.seen.count(5) == 1
    assert not made._entries


async def test_the_earliest_deadline_of_those_who_wait_counts(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor, capacity=1) as made:
        now = time.monotonic()
        async with held(session, made):
            asked = [
                asyncio.create_task(request(made, [Item(name)], now + left, keys=[key]))
                for name, key, left in ((1, "shared", 9), (2, "a", 6), (1, "shared", 3), (3, "b", 8))
            ]
        await asyncio.gather(*asked)
    assert session.seen == [1, 2, 3]
