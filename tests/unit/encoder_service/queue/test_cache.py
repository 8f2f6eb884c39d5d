"""The text cache and its bound; one computation for equal inputs in flight."""

from __future__ import annotations

import asyncio
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.inputs.texts import TextInput
from encoder_service.queue.cache import SingleFlight, TextCache
from tests.waiting import settled

DONE = TextInput(tokens=4)


def vector(number: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(64, number, dtype=np.float32)


def test_a_text_is_found_by_its_exact_letters() -> None:
    cache = TextCache(100_000)
    cache.put("a cat", vector(1), DONE)
    found = cache.get("a cat")
    assert found is not None
    assert found.vector.tolist() == vector(1).tolist()
    assert found.input == DONE
    assert cache.get("A cat") is None
    assert cache.get("a cat ") is None
    assert (cache.hits, cache.misses) == (1, 2)


def test_a_cached_vector_cannot_be_changed_and_does_not_keep_its_batch() -> None:
    cache = TextCache(100_000)
    batch = np.zeros((32, 64), dtype=np.float32)
    cache.put("a cat", batch[3], DONE)
    batch[3] = 9
    found = cache.get("a cat")
    assert found is not None
    assert found.vector.base is None
    assert found.vector.tolist() == [0] * 64
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 1


def test_the_least_recently_used_text_goes_first() -> None:
    cache = TextCache(3 * 800)
    for name in ("a", "b", "c"):
        cache.put(name, vector(0), DONE)
    cache.get("a")
    cache.put("d", vector(0), DONE)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


@given(st.lists(st.text(max_size=400), max_size=60), st.sampled_from([0, 5_000]))
def test_the_bound_holds_whatever_is_put_in(texts: list[str], most: int) -> None:
    cache = TextCache(most)
    for text in texts:
        cache.put(text, vector(0), DONE)
        assert cache.size <= most


def test_the_size_that_is_counted_is_the_memory_that_is_taken() -> None:
    tracemalloc.start()
    try:
        cache = TextCache(10**9)
        for number in range(5_000):
            cache.put(f"an image of thing number {number}", vector(0), TextInput(number))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= 1.05 * cache.size
    assert cache.size <= 1.25 * taken


class Work:
    """A computation that can be held, and counts how often it was begun, ended and cancelled."""

    def __init__(self) -> None:
        self.begun = self.ended = self.cancelled = 0
        self.free = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return 42


async def test_equal_keys_in_flight_are_computed_once() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(5)]
    other = asyncio.create_task(flights.run("b", work))
    await settled()
    work.free.set()
    assert await asyncio.gather(*waiters, other) == [42] * 6
    assert (work.begun, flights.joined, len(flights)) == (2, 4, 0)


async def test_a_key_that_has_landed_is_computed_again() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.free.set()
    await flights.run("a", work)
    await flights.run("a", work)
    assert work.begun == 2


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_waiter_that_goes_away_leaves_the_others_their_answer(leaver: int) -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(2)]
    await settled()
    waiters[leaver].cancel()
    await settled()
    work.free.set()
    assert await waiters[1 - leaver] == 42
    assert (work.ended, work.cancelled) == (1, 0)


async def test_the_work_is_cancelled_when_the_last_waiter_goes() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(2)]
    await settled()
    for waiter in waiters:
        waiter.cancel()
    await settled()
    assert (work.ended, work.cancelled, len(flights)) == (0, 1, 0)


async def test_a_failure_reaches_every_waiter_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    begun = 0

    async def fail() -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(flights.run("a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no"] * 3
    assert begun == 1
    with pytest.raises(ValueError, match="no"):
        await flights.run("a", fail)
    assert begun == 2
