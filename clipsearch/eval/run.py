"""One evaluation: the same queries put to collections in several ways, a row of measures for each."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Search, Target
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Collection
from clipsearch.eval.answers import find_answers
from clipsearch.eval.ask import Ranking, p50_ms, rankings, search
from clipsearch.eval.generated import of_captions, of_folders
from clipsearch.eval.measures import Interval, Values, interval, overlap, per_query
from clipsearch.eval.queries import Query, read_queries

Queries = Callable[[AsyncClient, Retrying, str], Awaitable[list[Query]]]
"""The queries for a collection, by its name. Raises SourceError and ClipSearchError."""

_BITS = {"none": 32.0, "scalar": 8.0}
_BINARY_BITS = {"one_bit": 1.0, "one_and_half_bits": 1.5, "two_bits": 2.0}
_TURBO_BITS = 4.0  # the engine's default


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked of each collection and counted: recall at each of `ks`, MRR and nDCG at the largest."""

    queries: Queries
    ks: Sequence[int]
    target: Target = "any"
    on_progress: Callable[[str, int, int], None] = lambda row, done, total: None


@dataclass(frozen=True, slots=True)
class Row:
    """A collection asked in one way: exactly, or with a beam of `ef`, 0 = the engine's default.

    `differences`: of each measure to the reference's, query by query; `same`: the share of the reference's
    hits that are found. Both are empty where there is no reference, or this is it. `memory_bytes`: of the
    processes that answered, where they are known.
    """

    name: str
    collection: Collection
    precision: str
    exact: bool
    ef: int
    queries: int
    measures: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    same: float | None
    p50_ms: float
    memory_bytes: int | None
    ranked: Sequence[Ranking] = field(repr=False)
    values: Mapping[str, Values] = field(repr=False)

    @property
    def search(self) -> str:
        """How it was asked, in a word or two."""
        return "exact" if self.exact else f"ef {self.ef}" if self.ef else "default"

    @property
    def bytes_a_point(self) -> float:
        """Of the vectors as a search compares them, all names together; the index and the payload not."""
        there = self.collection
        vectors = (there.image_vectors + there.text_vectors) / max(1, there.points)
        return vectors * there.dimension * _bits(there) / 8

    def below(self, bounds: Mapping[str, float]) -> list[str]:
        """The bounds that it misses, in words."""
        return [
            f"{self.name}, {self.search}: {measure} {self.measures[measure].mean:.3f} < {least:g}"
            for measure, least in bounds.items()
            if self.measures[measure].mean < least
        ]


def from_file(path: Path) -> Queries:
    """The queries of a file, which is read at once. Raises SourceError."""
    return partial(find_answers, path, read_queries(path))


MADE: Mapping[str, Queries] = {"captions": of_captions, "folders": of_folders}
"""Queries that are made of what the collection holds."""


async def evaluate(
    client: AsyncClient,
    name: str,
    asking: Asking,
    *,
    efs: Sequence[int] = (0,),
    label: str = "",
    precision: str = "",
    reference: Row | None = None,
    memory: Callable[[], int | None] = lambda: None,
) -> list[Row]:
    """A row for the exact search, which the others are compared with, and one for each ef.

    Where there is a `reference`, they are compared with that, and no exact search is made. `label`: the
    collection's name in the table, its own by default. Raises SourceError, OSError and ClipSearchError.
    """
    calls = Retrying()
    collection = await calls.make(partial(client.get_collection, name))
    queries = await asking.queries(client, calls, name)
    rows: list[Row] = []

    def shown(done: int) -> None:
        asking.on_progress(label or name, done, len(queries))

    for exact, ef in [*([] if reference else [(True, 0)]), *((False, ef) for ef in efs)]:
        options: Search = {"target": asking.target, "limit": max(asking.ks), "exact": exact, "hnsw_ef": ef}
        searches = [search(query, options) for query in queries]
        found = await rankings(client, calls, name, searches, shown)
        ranked = [
            [id for id in ids if id != query.itself][: max(asking.ks)]
            for query, ids in zip(queries, found, strict=True)
        ]
        values = per_query(queries, ranked, asking.ks)
        rows.append(
            Row(
                name=label or name,
                collection=collection,
                precision=precision,
                exact=exact,
                ef=ef,
                queries=len(queries),
                measures={measure: interval(found) for measure, found in values.items()},
                differences={
                    measure: interval(values[measure] - before)
                    for measure, before in (reference.values if reference else {}).items()
                },
                same=None if reference is None else overlap(ranked, reference.ranked),
                p50_ms=await p50_ms(client, calls, name, searches),
                memory_bytes=memory(),
                ranked=ranked,
                values=values,
            )
        )
        reference = reference or rows[0]
    return rows


def _bits(collection: Collection) -> float:
    """Bits of a number of a vector, as searches compare them first."""
    params = collection.quantization_params
    match collection.quantization:
        case "binary":
            return _BINARY_BITS[params.get("encoding", "one_bit")]
        case "product":
            return 32 / float(params.get("compression", math.inf))
        case "turbo":
            return float(params.get("bits", _TURBO_BITS))
    return _BITS[collection.quantization]
