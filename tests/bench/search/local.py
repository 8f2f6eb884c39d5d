"""What the service is compared with: qdrant-client's local mode, as its docs show it, alone in a process.

It keeps its vectors in numpy arrays, computes in Python and pays for no network.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import QdrantClient, models

from tests.bench.search import corpus
from tests.bench.search.calls import QUERIES
from tests.bench.search.corpus import FilterName
from tests.bench.search.exact import TOP
from tests.bench.search.loading import BATCH, Ingest

COLLECTION = "bench"


@dataclass(frozen=True, slots=True)
class Asked:
    """Searches one after another: milliseconds each, and query -> numbers of the points found."""

    milliseconds: list[float]
    found: dict[int, list[int]]


def load_memory(count: int) -> Ingest:
    """Fills a collection in memory, which this process keeps for `search`."""
    return _fill(_memory(count), count)


def load_disk(folder: Path, count: int) -> Ingest:
    """Fills a collection on disk."""
    client = QdrantClient(path=str(folder))
    try:
        return _fill(client, count)
    finally:
        client.close()


def search(count: int, filter: FilterName | None, queries: Sequence[int]) -> Asked:
    """Asks the collection of `count` points in memory."""
    client, vectors = _memory(count), corpus.queries(QUERIES)
    milliseconds, found = [], {}
    for number in queries:
        begun = time.perf_counter()
        answer = client.query_points(
            COLLECTION, query=vectors[number], query_filter=_filter(filter, number), limit=TOP
        )
        milliseconds.append(1000 * (time.perf_counter() - begun))
        found[number] = [int(point.id) for point in answer.points]
    return Asked(milliseconds, found)


@functools.lru_cache(1)
def _memory(count: int) -> QdrantClient:
    return QdrantClient(":memory:")


def _fill(client: QdrantClient, count: int) -> Ingest:
    warnings.filterwarnings("ignore", message="Local mode is not recommended", category=UserWarning)
    params = models.VectorParams(size=corpus.DIMENSION, distance=models.Distance.COSINE)
    client.create_collection(COLLECTION, vectors_config=params)
    seconds = 0.0
    for block in corpus.blocks(count):
        begun = time.perf_counter()
        for first in range(0, len(block.vectors), BATCH):
            places = range(first, min(first + BATCH, len(block.vectors)))
            points = [
                models.PointStruct(
                    id=block.first + i, vector=block.vectors[i].tolist(), payload=block.payload(i)
                )
                for i in places
            ]
            client.upsert(COLLECTION, points)
        seconds += time.perf_counter() - begun
    return Ingest(count, seconds)


def _filter(name: FilterName | None, number: int) -> models.Filter | None:
    if name is None:
        return None
    cheap = models.FieldCondition(key="price", range=models.Range(lt=corpus.HALF_PRICE))
    if name == "broad":
        return models.Filter(must=[cheap])
    shop = models.MatchValue(value=corpus.shop_name(corpus.query_shop(number)))
    return models.Filter(must=[models.FieldCondition(key="shop", match=shop), cheap])
