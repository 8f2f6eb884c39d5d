"""The search service's Prometheus metrics: time spent in its dependencies, and what the collections hold."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram

from clipsearch.serving.errors import ServiceError
from clipsearch.serving.telemetry.metrics import LATENCY_BUCKETS
from search_service.breaker import Timer
from search_service.stores.protocol import VectorStore

COLLECTIONS_EVERY_S = 30.0

_log = structlog.get_logger(__name__)


class SearchMetrics:
    """Times by dependency (`encoder` or `store`) and operation; points by collection."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "clipsearch_search_dependency_seconds",
            "Seconds that the service waited for the encoder or the store, failures included.",
            ["dependency", "operation"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._points = Gauge(
            "clipsearch_collection_points", "Points in a collection.", ["collection"], registry=registry
        )
        self._up = Gauge(
            "clipsearch_search_dependency_up",
            "1 while the encoder or the store answers, 0 while calls that need it are refused.",
            ["dependency"],
            registry=registry,
        )

    def up(self, dependency: str, answers: bool) -> None:
        """Notes whether a dependency answers."""
        self._up.labels(dependency).set(answers)

    def timer(self, dependency: str) -> Timer:
        """What times the operations of a dependency."""
        return lambda operation: self._seconds.labels(dependency, operation).time()

    async def watch_collections(self, store: VectorStore) -> None:
        """Counts the points of all collections now and then, for ever, whether the store was away or not."""
        shown: set[str] = set()
        warned: set[str] = set()
        while True:
            try:
                infos = [info for info in await store.list_collections() if not info.damage]
            except ServiceError as error:
                _log.debug("collections not counted", problem=error.message)
            else:
                found = {info.spec.name: info.points for info in infos}
                single = {
                    info.spec.name
                    for info in infos
                    if info.spec.shard_number > 1 and info.spec.replication_factor == 1
                }
                for name in single - warned:
                    _log.warning("one copy: a Qdrant node that is lost takes points along", collection=name)
                warned |= single
                for name, points in found.items():
                    self._points.labels(name).set(points)
                for name in shown - found.keys():
                    self._points.remove(name)
                shown = set(found)
            await asyncio.sleep(COLLECTIONS_EVERY_S)
