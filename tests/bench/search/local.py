"""What the service is compared with: qdrant-client's local mode, as its docs show it, alone in a process.

It keeps its vectors in numpy arrays, computes in Python and pays for no network.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient, models

from tests.bench.search import corpus
from tests.bench.search.calls import QUERIES
from tests.bench.search.exact import TOP
from tests.bench.search.loading import BATCH

COLLECTION = "bench"


def load_memory(count: int) -> None:
    """Fills a collection in memory, which this process keeps for `search`."""
    _fill(_memory(), count)


def load_disk(folder: Path, count: int) -> float:
    """Fills a collection on disk; points a second."""
    client = QdrantClient(path=str(folder))
    try:
        return _fill(client, count)
    finally:
        client.close()


def search(filtered: bool, queries: Sequence[int]) -> list[float]:
    """Asks the collection in memory; milliseconds of each search."""
    client, vectors = _memory(), corpus.queries(QUERIES)
    milliseconds = []
    for number in queries:
        begun = time.perf_counter()
        client.query_points(
            COLLECTION,
            query=vectors[number],
            query_filter=_filter(number) if filtered else None,
            limit=TOP,
        )
        milliseconds.append(1000 * (time.perf_counter() - begun))
    return milliseconds


@functools.cache
def _memory() -> QdrantClient:
    return QdrantClient(":memory:")


def _fill(client: QdrantClient, count: int) -> float:
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
    return count / seconds


def _filter(number: int) -> models.Filter:
    shop = models.MatchValue(value=corpus.shop_name(corpus.query_shop(number)))
    cheap = models.FieldCondition(key="price", range=models.Range(lt=corpus.HALF_PRICE))
    return models.Filter(must=[models.FieldCondition(key="shop", match=shop), cheap])
