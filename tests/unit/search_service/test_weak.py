"""Weak matches: images that words met with a cosine that chance would give too."""

from __future__ import annotations

import math

import pytest

from clipsearch.search.v1 import search_pb2
from tests.unit.search_service.served import Client, FakeEncoder, term, unit

pytestmark = pytest.mark.usefixtures("arc")


@pytest.fixture(autouse=True)
def bound(encoder: FakeEncoder) -> float:
    """Between p4 and p5, as "first" sees them."""
    encoder.weak_match_below = math.cos(0.45)
    return encoder.weak_match_below


async def test_images_below_the_models_bound_are_weak_matches_of_words(client: Client, bound):
    found = await client.search(term("first"))

    assert found.weak_match_below == pytest.approx(bound)
    assert [hit.weak for hit in found.hits] == 5 * [False] + 5 * [True]


async def test_texts_are_not(client: Client):
    await client.upsert({"id": "far", "text_vector": unit(0, 0, 1)})

    [hit] = (await client.search(term("first"), target=search_pb2.TARGET_TEXT)).hits

    assert not hit.weak


async def test_where_scores_are_calibrated_weak_is_what_the_unrelated_find_as_well(client: Client):
    words = [f"words {i}" for i in range(40)]
    await client.create("both")
    await client.upsert(
        *({"id": text, "text": text, "image": text.encode()} for text in words[:20]), collection="both"
    )
    await client.upsert(
        *({"id": text, "text": text, "image": text.encode()} for text in words[20:]), collection="both"
    )

    found = await client.search(term("words 3"), limit=40, collection="both")

    assert found.fused
    assert (found.hits[0].id, found.hits[0].weak) == ("words 3", False)
    assert [hit.weak for hit in found.hits] == [hit.score < 0 for hit in found.hits]
    assert found.hits[-1].weak


@pytest.mark.parametrize("other", [term(b"first"), term(unit(1)), term(point_id="p0")])
async def test_the_bound_says_nothing_of_other_queries(client: Client, other):
    for query in ([other], [term("first"), other]):
        found = await client.search(*query)

        assert found.weak_match_below == 0
        assert not any(hit.weak for hit in found.hits)


async def test_a_model_without_a_bound_has_no_weak_matches(client: Client, encoder: FakeEncoder):
    encoder.weak_match_below = 0.0

    assert not any(hit.weak for hit in (await client.search(term("first"))).hits)
