"""Searching over a real channel: terms, hits, filters and batches."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2
from clipsearch.serving.errors import Unavailable
from search_service.query.calibration_cache import CalibrationCache
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.served import (
    CONTEXT,
    DIMENSION,
    Client,
    FakeEncoder,
    ids,
    parse,
    refused,
    request,
    term,
    unit,
)

# The tests read the two collections of conftest.py: a server with both is started once.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("gap")]

ANY, IMAGE = search_pb2.TARGET_ANY, search_pb2.TARGET_IMAGE
F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES


@pytest.mark.parametrize("kind", ["text", "image", "vector", "point_id"])
async def test_every_kind_of_term_finds_its_nearest(client: Client, encoder: FakeEncoder, kind):
    terms = {
        "text": term("first"),
        "image": term(b"first"),
        "vector": term(7 * unit(1)),
        "point_id": term(point_id="p0"),
    }
    found = await client.search(terms[kind], target=IMAGE, limit=3)
    assert ids(found) == (["p1", "p2", "p3"] if kind == "point_id" else ["p0", "p1", "p2"])
    assert found.hits[0].score == pytest.approx(math.cos(0.1) if kind == "point_id" else 1, abs=1e-5)
    assert found.fingerprint == "fake-1"
    assert (found.timings.encode_ms > 0) == (kind in ("text", "image"))
    assert found.timings.store_ms > 0


async def test_hits_carry_payload_name_and_cosine(client: Client):
    [hit] = (await client.search(term("first"), limit=1)).hits
    assert (hit.matched, hit.image_rank, hit.text_rank) == (IMAGE, 0, 0)
    assert hit.score == hit.cosine == pytest.approx(1, abs=1e-5)
    assert hit.payload["shop"]["city"] == "Ulm"
    assert not hit.HasField("image_vector")


async def test_ten_hits_are_the_default(client: Client):
    assert len((await client.search(term("query"), collection="gap")).hits) == 10


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_vectors_and_parts_of_the_payload_on_request(client: Client, target):
    [hit] = (
        await client.search(
            term("first"),
            target=target,
            limit=1,
            with_vectors=True,
            vector_format=F32,
            payload=search_pb2.PayloadSelector(include=["price", "shop.city"]),
        )
    ).hits
    assert np.frombuffer(hit.image_vector.f32, "<f4") == pytest.approx(unit(1), abs=1e-6)
    assert not hit.HasField("text_vector")
    assert set(hit.payload) == {"price", "shop"}
    [bare] = (
        await client.search(
            term("first"), target=target, limit=1, payload=search_pb2.PayloadSelector(none=True)
        )
    ).hits
    assert not bare.payload.fields
    [floats] = (await client.search(term("first"), target=target, limit=1, with_vectors=True)).hits
    assert len(floats.image_vector.values) == DIMENSION


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_hits_below_the_threshold_are_left_out(client: Client, target):
    found = await client.search(term("first"), target=target, score_threshold=math.cos(0.25))
    assert ids(found) == ["p0", "p1", "p2"]


async def test_an_exact_search_and_its_parameters_pass(client: Client):
    params = search_pb2.SearchParams(
        exact=True, hnsw_ef=64, quantization_rescore=False, quantization_oversampling=2
    )
    assert ids(await client.search(term("first"), target=IMAGE, limit=1, params=params)) == ["p0"]


async def test_the_beam_is_wider_where_the_collection_holds_more_vectors(client: Client, monkeypatch):
    beams: list[int] = []
    query = QdrantEdge.query

    async def spied(self, collection, queries, **options):
        beams.extend(asked.hnsw_ef for asked in queries)
        return await query(self, collection, queries, **options)

    async def million(self, collection):
        return {"image": 1_000_000}

    monkeypatch.setattr(QdrantEdge, "query", spied)
    await client.search(term("first"), target=IMAGE)
    monkeypatch.setattr(CalibrationCache, "counts", million)
    await client.search(term("first"), target=IMAGE)
    assert beams == [48, 96]


@pytest.mark.parametrize("fails", [True, False])
async def test_no_search_waits_for_how_many_vectors_there_are(client: Client, monkeypatch, fails):
    async def counts(self, collection):
        if fails:
            raise Unavailable("store", "away")
        await asyncio.Event().wait()

    monkeypatch.setattr(CalibrationCache, "counts", counts)
    assert ids(await client.search(term("first"), target=IMAGE, limit=1)) == ["p0"]


async def test_filters_narrow_the_answer(client: Client):
    odd = 'must { field { key: "brand" match { keyword: "odd" } } } must_not { has_id { ids: "p1" } }'
    found = await client.search(term("first"), filter=parse(odd), limit=2)
    assert ids(found) == ["p3", "p5"]


UNKNOWN = 'must { filter { should { field { key: "prize" range { lt: 5 } } } } }'


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_a_field_that_no_point_has_is_told_by_name(client: Client, target):
    why = await refused(client.search(term("first"), filter=parse(UNKNOWN), target=target))
    assert (why.code, why.reason) == ("INVALID_ARGUMENT", "FILTER_FIELD_UNKNOWN")
    assert why.field == "filter.must[0].filter.should[0].field"
    assert "'prize'" in why.message


async def test_a_field_is_known_by_its_index_and_nothing_is_in_an_empty_collection(client: Client):
    prize = collection_pb2.PayloadIndex(field="prize", type=collection_pb2.PAYLOAD_INDEX_TYPE_FLOAT)
    await client.create("empty")
    assert ids(await client.search(term("first"), filter=parse(UNKNOWN), collection="empty")) == []
    await client.create("indexed", payload_indexes=[prize])
    await client.upsert({"id": "a", "image_vector": unit(1)}, collection="indexed")
    assert ids(await client.search(term("first"), filter=parse(UNKNOWN), collection="indexed")) == []


async def test_a_page_past_the_end_of_a_filtered_search_is_empty(client: Client):
    city = parse('must { field { key: "shop.city" match { keyword: "Ulm" } } }')
    assert ids(await client.search(term("first"), filter=city, target=IMAGE, offset=400)) == []


async def test_a_query_of_several_terms_lies_between_them_and_away_from_negatives(client: Client):
    between = await client.search(term("first", weight=1), term("last", weight=1), target=IMAGE, limit=2)
    assert set(ids(between)) == {"p4", "p5"}
    away = await client.search(term("last"), term("first", weight=-0.9), target=IMAGE, limit=1)
    assert ids(away) == ["p9"]


async def test_a_stored_point_asks_with_its_image_or_else_its_text_and_is_not_found(client: Client):
    for asking, nearest in (("both", "picture1"), ("caption0", "picture0")):
        found = await client.search(term(point_id=asking), collection="gap", target=IMAGE, limit=1)
        assert ids(found) == [nearest]
    away = await client.search(term("first"), term(point_id="p0", weight=-0.1), target=IMAGE, limit=2)
    assert ids(away) == ["p1", "p2"]


async def test_a_long_text_is_cut_and_told(client: Client):
    found = await client.search(term("first"), term("x" * (CONTEXT + 3), weight=0.01))
    assert dict(found.tokens_dropped) == {1: 3}


async def test_nothing_is_encoded_twice_or_without_need(client: Client, encoder: FakeEncoder):
    await client.search(term("first"), term("last"), term(b"first"), term(unit(1)), term(point_id="p1"))
    assert sorted(encoder.calls) == [("EncodeImage", 1), ("EncodeText", 2)]


# Batches


async def batch(client: Client, *searches: search_pb2.SearchRequest) -> search_pb2.SearchBatchResponse:
    return await client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=searches))


async def test_a_batch_answers_as_its_searches_alone(client: Client, encoder: FakeEncoder):
    searches = [
        request(term("first"), limit=3, target=IMAGE),
        request(term("query"), collection="gap"),
        request(term(b"first"), term("last", weight=0.5), limit=2),
        request(term(point_id="p3"), limit=2, payload=search_pb2.PayloadSelector(none=True)),
        request(term("query"), collection="gap", limit=3, offset=2, with_vectors=True, vector_format=F32),
    ]
    alone = [await client.points.Search(search) for search in searches]
    encoder.calls.clear()
    together = (await batch(client, *searches)).results
    assert sorted(encoder.calls) == [("EncodeImage", 1), ("EncodeText", 4)]
    for single, of_batch in zip(alone, together, strict=True):
        single.ClearField("timings")
        of_batch.ClearField("timings")
        assert of_batch == single


WRONG = [
    (request(), "INVALID_ARGUMENT", "searches[1].query"),
    (request(term(" ")), "INVALID_ARGUMENT", "searches[1].query[0].text"),
    (request(term("first"), filter=parse("must {}")), "INVALID_ARGUMENT", "searches[1].filter.must[0]"),
    (request(term("first"), collection="nowhere"), "NOT_FOUND", "searches[1]"),
    (request(term(point_id="nobody")), "NOT_FOUND", "searches[1]"),
    (request(term("first"), fingerprint="other"), "FAILED_PRECONDITION", "searches[1]"),
]


async def test_one_wrong_search_fails_the_batch_and_is_named(client: Client):
    for wrong, code, field in WRONG:
        why = await refused(batch(client, request(term("first")), wrong))
        assert (why.code, why.field) == (code, field)
        assert why.message.startswith(f"{field}: ")


async def test_a_batch_has_bounds(client: Client):
    for count in (0, 65):
        why = await refused(batch(client, *[request(term("first"))] * count))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", "searches")
