"""Nearest neighbours, as every store promises them."""

from __future__ import annotations

import numpy as np
import pytest

from search_service.stores.collection import QuantizationParams
from search_service.stores.filters import Filter, HasId
from search_service.stores.protocol import (
    PayloadSelection,
    StoredPoint,
    VectorQuery,
)
from tests.contract.shop import DIMENSION, ITEMS, search, spec, unit


async def test_scores_are_cosines_best_first(store, collection):
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((40, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    await store.upsert(collection, [StoredPoint(str(i), {}, image=v) for i, v in enumerate(vectors)])
    question = unit(*rng.standard_normal(DIMENSION))
    (hits,) = await store.query(collection, [VectorQuery(question, "image", 10, exact=True)])
    cosines = vectors @ question
    assert [int(hit.point.id) for hit in hits] == np.argsort(-cosines)[:10].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:10], atol=1e-4)


async def test_each_name_is_searched_for_itself(store, shop):
    assert await search(store, shop) == ["shirt", "shoes", "coat"]
    assert await search(store, shop, name="text", vector=unit(0, 1)) == ["hat", "coat"]


async def test_several_questions_have_their_own_answers(store, shop):
    answers = await store.query(
        shop,
        [
            VectorQuery(unit(1), "image", 1),
            VectorQuery(unit(0, 0, 1), "image", 1, with_vectors=True, payload=PayloadSelection(("price",))),
            VectorQuery(unit(1), "text", 5, filter=Filter(must=(HasId(("hat",)),))),
        ],
    )
    assert [[hit.point.id for hit in answer] for answer in answers] == [["shirt"], ["coat"], ["hat"]]
    second = answers[1][0].point
    assert second.payload == {"price": -3}
    np.testing.assert_allclose(second.image, unit(0, 0, 1), atol=1e-6)


async def test_a_hit_tells_its_names_without_its_vectors(store, shop):
    (hits,) = await store.query(shop, [VectorQuery(unit(1), "image", 10)])
    names = {hit.point.id: (hit.point.has_image, hit.point.has_text) for hit in hits}
    assert names == {"shirt": (True, False), "shoes": (True, False), "coat": (True, True)}
    assert all(hit.point.image is None for hit in hits)


async def test_a_name_without_vectors_answers_with_nothing(store, collection):
    await store.upsert(collection, [StoredPoint("a", {}, image=unit(1))])
    assert await search(store, collection, name="text") == []


async def test_offset_threshold_and_exclusion(store, shop):
    assert await search(store, shop, offset=1, limit=1) == ["shoes"]
    assert await search(store, shop, offset=100) == []
    assert await search(store, shop, score_threshold=0.5) == ["shirt", "shoes"]
    assert await search(store, shop, filter=Filter(must_not=(HasId(("shirt",)),))) == ["shoes", "coat"]


@pytest.mark.parametrize(
    ("quantization", "params"),
    [
        ("scalar", {"quantile": 0.99, "always_ram": True}),
        ("binary", {"encoding": "two_bits", "query_encoding": "scalar8bits"}),
        ("product", {"compression": 16}),
        ("turbo", {"bits": 4.0}),
        ("turbo", {}),
    ],
)
async def test_a_quantised_collection_still_finds_the_nearest(store, quantization, params):
    made = spec(quantization=quantization, quantization_params=QuantizationParams(**params))
    await store.create_collection(made)
    await store.upsert(made.name, ITEMS)
    assert (await search(store, made.name))[0] == "shirt"
