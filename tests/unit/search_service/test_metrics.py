"""The search service's metrics over a store that stands for a real one."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from clipsearch.serving.errors import Unavailable
from search_service import metrics as metrics_module
from search_service.breaker import Breaker
from search_service.metrics import SearchMetrics
from search_service.stores.collection import CollectionInfo, CollectionSpec
from tests.waiting import until


class Store:
    """Two collections, one of which goes; away now and then."""

    def __init__(self) -> None:
        self.points = {"shoes": 3, "hats": 5}
        self.away = False
        self.kind = "toy"
        self.asked = 0

    async def ping(self) -> None:
        await asyncio.sleep(0)

    async def list_collections(self) -> list[CollectionInfo]:
        self.asked += 1
        if self.away:
            raise Unavailable("store", "the store cannot be reached")
        return [self._info(name, points) for name, points in self.points.items()]

    async def count(self, collection: str) -> int:
        if self.away:
            raise Unavailable("store", "the store cannot be reached")
        return self.points[collection]

    def _info(self, name: str, points: int) -> CollectionInfo:
        spec = CollectionSpec(name=name, dimension=4, fingerprint="f")
        return CollectionInfo(
            spec=spec, points=points, image_vectors=points, text_vectors=0, indexed_share=0.0, disk_bytes=0
        )


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def timing(registry: CollectorRegistry, operation: str, what: str) -> float | None:
    labels = {"dependency": "store", "operation": operation}
    return registry.get_sample_value(f"clipsearch_search_dependency_seconds_{what}", labels)


async def test_calls_to_a_dependency_are_timed_by_operation_failures_too(registry):
    store = Store()
    timed = Breaker("store").guarded(store, SearchMetrics(registry).timer("store"))
    assert await timed.count("hats") == 5
    await timed.ping()
    store.away = True
    with pytest.raises(Unavailable):
        await timed.count("hats")
    assert timing(registry, "count", "count") == 2
    assert timing(registry, "ping", "count") == 1
    assert timing(registry, "ping", "sum") > 0


async def test_what_is_no_coroutine_is_as_it_was_and_a_method_stays_the_same_object():
    timed = Breaker("store").guarded(Store())
    assert timed.kind == "toy"
    assert timed.ping is timed.ping
    with pytest.raises(AttributeError):
        _ = timed.nothing


async def test_points_are_counted_by_collection_past_failures_and_deletions(registry, monkeypatch):
    monkeypatch.setattr(metrics_module, "COLLECTIONS_EVERY_S", 0.005)

    def points(collection: str) -> float | None:
        return registry.get_sample_value("clipsearch_collection_points", {"collection": collection})

    async def becomes(collection: str, wanted: float | None) -> None:
        await until(lambda: points(collection) == wanted)

    store = Store()
    watching = asyncio.create_task(SearchMetrics(registry).watch_collections(store))
    await becomes("shoes", 3)
    await becomes("hats", 5)
    store.away = True
    asked = store.asked
    await until(lambda: store.asked > asked + 1)
    assert points("hats") == 5
    store.away = False
    store.points = {"shoes": 4}
    await becomes("shoes", 4)
    await becomes("hats", None)
    watching.cancel()


async def test_a_collection_of_one_copy_on_several_shards_is_warned_of_once(registry, monkeypatch):
    monkeypatch.setattr(metrics_module, "COLLECTIONS_EVERY_S", 0)
    layouts = {"one": (1, 1), "spread": (3, 1), "kept": (3, 2)}
    infos = [
        CollectionInfo(
            CollectionSpec(name, 4, "f", shard_number=shards, replication_factor=copies), 1, 1, 0, 0, 0
        )
        for name, (shards, copies) in layouts.items()
    ]
    listed = 0

    class Cluster:
        async def list_collections(self):
            nonlocal listed
            listed += 1
            return infos

    with capture_logs() as logs:
        watching = asyncio.create_task(SearchMetrics(registry).watch_collections(Cluster()))
        await until(lambda: listed > 2)
        watching.cancel()
    assert [entry["collection"] for entry in logs if entry["log_level"] == "warning"] == ["spread"]
