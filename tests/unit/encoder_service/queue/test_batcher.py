"""The micro-batcher, with a session that records what reaches it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsearch.serving.errors import Unavailable
from encoder_service.queue import batcher as batcher_module
from encoder_service.queue.batcher import Batcher, Computed
from tests.unit.encoder_service.queue.batching import (
    NO_NUMBER,
    Item,
    RecordingSession,
    ask,
    batcher,
    compute,
    held,
    request,
)
from tests.waiting import settled, until


async def test_an_idle_session_gets_a_single_item_at_once(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        monkeypatch.setattr(asyncio.get_running_loop(), "call_at", pytest.fail)  # it would wait for company
        for name in range(3):
            computed = await compute(made, Item(name))
            assert computed.vector.tolist() == [name, name]
        monkeypatch.undo()
    assert session.batches == [[Item(name)] for name in range(3)]


async def test_what_arrives_while_the_session_is_busy_makes_up_the_next_batches(
    executor: ThreadPoolExecutor,
) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        async with held(session, made):
            asked = [ask(made, Item(name)) for name in range(1, 31)]
        answers = await asyncio.gather(*asked)
    assert [answer.vector[0] for answer in answers] == list(range(1, 31))
    assert [len(batch) for batch in session.batches] == [8, 8, 8, 6]


async def test_times_in_the_queue_and_in_the_session_are_told(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        async with held(session, made):
            asked = ask(made, Item(1))
            await asyncio.sleep(0.05)
            session.seconds = 0.03
        computed = await asked
    assert computed.queue_s >= 0.05
    assert computed.infer_s >= 0.03


async def test_the_earliest_deadline_goes_first(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor, capacity=1) as made:
        now = time.monotonic()
        async with held(session, made):
            asked = [ask(made, Item(name), now + left) for name, left in ((1, 9), (2, 3), (3, 6))]
            asked.append(ask(made, Item(4)))
        await asyncio.gather(*asked)
    assert session.seen == [2, 3, 1, 4]


async def test_a_call_without_deadline_does_not_wait_for_ever(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor, capacity=1) as made:
        async with held(session, made):
            far = ask(made, Item(1), math.inf)
            await asyncio.sleep(0.01)
            later = [ask(made, Item(name), time.monotonic() + 3600) for name in (2, 3)]
        await asyncio.gather(far, *later)
    assert session.seen == [1, 2, 3]


async def test_a_large_request_does_not_hold_up_a_small_one_that_comes_later(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, clock = RecordingSession(), SimpleNamespace(now=1000.0)
    monkeypatch.setattr(batcher_module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def run(items: Sequence[Item]) -> NDArray[np.float32]:
        clock.now += 0.01
        return session.run(items)

    async with Batcher(run, executor, 4, weigh=lambda item: item.weight) as made:
        for name in range(3):  # the batcher learns its pace
            await compute(made, Item(name))
        session.free.clear()
        large = asyncio.create_task(request(made, [Item(100 + index) for index in range(64)]))
        await until(lambda: len(session.batches) == 4)
        clock.now += 0.02  # at its pace, two of the large one's items would have been done
        small = ask(made, Item(7))
        await settled()
        session.free.set()
        await asyncio.gather(large, small)
    assert Item(7) in session.batches[4], "the small request waits for the batch in work and its own"
    assert sorted(session.seen)[-64:] == list(range(100, 164))


async def test_texts_of_like_length_share_a_batch(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    lengths = [5, 70, 6, 72, 5, 71, 7, 69]
    async with batcher(session, executor, capacity=300) as made:
        async with held(session, made):
            asked = [ask(made, Item(name, weight)) for name, weight in enumerate(lengths, start=1)]
        await asyncio.gather(*asked)
    assert sorted(sorted(item.weight for item in batch) for batch in session.batches) == [
        [5, 5, 6, 7],
        [69, 70, 71, 72],
    ]


async def given_up(executor: ThreadPoolExecutor, *names: int) -> list[str]:
    """What is said of a session that gets these items, one after another."""
    problems: list[str] = []
    run = RecordingSession().run
    async with Batcher(run, executor, 8, weigh=lambda item: 1, give_up=problems.append) as made:
        for name in names:
            await asyncio.gather(compute(made, Item(name)), return_exceptions=True)
    return problems


async def test_a_session_that_gives_no_vector_so_often_in_a_row_is_given_up(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "MOST_FAILURES", 3)
    assert await given_up(executor, *[-1] * 20) == [], "it was for a moment"
    monkeypatch.setattr(batcher_module, "FAILING_S", 0)
    assert await given_up(executor, -1, -1, 4, -1, NO_NUMBER) == []
    assert await given_up(executor, -1, NO_NUMBER, -1) == [
        "3 batches in a row failed, the last with RuntimeError"
    ]
    assert await given_up(executor, NO_NUMBER, NO_NUMBER, NO_NUMBER) == [
        "3 batches in a row failed, the last with no finite vector"
    ]


async def test_a_vector_that_is_not_finite_fails_its_item_alone(executor: ThreadPoolExecutor) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        async with held(session, made):
            asked = [ask(made, Item(name)) for name in (1, NO_NUMBER, 2)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert len(session.batches) == 1
    assert [type(outcome) for outcome in outcomes] == [Computed, ArithmeticError, Computed]


async def test_a_session_that_fails_or_gives_too_few_vectors_fails_its_batch_and_goes_on(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = RecordingSession()
    async with batcher(session, executor) as made:
        with pytest.raises(RuntimeError, match="broke"):
            await compute(made, Item(-1))
        monkeypatch.setattr(made, "_run", lambda items: np.zeros((0, 2), dtype=np.float32))
        with pytest.raises(ValueError, match="0 vectors for 1 items"):
            await compute(made, Item(1))
        monkeypatch.undo()
        assert (await compute(made, Item(4))).vector.tolist() == [4, 4]


@dataclass(frozen=True)
class Call:
    """A request of a random mix: its items' weights, and what becomes of it."""

    weights: tuple[int, ...]
    fate: str


CALLS = st.builds(
    Call,
    weights=st.lists(st.integers(1, 30), min_size=1, max_size=12).map(tuple),
    fate=st.sampled_from(["answered", "cancelled"]),
)


@settings(max_examples=40, deadline=None)
@given(calls=st.lists(CALLS, min_size=1, max_size=12), capacity=st.integers(1, 64))
def test_in_any_mix_every_answer_is_of_its_own_item_and_lost_items_never_run(
    executor: ThreadPoolExecutor, calls: list[Call], capacity: int
) -> None:
    asyncio.run(_play(executor, calls, capacity))


async def _play(executor: ThreadPoolExecutor, calls: list[Call], capacity: int) -> None:
    """Queues every call while the session is held, loses some of them, then lets it run."""
    session = RecordingSession()
    asked: dict[str, list[tuple[list[Item], asyncio.Task[list[Computed]]]]] = {
        "answered": [],
        "cancelled": [],
    }
    names = itertools.count(1)
    async with batcher(session, executor, capacity) as made:
        async with held(session, made):
            now = time.monotonic()
            for call in calls:
                items = [Item(next(names), weight) for weight in call.weights]
                asked[call.fate].append((items, asyncio.create_task(request(made, items, now + 60))))
            await asyncio.sleep(0)
            for _, task in asked["cancelled"]:
                task.cancel()
        for items, task in asked["answered"]:
            assert [computed.vector[0] for computed in await task] == [item.name for item in items]
        assert len(made) == 0
    assert sorted(session.seen) == sorted(item.name for items, _ in asked["answered"] for item in items)
    for batch in session.batches:
        assert len(batch) == 1 or len(batch) * max(item.weight for item in batch) <= capacity


async def test_a_failure_that_its_caller_did_not_wait_for_is_not_reported_by_asyncio(
    executor: ThreadPoolExecutor,
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    session = RecordingSession()
    async with batcher(session, executor) as made:
        with made.group(math.inf) as group:
            group.submit([Item(-1)])
            await until(lambda: not made._running and not len(made))
        del group
        gc.collect()
        await asyncio.sleep(0)
    assert session.seen == [-1]
    assert not reported


async def test_each_answer_is_told_when_it_is_there(executor: ThreadPoolExecutor) -> None:
    first, second = threading.Event(), threading.Event()
    runs, landed = iter((first, second)), []

    def run(items: Sequence[Item]) -> NDArray[np.float32]:
        assert next(runs).wait(60)
        return np.ones((len(items), 2), dtype=np.float32)

    async with Batcher(run, executor, 2, weigh=lambda item: 1) as made:
        with made.group(math.inf, lambda: landed.append(1)) as group:
            group.submit([Item(name) for name in range(3)])
            answers = asyncio.create_task(group.answers())
            first.set()
            await until(lambda: len(landed) == 2)
            assert not answers.done()
            second.set()
            assert len(await answers) == len(landed) == 3


async def test_two_batches_are_in_flight_where_that_is_asked_for() -> None:
    session = RecordingSession()
    session.free.clear()
    with ThreadPoolExecutor(2) as pool:
        async with Batcher(session.run, pool, 2, weigh=lambda item: item.weight, in_flight=2) as made:
            calls = [ask(made, Item(name)) for name in range(7)]
            await until(lambda: len(session.batches) == 2)
            await asyncio.sleep(0.01)
            assert len(session.batches) == 2  # the third waits for one of them
            session.free.set()
            answers = await asyncio.gather(*calls)
    assert [int(answer.vector[0]) for answer in answers] == list(range(7))
    assert sorted(session.seen) == list(range(7))
    assert max(map(len, session.batches)) <= 2


async def test_closing_answers_all_who_are_in_flight_or_wait_and_then_takes_nothing() -> None:
    session = RecordingSession()
    session.free.clear()
    with ThreadPoolExecutor(2) as pool:
        async with Batcher(session.run, pool, 1, weigh=lambda item: item.weight, in_flight=2) as made:
            calls = [ask(made, Item(name)) for name in range(3)]
            await until(lambda: len(session.batches) == 2)
            await asyncio.sleep(0.01)
        session.free.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    with pytest.raises(Unavailable):
        await compute(made, Item(9))
    assert sorted(session.seen) == [0, 1]
