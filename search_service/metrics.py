"""The search service's Prometheus metrics: time spent in its dependencies, and what the collections hold."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar, cast

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram

from clipsearch.serving.errors import ServiceError
from clipsearch.serving.metrics import LATENCY_BUCKETS
from search_service.stores.protocol import VectorStore

COLLECTIONS_EVERY_S = 30.0

Dependency = TypeVar("Dependency")
Measure: TypeAlias = Callable[[], AbstractContextManager[None]]
Span: TypeAlias = Callable[[str], AbstractContextManager[Any]]

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

    def timed(self, name: str, dependency: Dependency, span: Span = lambda name: nullcontext()) -> Dependency:
        """The dependency, with every coroutine method of it timed under the method's name.

        `span` traces what does not trace itself: each call gets one.
        """

        def measure_of(operation: str) -> Measure:
            seconds = self._seconds.labels(name, operation)

            @contextmanager
            def measure() -> Iterator[None]:
                with seconds.time(), span(f"{name}.{operation}"):
                    yield

            return measure

        return cast(Dependency, _Timed(dependency, measure_of))

    async def watch_collections(self, store: VectorStore) -> None:
        """Counts the points of all collections now and then, for ever, whether the store was away or not."""
        shown: set[str] = set()
        while True:
            try:
                found = {info.spec.name: info.points for info in await store.list_collections()}
            except ServiceError as error:
                _log.debug("collections not counted", problem=error.message)
            else:
                for name, points in found.items():
                    self._points.labels(name).set(points)
                for name in shown - found.keys():
                    self._points.remove(name)
                shown = set(found)
            await asyncio.sleep(COLLECTIONS_EVERY_S)


class _Timed:
    """Stands for an object and measures its coroutine methods."""

    def __init__(self, target: object, measure: Callable[[str], Measure]) -> None:
        self._target = target
        self._measure = measure

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found):
            return found
        measure = self._measure(name)

        async def timed(*args: Any, **kwargs: Any) -> Any:
            with measure():
                return await found(*args, **kwargs)

        self.__dict__[name] = timed  # the next call finds it without asking again
        return timed
