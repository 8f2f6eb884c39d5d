"""What a store keeps for calibrated searches, and the order of hits over whole services on each store."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.queries import PointTerm, Query, Term, VectorTerm
from search_service.query.search import Search
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import (
    VECTOR_NAMES,
    StoredPoint,
    point_uuid,
)
from tests.contract.shop import DIMENSION, NoEncoder, spec, vectors


def mixed(count: int) -> list[StoredPoint]:
    """Images, texts and points of both by turns; every seventh is a copy of the one before."""
    image, text = vectors(1, count), vectors(2, count)
    for i in range(7, count, 7):
        image[i], text[i] = image[i - 1], text[i - 1]
    return [
        StoredPoint(
            f"p{i}",
            {"third": i % 3},
            image=image[i] if i % 3 != 1 else None,
            text=text[i] if i % 3 != 0 else None,
        )
        for i in range(count)
    ]


async def test_a_sample_is_of_the_points_whose_uuids_come_first(store, collection):
    points = mixed(600)
    await store.upsert(collection, points)
    for name, limit in itertools.product(VECTOR_NAMES, (1, 7, 128, 1000)):
        having = sorted((p for p in points if getattr(p, name) is not None), key=lambda p: point_uuid(p.id))
        sample = await store.sample(collection, name, limit)
        assert list(sample.ids) == [point.id for point in having[:limit]]
        expected = np.stack([getattr(point, name) for point in having[:limit]])
        assert sample.vectors.dtype == np.float32
        np.testing.assert_allclose(sample.vectors, expected, atol=1e-6)


async def test_the_sample_of_a_name_without_vectors_is_empty(store, collection):
    await store.upsert(collection, [StoredPoint("a", {}, image=vectors(0, 1)[0])])
    sample = await store.sample(collection, "text", 10)
    assert (sample.ids, sample.vectors.shape) == ((), (0, DIMENSION))


async def test_a_calibration_is_kept_beside_the_settings_until_the_collection_is_deleted(store, collection):
    assert await store.calibration(collection) is None
    for kept in ({"a": [1, 2.5], "b": {"c": "d"}}, {"b": {"c": "e"}}):
        await store.set_calibration(collection, kept)
        found = await store.calibration(collection)
        assert json.loads(json.dumps(found))["b"] == kept["b"]
        assert await store.calibration(collection) is found
    before = await store.resolve(collection)
    await store.set_successor(collection, "")
    assert await store.resolve(collection) == before
    assert (await store.calibration(collection))["b"] == {"c": "e"}
    await store.delete_collection(collection)
    await store.create_collection(spec(name=collection))
    assert await store.calibration(collection) is None


POINTS = 120
TARGETS = ("image", "text", "any")
FUSIONS = ("calibrated", "rrf", "dbsf")


@pytest.fixture
async def search(store, collection):
    await store.upsert(collection, mixed(POINTS))
    calibrations = CalibrationCache(store)
    calibrations.wrote(collection, POINTS, VECTOR_NAMES)
    yield Search(store, Encoders(NoEncoder()), calibrations)
    await calibrations.close()


def terms(numbers: list[tuple[int, float, bool]]) -> tuple[Term, ...]:
    return tuple(
        Term(PointTerm(f"p{seed}") if stored else VectorTerm(vectors(100 + seed, 1)[0]), weight)
        for seed, weight, stored in numbers
    )


TERMS = st.lists(
    st.tuples(st.integers(0, POINTS - 1), st.sampled_from([1.0, 2.0, 0.5, -0.3]), st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda term: term[0],
).filter(lambda found: any(weight > 0 for _, weight, _ in found))


@pytest.mark.slow
async def test_a_shorter_list_is_the_beginning_of_a_longer_and_pages_make_up_the_whole(collection, search):
    """Over targets, fusions, filters, terms and limits, with copies that tie."""
    cases: list[tuple] = []

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.tuples(
            TERMS,
            st.sampled_from(TARGETS),
            st.sampled_from(FUSIONS),
            st.sampled_from([None, 0, 1, 2]),
            st.integers(1, 40),
            st.integers(1, 40),
        )
    )
    def collect(case) -> None:
        cases.append(case)

    collect()
    for numbers, target, fusion, third, short, page in cases:
        only = Filter() if third is None else Filter(must=(MatchValue("third", third),))

        async def ask(
            limit: int, offset: int = 0, numbers=numbers, target=target, fusion=fusion, only=only
        ) -> list[tuple]:
            asked = Query(collection, terms(numbers), target, only, limit, offset, fusion=fusion)
            [answer] = await search.search([asked])
            scores = [hit.score for hit in answer.hits]
            assert scores == sorted(scores, reverse=True)
            # qdrant-client's local mode has other last bits at each asking.
            return [(hit.point.id, hit.matched, pytest.approx(hit.score, abs=1e-5)) for hit in answer.hits]

        whole = await ask(2 * POINTS)
        assert len({id for id, *_ in whole}) == len(whole)
        assert await ask(short) == whole[:short]
        paged = [hit for offset in range(0, len(whole) + page, page) for hit in await ask(page, offset)]
        assert paged == whole


@pytest.mark.parametrize("count", [2, 50])
async def test_equals_of_one_vector_come_in_the_order_of_their_ids(store, collection, count):
    one = vectors(0, 1)[0]
    await store.upsert(collection, [StoredPoint(f"p{i:03}", {}, image=one) for i in range(count)])
    calibrations = CalibrationCache(store)
    search = Search(store, Encoders(NoEncoder()), calibrations)
    expected = [f"p{i:03}" for i in range(count)]
    for target in ("image", "any"):
        for offset in range(0, count, 4):
            asked = Query(collection, (Term(VectorTerm(one)),), target, limit=4, offset=offset)
            [answer] = await search.search([asked])
            assert [hit.point.id for hit in answer.hits] == expected[offset : offset + 4]
    await calibrations.close()
