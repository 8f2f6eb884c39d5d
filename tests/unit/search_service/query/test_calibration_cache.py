"""When a collection is calibrated, what is kept of it, and who waits."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest

from clipsearch.serving.deadline import deadline_at
from clipsearch.serving.errors import NotFound, Unavailable
from search_service.query import calibration_cache as cache_module
from search_service.query.calibration import Calibration
from search_service.query.calibration_cache import CalibrationCache
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import VECTOR_NAMES, StoredPoint
from tests.unit.search_service.served import DIMENSION
from tests.waiting import until


class CountingStore:
    """The store itself; counts samples, and can hold them back or fail them."""

    def __init__(self, store: QdrantEdge) -> None:
        self._store = store
        self.sampled = 0
        self.error: Exception | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def sample(self, *arguments: Any, **options: Any) -> Any:
        self.sampled += 1
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        return await self._store.sample(*arguments, **options)


@pytest.fixture
async def store(tmp_path: Path):
    opened = CountingStore(await QdrantEdge.open(tmp_path / "data"))
    await opened.create_collection(CollectionSpec("c", DIMENSION, "f"))
    yield opened
    await opened.close()


@pytest.fixture
async def calibrations(store):
    made = CalibrationCache(store)
    yield made
    await made.close()


def points(first: int, count: int, names=VECTOR_NAMES) -> list[StoredPoint]:
    random = np.random.default_rng(first)

    def vector() -> np.ndarray:
        numbers = random.standard_normal(DIMENSION)
        return (numbers / np.linalg.norm(numbers)).astype(np.float32)

    return [StoredPoint(str(first + i), {}, **{name: vector() for name in names}) for i in range(count)]


async def write(store, calibrations: CalibrationCache, first: int, count: int, names=VECTOR_NAMES) -> None:
    await store.upsert("c", points(first, count, names))
    calibrations.wrote("c", count, names)


async def counts(calibrations: CalibrationCache) -> dict[str, int]:
    calibration = await calibrations.get("c")
    assert calibration is not None
    assert await calibrations.counts("c") == calibration.counts
    return dict(calibration.counts)


async def test_nothing_is_known_of_an_empty_collection_or_one_that_is_not_there(calibrations):
    assert await calibrations.get("c") is None
    assert await calibrations.counts("c") == {}
    with pytest.raises(NotFound):
        await calibrations.get("nowhere")


async def test_what_a_call_wrote_is_measured_though_its_deadline_has_passed(store, calibrations):
    await store.upsert("c", points(0, 20))
    with deadline_at(time.monotonic()):
        calibrations.wrote("c", 20, VECTOR_NAMES)
    await until(lambda: store.sampled == 2)


async def test_a_load_is_measured_once_nothing_more_comes(store):
    calibrations = CalibrationCache(store, quiet_s=3600)
    for n in range(8):
        await write(store, calibrations, 20 * n, 20)
    assert store.sampled == 0
    calibrations._quiet_s = 0
    await write(store, calibrations, 160, 1)
    await until(lambda: store.sampled == 2)
    assert await counts(calibrations) == {"image": 161, "text": 161}
    assert store.sampled == 2
    await calibrations.close()


async def test_the_write_waits_for_nothing_and_the_search_for_what_is_under_way(store, calibrations):
    store.may_go_on.clear()
    await write(store, calibrations, 0, 20)
    asked = asyncio.create_task(calibrations.get("c"))
    await asyncio.sleep(0)
    assert not asked.done()
    store.may_go_on.set()
    assert (await asked).counts == {"image": 20, "text": 20}


async def test_it_stays_until_the_vectors_of_a_name_have_doubled(store, calibrations):
    await write(store, calibrations, 0, 20)
    before = await calibrations.get("c")
    for _ in range(5):  # points that are written again are no more than they were
        await write(store, calibrations, 0, 20)
    assert await calibrations.get("c") is before
    await write(store, calibrations, 20, 19)
    assert await calibrations.get("c") is before
    await write(store, calibrations, 39, 1)
    assert await counts(calibrations) == {"image": 40, "text": 40}


async def test_it_stays_until_they_have_halved(store, calibrations):
    await write(store, calibrations, 0, 40)
    before = await calibrations.get("c")
    for first, last, changed in ((0, 19, False), (19, 20, True)):
        gone = await store.delete("c", [str(i) for i in range(first, last)])
        calibrations.wrote("c", gone)
        assert (await calibrations.get("c") is not before) == changed
    assert await counts(calibrations) == {"image": 20, "text": 20}


@pytest.mark.parametrize(("first", "second"), [("image", "text"), ("text", "image")])
async def test_the_first_vector_of_a_name_is_noticed_at_once(store, calibrations, first, second):
    await write(store, calibrations, 0, 100, (first,))
    assert not (await calibrations.get("c")).both
    await write(store, calibrations, 100, 1, (second,))
    assert (await calibrations.get("c")).both


async def test_a_restart_goes_on_with_what_was_measured(store, tmp_path, calibrations):
    await write(store, calibrations, 0, 20)
    before = await calibrations.get("c")
    await write(store, calibrations, 20, 19)
    await calibrations.get("c")
    await store.close()
    again = CountingStore(await QdrantEdge.open(tmp_path / "data"))
    restarted = CalibrationCache(again)
    after = await restarted.get("c")
    assert (after.to_json(), again.sampled) == (before.to_json(), 0)
    await again.upsert("c", points(39, 1))
    restarted.wrote("c", 1, VECTOR_NAMES)
    assert await counts(restarted) == {"image": 40, "text": 40}
    await again.close()


async def test_how_many_vectors_there_are_is_known_also_where_others_write(store, calibrations):
    assert await calibrations.counts("c") == {}
    other = CalibrationCache(store)  # of another process
    for first, count in ((0, 20), (20, 180)):
        await write(store, other, first, count)
        await other.get("c")
        assert await calibrations.counts("c") == {"image": first + count, "text": first + count}


async def test_what_another_service_has_kept_is_taken(store, calibrations):
    other = CalibrationCache(store)
    await write(store, other, 0, 20)
    kept = (await other.get("c")).to_json()
    assert (await calibrations.get("c")).to_json() == kept
    assert store.sampled == 2


async def test_what_cannot_be_read_is_measured_anew(store, calibrations):
    await write(store, calibrations, 0, 20)
    await calibrations.get("c")
    await store.set_calibration("c", {"counts": {"image": "many"}})
    assert await counts(calibrations) == {"image": 20, "text": 20}


async def test_a_store_that_fails_fails_the_search_that_needs_it_and_the_next_tries_again(
    store, calibrations
):
    store.error = Unavailable("store", "away")
    await write(store, calibrations, 0, 20)
    with pytest.raises(Unavailable):
        await calibrations.get("c")
    store.error = None
    assert await counts(calibrations) == {"image": 20, "text": 20}


async def test_what_failed_beside_an_older_one_is_measured_by_the_next_search(store, calibrations):
    await write(store, calibrations, 0, 20)
    await calibrations.get("c")
    store.error = Unavailable("store", "away")
    await write(store, calibrations, 20, 20)
    assert await counts(calibrations) == {"image": 20, "text": 20}
    store.error = None
    assert await counts(calibrations) == {"image": 40, "text": 40}


async def test_what_the_store_cannot_keep_is_used_all_the_same(store, calibrations, monkeypatch):
    refuses = AsyncMock(side_effect=Unavailable("store", "most nodes are away"))
    monkeypatch.setattr(store, "set_calibration", refuses, raising=False)
    await write(store, calibrations, 0, 20)
    first = await calibrations.get("c")
    assert await calibrations.get("c") is first is not None
    assert (await store.calibration("c"), store.sampled) == (None, 2)


async def test_a_load_that_never_ends_is_measured_all_the_same(store, monkeypatch):
    monkeypatch.setattr(cache_module, "_LONGEST_LOAD_S", 0)
    loaded = CalibrationCache(store, quiet_s=2)
    await write(store, loaded, 0, 1)
    until_measured = asyncio.create_task(until(lambda: store.sampled))
    while not until_measured.done():
        loaded.wrote("c", 1, VECTOR_NAMES)
        await asyncio.sleep(0)
    await until_measured
    await loaded.close()


async def test_what_is_due_is_measured_before_the_end(store):
    ending = CalibrationCache(store, quiet_s=3600)
    await write(store, ending, 0, 20)
    await ending.close()
    assert store.sampled == 2


async def test_a_collection_that_was_made_anew_has_nothing_of_the_old_one(store, calibrations):
    await write(store, calibrations, 0, 20)
    await calibrations.get("c")
    await store.delete_collection("c")
    await store.create_collection(CollectionSpec("c", DIMENSION, "f"))
    assert await calibrations.get("c") is None
    await write(store, calibrations, 0, 5)
    assert await counts(calibrations) == {"image": 5, "text": 5}


async def test_a_load_does_not_keep_searches_waiting(store, calibrations):
    """However fast batches follow one another, a search waits for two measurements at most."""
    await write(store, calibrations, 0, 20)
    stop = asyncio.Event()

    async def load() -> None:
        first = 20
        while not stop.is_set():
            await write(store, calibrations, first, 16)
            first += 16

    loading = asyncio.create_task(load())
    try:
        for _ in range(5):
            async with asyncio.timeout(60):
                assert isinstance(await calibrations.get("c"), Calibration)
    finally:
        stop.set()
        await loading


async def test_names_without_vectors_are_known_until_the_first_comes(store, calibrations):
    await store.upsert("c", points(0, 3, ["image"]))
    assert calibrations.empty("c") == frozenset()
    await calibrations.get("c")
    assert calibrations.empty("c") == {"text"}
    calibrations.wrote("c", 1, ["text"])
    assert calibrations.empty("c") == frozenset()


async def test_what_was_kept_before_a_crash_is_held_against_the_vectors_that_are_there(store, calibrations):
    await store.upsert("c", points(0, 3, ["image"]))
    await calibrations.get("c")
    await store.upsert("c", points(3, 3, ["text"]))  # of which nobody was told
    restarted = CalibrationCache(store)
    await restarted.get("c")
    await restarted.get("c")  # which waits for the count
    assert restarted.empty("c") == frozenset()
    await restarted.close()


async def test_of_a_store_that_others_write_to_no_name_is_known_to_be_empty(store, calibrations):
    await store.upsert("c", points(0, 3, ["image"]))
    await calibrations.get("c")
    store.shared = True
    assert calibrations.empty("c") == frozenset()
