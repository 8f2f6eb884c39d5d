"""What is wrong with a search is told by code, field and reason, over a real channel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipsearch.search.v1 import search_pb2
from tests.unit.search_service.served import Client, FakeEncoder, ids, parse, refused, request, term, unit

pytestmark = pytest.mark.usefixtures("arc")

BAD = {
    "no terms": (request(), "query"),
    "too many terms": (request(*[term("x")] * 17), "query"),
    "empty term": (request(term()), "query[0]"),
    "empty text": (request(term("")), "query[0].text"),
    "blank text": (request(term("x"), term(" ")), "query[1].text"),
    "no picture": (request(term(b"no picture")), "query[0].image"),
    "empty id": (request(search_pb2.QueryTerm(point_id="")), "query[0].point_id"),
    "long id": (request(term(point_id="x" * 513)), "query[0].point_id"),
    "zero vector": (request(term(np.zeros(8))), "query[0].vector.f32"),
    "NaN weight": (request(term("x", weight=math.nan)), "query[0].weight"),
    "no weight": (request(term("x", weight=0)), "query[0].weight"),
    "heavy weight": (request(term("x", weight=101)), "query[0].weight"),
    "negative only": (request(term("x", weight=-1)), "query"),
    "cancelling": (request(term(unit(1)), term(unit(2), weight=-1)), "query"),
    "huge limit": (request(term("x"), limit=101), "limit"),
    "deep page": (request(term("x"), limit=100, offset=401), "offset"),
    "deepest page": (request(term("x"), offset=2**32 - 1), "offset"),
    "NaN threshold": (request(term("x"), score_threshold=math.nan), "score_threshold"),
    "unknown target": (request(term("x"), target=9), "target"),
    "unknown fusion": (request(term("x"), fusion=9), "fusion"),
    "unknown format": (request(term("x"), vector_format=9), "vector_format"),
    "wide beam": (request(term("x"), params=search_pb2.SearchParams(hnsw_ef=4097)), "params.hnsw_ef"),
    "thin oversampling": (
        request(term("x"), params=search_pb2.SearchParams(quantization_oversampling=0.5)),
        "params.quantization_oversampling",
    ),
    "NaN oversampling": (
        request(term("x"), params=search_pb2.SearchParams(quantization_oversampling=math.nan)),
        "params.quantization_oversampling",
    ),
    "all and nothing": (
        request(term("x"), payload=search_pb2.PayloadSelector(include=["a"], none=True)),
        "payload.none",
    ),
    "bad payload field": (
        request(term("x"), payload=search_pb2.PayloadSelector(include=["a", ""])),
        "payload.include[1]",
    ),
    "wrong type for the index": (
        request(term("x"), filter=parse('should { field { key: "brand" range { gt: 1 } } }')),
        "filter.should[0].field",
    ),
}


async def test_a_bad_query_is_told_by_field(client: Client):
    told = {}
    for kind, (bad, _) in BAD.items():
        why = await refused(client.points.Search(bad))
        told[kind] = (why.code, why.field)
    assert told == {kind: ("INVALID_ARGUMENT", field) for kind, (_, field) in BAD.items()}


async def test_unknown_collections_and_points_are_not_found(client: Client):
    why = await refused(client.search(term("x"), collection="nowhere"))
    assert (why.code, why.reason, why.metadata) == (
        "NOT_FOUND",
        "COLLECTION_NOT_FOUND",
        {"collection": "nowhere"},
    )
    why = await refused(client.search(term(point_id="nobody")))
    assert (why.code, why.reason, why.metadata) == ("NOT_FOUND", "POINT_NOT_FOUND", {"point": "nobody"})


async def test_another_dimension_is_refused_naming_both(client: Client):
    why = await refused(client.search(term(np.ones(3))))
    assert (why.code, why.reason, why.field) == (
        "FAILED_PRECONDITION",
        "DIMENSION_MISMATCH",
        "query[0].vector",
    )
    assert (why.metadata["request_dimension"], why.metadata["collection_dimension"]) == ("3", "8")


async def test_another_model_is_refused_naming_both_fingerprints(client: Client, encoder: FakeEncoder):
    encoder.fingerprint = "fake-2"
    why = await refused(client.search(term("first")))
    assert (why.code, why.reason) == ("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH")
    assert (why.metadata["collection_fingerprint"], why.metadata["request_fingerprint"]) == (
        "fake-1",
        "fake-2",
    )
    assert ids(await client.search(term(unit(1)), limit=1)) == ["p0"], "vectors of the old model still serve"
    why = await refused(client.search(term(unit(1)), fingerprint="fake-2"))
    assert why.reason == "FINGERPRINT_MISMATCH"
    assert ids(await client.search(term(unit(1)), limit=1, fingerprint="fake-1")) == ["p0"]


async def test_the_encoder_down_is_told_and_vectors_still_search(client: Client, encoder: FakeEncoder):
    await encoder.stop()
    why = await refused(client.search(term("first")))
    assert (why.code, why.reason, why.metadata) == (
        "UNAVAILABLE",
        "ENCODER_UNAVAILABLE",
        {"dependency": "encoder"},
    )
    assert encoder.address not in why.message
    assert ids(await client.search(term(unit(1)), limit=1)) == ["p0"]
    assert ids(await client.search(term(point_id="p0"), limit=1)) == ["p1"]
