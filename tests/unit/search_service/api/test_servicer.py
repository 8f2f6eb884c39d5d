"""Points are read, counted, listed, changed and deleted over a real channel; and no RPC is left untried."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import struct_pb2

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2, filter_pb2, search_pb2
from clipsearch.serving.errors import NotFound, ServiceError
from search_service.api.servicer import again_if_moved
from search_service.settings import SearchSettings
from tests.unit.search_service.served import Client, parse, refusal, refused, unit, wire

F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES
INDEX = collection_pb2.PayloadIndex(field="tag", type=collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD)
IDS = search_pb2.PointIds(ids=["p1"])
ODD = parse('must { field { key: "even" match { boolean: false } } }')
EVEN = parse('must { field { key: "even" match { boolean: true } } }')
WRONG_TYPE = parse('must { field { key: "tag" range { gt: 1 } } }')


@pytest.fixture
async def client(client: Client) -> Client:
    """A server with a collection of twenty points, p0 to p19."""
    await client.create(payload_indexes=[INDEX])
    await client.upsert(
        *(
            {"id": f"p{i}", "image_vector": unit(1, i), "payload": {"i": i, "even": i % 2 == 0, "tag": "x"}}
            for i in range(20)
        )
    )
    return client


async def get(client: Client, *ids: str, **fields) -> search_pb2.GetPointsResponse:
    return await client.points.GetPoints(search_pb2.GetPointsRequest(collection="c", ids=ids, **fields))


async def delete(client: Client, **fields) -> int:
    return (
        await client.points.DeletePoints(search_pb2.DeletePointsRequest(collection="c", **fields))
    ).deleted


async def update(client: Client, **fields) -> int:
    request = search_pb2.UpdatePayloadRequest(collection="c", **fields)
    return (await client.points.UpdatePayload(request)).updated


def as_struct(fields: dict[str, object]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(fields)
    return struct


async def count(client: Client, **fields) -> int:
    return (await client.points.CountPoints(search_pb2.CountPointsRequest(collection="c", **fields))).count


async def facet(client: Client, **fields) -> list[tuple[object, int]]:
    request = search_pb2.FacetRequest(collection="c", **{"key": "tag", **fields})
    hits = (await client.points.Facet(request)).hits
    return [(getattr(hit.value, hit.value.WhichOneof("value")), hit.count) for hit in hits]


async def page(client: Client, **fields) -> search_pb2.ListPointsResponse:
    return await client.points.ListPoints(search_pb2.ListPointsRequest(collection="c", **fields))


async def change_vectors(client: Client, *points: dict) -> list[str]:
    """What is wrong with each, "" = nothing."""
    request = search_pb2.UpdateVectorsRequest(collection="c", points=[search_pb2.Point(**p) for p in points])
    results = (await client.points.UpdateVectors(request)).results
    refusals = [refusal(result.status) if result.status.code else None for result in results]
    return [one.field or one.reason if one else "" for one in refusals]


async def test_vectors_are_changed_and_what_cannot_be_is_told_by_its_path(client: Client):
    ready = wire(unit(3))
    wrong = await change_vectors(
        client,
        {"id": "p1", "text_vector": ready},
        {"id": "p1", "text_vector": ready},
        {"id": "p2"},
        {"id": "p3", "text_vector": ready, "payload": as_struct({"a": 1})},
        {"id": "p4", "text_vector": wire([1.0])},
        {"id": "nobody", "text_vector": ready},
    )
    assert wrong == [
        "",
        "points[1].id",
        "points[2]",
        "points[3].payload",
        "points[4].text_vector",
        "POINT_NOT_FOUND",
    ]
    found = await get(client, "p1", "p3")
    assert [(p.has_image, p.has_text) for p in found.points] == [(True, True), (True, False)]
    assert dict(found.points[0].payload) == {"i": 1, "even": False, "tag": "x"}


async def delete_vectors(client: Client, vectors: list[str], **selector) -> int:
    request = search_pb2.DeleteVectorsRequest(collection="c", vectors=vectors, **selector)
    return (await client.points.DeleteVectors(request)).updated


async def test_vectors_are_removed_by_ids_and_by_filter(client: Client):
    assert await delete_vectors(client, ["image", "image"], ids=IDS) == 1
    assert await delete_vectors(client, ["image"], filter=EVEN) == 10
    having = filter_pb2.Filter(must=[filter_pb2.Condition(has_vector="image")])
    assert await count(client, filter=having) == 9
    assert await count(client) == 20
    for vectors, selector, field in (
        ([], {"ids": IDS}, "vectors"),
        (["sound"], {"ids": IDS}, "vectors[0]"),
        (["image"], {}, "selector"),
        (["image"], {"filter": filter_pb2.Filter()}, "filter"),
        (["image"], {"filter": WRONG_TYPE}, "filter.must[0].field"),
    ):
        assert (await refused(delete_vectors(client, vectors, **selector))).field == field


async def test_points_are_read_in_the_order_asked_and_the_missing_listed(client: Client):
    found = await get(client, "p3", "nobody", "p1", "p3", "nobody", "nowhere")
    assert [point.id for point in found.points] == ["p3", "p1"]
    assert found.missing == ["nobody", "nowhere"]
    assert dict(found.points[0].payload) == {"i": 3, "even": False, "tag": "x"}
    assert (found.points[0].has_image, found.points[0].has_text) == (True, False)
    assert not found.points[0].HasField("image_vector")


async def test_vectors_and_parts_of_the_payload_on_request(client: Client):
    selector = search_pb2.PayloadSelector(include=["i"])
    [point] = (await get(client, "p3", with_vectors=True, vector_format=F32, payload=selector)).points
    assert np.frombuffer(point.image_vector.f32, "<f4") == pytest.approx(unit(1, 3))
    assert dict(point.payload) == {"i": 3}
    [point] = (await get(client, "p3", with_vectors=True)).points
    assert list(point.image_vector.values) == pytest.approx(unit(1, 3))


async def test_points_are_counted_all_or_by_filter(client: Client):
    assert await count(client) == 20
    assert await count(client, filter=EVEN) == 10
    assert await count(client, filter=parse("must { filter {} }")) == 20


async def test_values_are_counted_in_the_index_of_their_field(client: Client):
    assert await facet(client) == [("x", 20)]
    assert await facet(client, filter=EVEN, exact=True) == [("x", 10)]
    for field, type, found in (
        ("even", collection_pb2.PAYLOAD_INDEX_TYPE_BOOL, [(False, 10), (True, 10)]),
        ("i", collection_pb2.PAYLOAD_INDEX_TYPE_INTEGER, [(0, 1), (1, 1)]),
    ):
        why = await refused(facet(client, key=field))
        assert (why.code, why.reason, why.field) == ("FAILED_PRECONDITION", "PAYLOAD_INDEX_NEEDED", "key")
        index = collection_pb2.PayloadIndex(field=field, type=type)
        await client.collections.CreatePayloadIndex(
            collection_pb2.CreatePayloadIndexRequest(collection="c", index=index)
        )
        assert await facet(client, key=field, limit=2) == found


async def test_deleting_tells_how_many_were_there(client: Client):
    assert await delete(client, ids=search_pb2.PointIds(ids=["p1", "p1", "nobody"])) == 1
    assert await delete(client, ids=search_pb2.PointIds(ids=["p1"])) == 0
    assert await delete(client, filter=EVEN) == 10
    assert await count(client) == 9


async def test_payloads_are_changed_by_ids_and_by_a_filter_that_stops_matching(client: Client):
    assert await update(client, ids=IDS, set=as_struct({"n": 100, "even": True})) == 1
    changed = {"delete": ["i"], "set": as_struct({"even": None, "seen": [1], "a b": None})}
    assert await update(client, filter=EVEN, **changed) == 11
    assert await count(client, filter=EVEN) == 0
    [changed] = (await get(client, "p1")).points
    assert dict(changed.payload) == {"n": 100, "tag": "x", "seen": [1]}, "null removes"
    assert await update(client, ids=IDS, set=as_struct({"b": 1}), overwrite=True) == 1
    [overwritten] = (await get(client, "p1")).points
    assert dict(overwritten.payload) == {"b": 1}
    assert await update(client, ids=IDS, overwrite=True) == 1
    [cleared] = (await get(client, "p1")).points
    assert (dict(cleared.payload), cleared.has_image) == ({}, True)


async def test_a_payload_does_not_grow_beyond_the_bound_by_updates(client: Client, settings: SearchSettings):
    half = "x" * (settings.max_payload_bytes // 2)
    nested = as_struct({"a": half, "shop": {"note": half[:1000], "city": "Ulm"}})
    assert await update(client, ids=IDS, set=nested) == 1
    for selector in ({"ids": search_pb2.PointIds(ids=["p2", "p1"])}, {"filter": ODD}):
        why = await refused(update(client, **selector, set=as_struct({"b": half})))
        assert (why.code, why.reason, why.field) == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE", "set")
        assert "'p1'" in why.message
        assert str(settings.max_payload_bytes) in why.message
    exchanged = {"delete": ["shop.note"], "set": as_struct({"a": None, "b": half})}
    assert await update(client, ids=IDS, **exchanged) == 1, "what is removed does not count"
    assert await update(client, ids=IDS, delete=["shop.note"], set=as_struct({"c": half[:-500]})) == 1
    [point] = (await get(client, "p1")).points
    assert set(point.payload) == {"i", "even", "tag", "shop", "b", "c"}
    assert point.payload.ByteSize() <= settings.max_payload_bytes


async def test_pages_hold_every_point_once_in_an_order_that_stays(client: Client):
    async def walk(size: int) -> list[str]:
        ids, token = list[str](), ""
        while True:
            answer = await page(client, page_size=size, page_token=token)
            assert len(answer.points) <= size
            ids += [point.id for point in answer.points]
            token = answer.next_page_token
            if not token:
                return ids

    walked = await walk(20)
    assert sorted(walked) == sorted(f"p{i}" for i in range(20))
    for size in (1, 7, 20, 50):
        assert await walk(size) == walked


async def test_pages_keep_to_the_filter_and_show_what_is_asked(client: Client):
    answer = await page(
        client,
        filter=EVEN,
        with_vectors=True,
        vector_format=F32,
        payload=search_pb2.PayloadSelector(none=True),
    )
    assert sorted(point.id for point in answer.points) == sorted(f"p{i}" for i in range(0, 20, 2))
    assert all(point.image_vector.f32 and not point.payload.fields for point in answer.points)
    assert answer.next_page_token == ""


async def test_pages_in_the_order_of_a_field_hold_every_point_once(client: Client):
    index = collection_pb2.PayloadIndex(field="i", type=collection_pb2.PAYLOAD_INDEX_TYPE_INTEGER)
    why = await refused(page(client, order_by=search_pb2.OrderBy(key="i")))
    assert (why.code, why.reason, why.field) == (
        "FAILED_PRECONDITION",
        "PAYLOAD_INDEX_NEEDED",
        "order_by.key",
    )
    await client.collections.CreatePayloadIndex(
        collection_pb2.CreatePayloadIndexRequest(collection="c", index=index)
    )

    async def walk(**order) -> list[str]:
        ids, token = list[str](), ""
        while True:
            by = search_pb2.OrderBy(key="i", **order)
            answer = await page(client, page_size=3, page_token=token, order_by=by, filter=EVEN)
            ids += [point.id for point in answer.points]
            token = answer.next_page_token
            if not token:
                return ids

    assert await walk() == [f"p{i}" for i in range(0, 20, 2)]
    assert await walk(direction=search_pb2.DIRECTION_DESC, number=7.5) == ["p6", "p4", "p2", "p0"]
    assert await walk(number=12.5) == ["p14", "p16", "p18"]
    for fields, field in (
        ({"page_token": "x:y"}, "page_token"),
        ({"page_token": "1.5:6f1e3c0a-0d5b-5a55-9c0e-2f6f0c1a7d11"}, "page_token"),
        ({"page_token": f"{2**70}:6f1e3c0a-0d5b-5a55-9c0e-2f6f0c1a7d11"}, "page_token"),
        ({"order_by": search_pb2.OrderBy(key="i", time={"seconds": 1})}, "order_by.time"),
        ({"sample": search_pb2.SAMPLE_RANDOM}, "order_by"),
    ):
        asked = {"order_by": search_pb2.OrderBy(key="i"), **fields}
        why = await refused(page(client, **asked))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field)


async def test_a_sample_is_of_the_points_that_match(client: Client):
    async def sample(size: int) -> list[str]:
        answer = await page(client, sample=search_pb2.SAMPLE_RANDOM, page_size=size, filter=EVEN)
        assert answer.next_page_token == ""
        return [point.id for point in answer.points]

    even = {f"p{i}" for i in range(0, 20, 2)}
    assert sorted(await sample(50)) == sorted(even)
    some = [await sample(3) for _ in range(20)]
    assert all(len(ids) == 3 == len(even & set(ids)) for ids in some)
    assert len({id for ids in some for id in ids}) > 3


BAD = [
    ("get", {"ids": []}, "ids"),
    ("get", {"ids": ["x"] * 51}, "ids"),
    ("get", {"ids": ["x", ""]}, "ids[1]"),
    ("get", {"ids": ["x" * 513]}, "ids[0]"),
    ("get", {"ids": ["x"], "vector_format": 9}, "vector_format"),
    ("delete", {}, "selector"),
    ("delete", {"ids": search_pb2.PointIds()}, "ids.ids"),
    ("delete", {"ids": search_pb2.PointIds(ids=[""])}, "ids.ids[0]"),
    ("delete", {"filter": filter_pb2.Filter()}, "filter"),
    ("delete", {"filter": parse("must { filter {} }")}, "filter"),
    ("delete", {"filter": WRONG_TYPE}, "filter.must[0].field"),
    ("update", {"set": as_struct({"n": 1})}, "selector"),
    ("update", {"ids": IDS}, "set"),
    ("update", {"ids": IDS, "set": as_struct({})}, "set"),
    ("update", {"ids": IDS, "set": as_struct({"_clipsearch_id": "p2"})}, "set"),
    ("update", {"ids": IDS, "set": as_struct({'a"': None})}, 'set.a"'),
    ("update", {"ids": IDS, "set": as_struct({"long": "x" * 70_000})}, "set"),
    ("update", {"ids": IDS, "delete": ["n"], "overwrite": True}, "delete"),
    ("update", {"ids": IDS, "delete": ["n"] * 257}, "delete"),
    ("update", {"ids": IDS, "delete": ["n", "a..b"]}, "delete[1]"),
    ("update", {"ids": IDS, "delete": ["tags[].a"]}, "delete[0]"),
    ("update", {"ids": IDS, "delete": ["_clipsearch_sides"]}, "delete[0]"),
    ("update", {"filter": filter_pb2.Filter(), "set": as_struct({"n": 1})}, "filter"),
    ("update", {"filter": WRONG_TYPE, "set": as_struct({"n": 1})}, "filter.must[0].field"),
    ("count", {"filter": parse("must {}")}, "filter.must[0]"),
    ("count", {"filter": WRONG_TYPE}, "filter.must[0].field"),
    ("facet", {"key": ""}, "key"),
    ("facet", {"key": "_clipsearch_id"}, "key"),
    ("facet", {"limit": 101}, "limit"),
    ("facet", {"filter": WRONG_TYPE}, "filter.must[0].field"),
    (
        "facet",
        {"filter": parse('must { field { key: "nowhere" match { boolean: true } } }')},
        "filter.must[0].field",
    ),
    ("page", {"page_size": 1001}, "page_size"),
    ("page", {"page_token": "not a token"}, "page_token"),
    ("page", {"page_token": "x", "sample": search_pb2.SAMPLE_RANDOM}, "page_token"),
    ("page", {"sample": 9}, "sample"),
    ("page", {"order_by": search_pb2.OrderBy()}, "order_by.key"),
    ("page", {"order_by": search_pb2.OrderBy(key="i", direction=9)}, "order_by.direction"),
    ("page", {"order_by": search_pb2.OrderBy(key="i", number=math.nan)}, "order_by.number"),
    ("page", {"vector_format": 9}, "vector_format"),
    ("page", {"filter": WRONG_TYPE}, "filter.must[0].field"),
    ("page", {"payload": search_pb2.PayloadSelector(include=["a..b"])}, "payload.include[0]"),
    ("page", {"payload": search_pb2.PayloadSelector(include=["a"] * 257)}, "payload.include"),
]


async def test_bad_requests_are_told_by_field_and_change_nothing(client: Client):
    calls = {"get": get, "delete": delete, "update": update, "count": count, "facet": facet, "page": page}
    for call, fields, field in BAD:
        others = {name: value for name, value in fields.items() if (call, name) != ("get", "ids")}
        why = await refused(calls[call](client, *(fields["ids"] if call == "get" else ()), **others))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field)
    assert await count(client) == 20


def test_every_rpc_is_tried_by_a_test():
    sources = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("*.py"))
    for module in (search_pb2, collection_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert re.search(rf"\.{method.name}\(", sources), f"{method.full_name} is tried by no test"


def failing_once(error: ServiceError):
    """An RPC that answers only when it is called again, and how often it was called."""
    calls = []

    @again_if_moved
    async def rpc(servicer, request, context) -> str:
        calls.append(request)
        if len(calls) == 1:
            raise error
        return "answer"

    return rpc, calls


SEARCH = search_pb2.SearchRequest(collection="c")
NAMING = [
    SEARCH,
    search_pb2.SearchGroupsRequest(search=SEARCH),
    search_pb2.SearchBatchRequest(searches=[SEARCH, search_pb2.SearchRequest(collection="d")]),
]


@pytest.mark.parametrize("naming", NAMING)
async def test_an_alias_that_moved_while_its_collection_was_deleted_fails_no_call(naming):
    rpc, calls = failing_once(NotFound("collection", "c-of-before"))
    assert await rpc(None, naming, None) == "answer"
    assert len(calls) == 2


@pytest.mark.parametrize("naming", NAMING)
@pytest.mark.parametrize("missing", [NotFound("collection", "c"), NotFound("point", "p")])
async def test_what_the_caller_named_and_is_not_there_is_told_at_once(naming, missing):
    rpc, calls = failing_once(missing)
    with pytest.raises(NotFound):
        await rpc(None, naming, None)
    assert len(calls) == 1
