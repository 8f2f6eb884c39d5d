"""How different the answers of two collections are: how many of the ten best hits they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import Search
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import SearchResult, StoredPoint

HITS = 10
_GONE = ("POINT_NOT_FOUND", "VECTOR_MISSING")  # from one of the two, by whoever writes meanwhile
_WITH_VECTORS: Mapping[str, Any] = {"should": [{"has_vector": "image"}, {"has_vector": "text"}]}


@dataclass(frozen=True, slots=True)
class Compared:
    """One query: a stored point's id, or words. `overlap`: share of the best hits in common, 0 to 1."""

    query: str
    overlap: float
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All queries, those that changed most first."""

    queries: tuple[Compared, ...]

    @property
    def median(self) -> float:
        """Of the overlaps."""
        return median(q.overlap for q in self.queries)

    @property
    def mean(self) -> float:
        """Of the overlaps."""
        return mean(q.overlap for q in self.queries)


async def compare(
    client: AsyncClient, old: str, new: str, samples: int, queries: Sequence[str]
) -> Comparison | None:
    """Asks both for points like each of some stored ones, by image or text, and for `queries` in words.

    None if there is nothing to ask.
    """
    calls = Retrying()
    page: Search = {"limit": HITS, "payload": False}
    asked: list[tuple[str, Search]] = [
        (point.id, {**page, "point_id": point.id, "target": "image" if point.has_image else "text"})
        for point in await _sample(client, calls, new, samples)
    ]
    asked += [(words, {**page, "text": words}) for words in queries]
    compared: list[Compared] = []
    for query, search in asked:
        try:
            before, after = [await calls.make(partial(client.search, name, **search)) for name in (old, new)]
        except ClipSearchError as error:
            if error.reason not in _GONE:
                raise
        else:
            compared.append(_compared(query, before, after))
    return Comparison(tuple(sorted(compared, key=lambda query: query.overlap))) if compared else None


async def _sample(client: AsyncClient, calls: Retrying, collection: str, count: int) -> list[StoredPoint]:
    """Points with vectors. In the order of the hashes of their ids the first are as good as drawn by lot."""
    found: list[StoredPoint] = []
    list_page = partial(client.list_page, collection, filter=_WITH_VECTORS, payload=False)
    async for page in calls.pages(list_page):
        found += page.points
        if len(found) >= count:
            break
    return found[:count]


def _compared(query: str, before: SearchResult, after: SearchResult) -> Compared:
    old, new = tuple(hit.id for hit in before), tuple(hit.id for hit in after)
    most = max(len(old), len(new))
    return Compared(query, len(set(old) & set(new)) / most if most else 1.0, old, new)
