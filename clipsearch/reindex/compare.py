"""How different the answers of two collections are: how many of the ten best hits they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from clipsearch.aio import AsyncClient
from clipsearch.inputs import Search
from clipsearch.reindex.verify import Sample
from clipsearch.results import SearchResult

HITS = 10
_SEARCHES_A_CALL = 32


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
    asked: list[tuple[str, Search]] = [
        (sample.id, {"point_id": sample.id, "target": sample.side}) for sample in samples
    ]
    asked += [(words, {"text": words}) for words in queries]
    compared: list[Compared] = []
    for first in range(0, len(asked), _SEARCHES_A_CALL):
        part = asked[first : first + _SEARCHES_A_CALL]
        searches: list[Search] = [{**search, "limit": HITS, "payload": False} for _, search in part]
        before = await client.search_batch(old, searches)
        after = await client.search_batch(new, searches)
        compared += [
            _compared(query, one, other) for (query, _), one, other in zip(part, before, after, strict=True)
        ]
    return Comparison(tuple(sorted(compared, key=lambda query: query.overlap))) if compared else None


def _compared(query: str, before: SearchResult, after: SearchResult) -> Compared:
    old, new = tuple(hit.id for hit in before), tuple(hit.id for hit in after)
    most = max(len(old), len(new))
    return Compared(query, len(set(old) & set(new)) / most if most else 1.0, old, new)
