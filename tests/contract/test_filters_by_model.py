"""Random points and random filters: every store finds what a few lines of plain Python find."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search_service.stores.collection import CollectionSpec
from search_service.stores.filters import Filter, HasId, IsNull, Range
from search_service.stores.protocol import Listing, StoredPoint, VectorQuery, VectorStore
from tests.contract.filter_model import matches
from tests.contract.random_filters import DIMENSION, FIELDS, HALLS, filters, points, random_unit
from tests.contract.shop import close_store, open_store

TEXTUAL = ("MatchText", "MatchPhrase")
pytestmark = [
    pytest.mark.slow,
]


@dataclass(frozen=True, slots=True)
class Opened:
    """A store with an indexed and a plain collection, in a loop of its own that outlives an example."""

    runner: asyncio.Runner
    store: VectorStore


@pytest.fixture
def opened(store_kind: str, tmp_path: Path) -> Iterator[Opened]:
    with asyncio.Runner() as runner:
        store = runner.run(open_store(store_kind, tmp_path / "data"))
        indexes = {field: type_ for field, (type_, _) in FIELDS.items()}
        indexes |= {f"halls[].{field}": type_ for field, (type_, _) in HALLS.items()}
        for name, payload_indexes in (("contract-indexed", indexes), ("contract-plain", {})):
            spec = CollectionSpec(name, DIMENSION, "f" * 32, payload_indexes=payload_indexes)
            runner.run(store.create_collection(spec))
        yield Opened(runner, store)
        runner.run(close_store(store_kind, store))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stored=points(), asked=st.lists(filters, min_size=1, max_size=8), seed=st.integers(0, 2**16))
@example([StoredPoint("p0", {"size": [1]}, random_unit(0))], [Filter(must=(Range("size", gt=0, gte=2),))], 0)
@example([StoredPoint("p0", {"size": [None]}, random_unit(0))], [Filter(must=(IsNull("size"),))], 0)
def test_every_store_finds_what_plain_python_finds(opened, store_kind, stored, asked, seed):
    async def compare(collection: str) -> None:
        store = opened.store
        await store.delete(collection, Filter(must_not=(HasId(("nobody",)),)))
        await store.upsert(collection, stored)
        question = random_unit(seed)
        for filter in asked:
            # A server without a text index looks for the text as it stands, not for its words.
            unindexed = "" if collection == "contract-plain" else "key='any'"
            if store_kind == "server" and any(f"{kind}({unindexed}" in repr(filter) for kind in TEXTUAL):
                continue
            expected = {point.id for point in stored if matches(point, filter)}
            page = await store.scroll(Listing(collection, filter), limit=100)
            assert {point.id for point in page.points} == expected, filter
            assert await store.count(collection, filter) == len(expected), filter
            (hits,) = await store.query(
                collection, [VectorQuery(question, "image", 100, filter=filter, exact=True)]
            )
            cosines = {
                p.id: float(p.image @ question) for p in stored if p.id in expected and p.image is not None
            }
            assert {hit.point.id for hit in hits} == set(cosines), filter
            assert [hit.score for hit in hits] == pytest.approx(
                [cosines[hit.point.id] for hit in hits], abs=1e-4
            )
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {p.id: p.payload for p in (await store.scroll(Listing(collection), limit=100)).points} == {
            p.id: p.payload for p in stored
        }

    for collection in ("contract-indexed", "contract-plain"):
        opened.runner.run(compare(collection))
