"""How different the answers of two collections are: how many of the ten best hits they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, median

from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import Search
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import SearchResult
from clipsearch.reindex.verify import Sample

HITS = 10
_PATIENCE_S = 60.0


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
    client: AsyncClient, old: str, new: str, samples: Sequence[Sample], queries: Sequence[str]
) -> Comparison | None:
    """Asks both for points like each sample, by the same side, and for each of `queries` in words.

    None if there is nothing to ask.
    """
    page: Search = {"limit": HITS, "payload": False}
    asked: list[tuple[str, Search]] = [
        (sample.id, {**page, "point_id": sample.id, "target": sample.side}) for sample in samples
    ]
    asked += [(words, {**page, "text": words}) for words in queries]
    calls = Retrying(_PATIENCE_S)
    compared: list[Compared] = []
    for query, search in asked:
        try:
            before, after = [await calls.make(partial(client.search, name, **search)) for name in (old, new)]
        except ClipSearchError as error:
            if error.reason != "POINT_NOT_FOUND":  # deleted since it was drawn
                raise
        else:
            compared.append(_compared(query, before, after))
    return Comparison(tuple(sorted(compared, key=lambda query: query.overlap))) if compared else None


def _compared(query: str, before: SearchResult, after: SearchResult) -> Compared:
    old, new = tuple(hit.id for hit in before), tuple(hit.id for hit in after)
    most = max(len(old), len(new))
    return Compared(query, len(set(old) & set(new)) / most if most else 1.0, old, new)
