"""A collection with a successor over real channels: what is written to one is written to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2 as pb
from clipsearch.search.v1 import filter_pb2, search_pb2
from search_service.settings import SearchSettings
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.served import (
    Client,
    FakeEncoder,
    parse,
    refusal,
    refused,
    serving,
    unit,
    wire,
)
from tests.waiting import until

INSERT_ONLY = search_pb2.UPDATE_MODE_INSERT_ONLY


@pytest.fixture
async def client(
    tmp_path: Path, encoder: FakeEncoder, second: FakeEncoder, settings: SearchSettings
) -> AsyncIterator[Client]:
    """Two encoders, a collection of each one's model, and no link yet."""
    async with serving(tmp_path / "data", encoder.address, settings, second.address) as client:
        await client.create("old", payload_indexes=[pb.PayloadIndex(field="n", type=2)])
        await client.create("new", model="other")
        yield client


async def link(client: Client, collection: str = "old", successor: str = "new") -> pb.SetSuccessorResponse:
    request = pb.SetSuccessorRequest(collection=collection, successor=successor)
    return await client.collections.SetSuccessor(request)


async def describe(client: Client, name: str) -> pb.Collection:
    return (await client.collections.GetCollection(pb.GetCollectionRequest(name=name))).collection


async def stored(client: Client, collection: str) -> dict[str, search_pb2.StoredPoint]:
    request = search_pb2.ListPointsRequest(collection=collection, with_vectors=True, vector_format=2)
    return {found.id: found for found in (await client.points.ListPoints(request)).points}


async def delete(client: Client, collection: str = "old", **selector: object) -> int:
    request = search_pb2.DeletePointsRequest(collection=collection, **selector)
    return (await client.points.DeletePoints(request)).deleted


def numbers(vector: vector_pb2.Vector) -> np.ndarray:
    return np.frombuffer(vector.f32, dtype="<f4") if vector.f32 else np.array(vector.values, np.float32)


async def test_a_link_is_shown_kept_replaced_and_removed(client: Client):
    done = await link(client)
    assert (done.previous_successor, done.settles_after_s) == ("", 0)
    assert (await describe(client, "old")).successor == "new"
    assert (await link(client)).previous_successor == "new"
    assert (await link(client, successor="")).previous_successor == "new"
    assert (await describe(client, "old")).successor == ""


async def test_a_link_needs_two_collections_by_their_own_names(client: Client):
    await client.collections.UpdateAlias(pb.UpdateAliasRequest(alias="alias", collection="old"))
    for collection, successor, reason, field in (
        ("old", "old", "INVALID_FIELD", "successor"),
        ("alias", "new", "ALIAS_NOT_COLLECTION", "collection"),
        ("new", "alias", "ALIAS_NOT_COLLECTION", "successor"),
        ("old", "nowhere", "COLLECTION_NOT_FOUND", ""),
        ("nowhere", "new", "COLLECTION_NOT_FOUND", ""),
    ):
        why = await refused(link(client, collection, successor))
        assert (why.reason, why.field) == (reason, field)


async def test_a_write_goes_to_both_each_by_its_own_model(
    client: Client, encoder: FakeEncoder, second: FakeEncoder
):
    await link(client)
    await client.collections.UpdateAlias(pb.UpdateAliasRequest(alias="alias", collection="old"))
    results = await client.upsert(
        {"id": "a", "text": "words", "payload": {"n": 1}},
        {"id": "b", "image": b"picture", "text": "words"},
        {"id": "c", "image": b"no picture"},
        collection="alias",
    )
    assert [result.status.code for result in results] == [0, 0, 3]
    assert not any(result.HasField("successor_status") for result in results)
    old, new = await stored(client, "old"), await stored(client, "new")
    assert set(old) == set(new) == {"a", "b"}
    assert new["a"].payload == old["a"].payload
    for mine, by in ((old, encoder), (new, second)):
        np.testing.assert_allclose(numbers(mine["a"].text_vector), by._vector("words"), atol=1e-6)
        np.testing.assert_allclose(numbers(mine["b"].image_vector), by._vector(b"picture"), atol=1e-6)


async def test_deleting_goes_to_both_by_id_and_by_filter(client: Client):
    await link(client)
    points = [{"id": str(n), "text": f"text {n}", "payload": {"n": n}} for n in range(4)]
    await client.upsert(*points, collection="old")
    assert await delete(client, ids=search_pb2.PointIds(ids=["0", "nobody"])) == 1
    one = filter_pb2.Filter(
        must=[filter_pb2.Condition(field=filter_pb2.FieldCondition(key="n", range=filter_pb2.Range(gte=2)))]
    )
    assert await delete(client, filter=one) == 2
    assert set(await stored(client, "old")) == set(await stored(client, "new")) == {"1"}


async def test_a_changed_payload_is_so_on_both(client: Client):
    await link(client)
    points = [{"id": str(n), "text": f"text {n}", "payload": {"n": n}} for n in range(3)]
    await client.upsert(*points, collection="old")
    for ids, gone in ((["0", "nobody"], []), (["1"], ["n"])):
        request = search_pb2.UpdatePayloadRequest(collection="old", ids=search_pb2.PointIds(ids=ids))
        request.delete.extend(gone)
        if not gone:
            request.set.update({"n": 7, "new": True})
        assert (await client.points.UpdatePayload(request)).updated == 1
    old, new = await stored(client, "old"), await stored(client, "new")
    assert {id: dict(point.payload) for id, point in old.items()} == {
        "0": {"n": 7, "new": True},
        "1": {},
        "2": {"n": 2},
    }
    assert {id: point.payload for id, point in old.items()} == {id: p.payload for id, p in new.items()}


async def test_a_ready_vector_stays_with_the_old_and_is_told(client: Client):
    await link(client)
    await client.upsert({"id": "a", "text": "words"}, {"id": "b", "text": "words"}, collection="old")
    results = await client.upsert(
        {"id": "a", "text_vector": unit(1)},
        {"id": "b", "text": "others", "image_vector": unit(1)},
        {"id": "c", "text": "more"},
        collection="old",
    )
    assert [result.status.code for result in results] == [0, 0, 0]
    why = [refusal(r.successor_status).reason if r.HasField("successor_status") else "" for r in results]
    assert why == ["SUCCESSOR_LACKS_POINT", "SUCCESSOR_LACKS_POINT", ""]
    assert set(await stored(client, "old")) == {"a", "b", "c"}
    assert set(await stored(client, "new")) == {"c"}, "a stale point would be found with what it was"


async def test_what_the_new_model_refuses_is_told(client: Client, second: FakeEncoder):
    await link(client)
    text_of = second._text
    second._text = lambda text, i: text_of(" " if text == "odd" else text, i)  # type: ignore[method-assign]
    results = await client.upsert({"id": "a", "text": "odd"}, {"id": "b", "text": "words"}, collection="old")
    assert [result.status.code for result in results] == [0, 0]
    assert refusal(results[0].successor_status).reason == "TEXT_EMPTY"
    assert (set(await stored(client, "old")), set(await stored(client, "new"))) == ({"a", "b"}, {"b"})


async def test_changed_vectors_are_those_of_each_ones_model(client: Client):
    await link(client)
    points = [{"id": id, "text": id, "image": b"before", "payload": {"n": 1}} for id in ("a", "b", "c")]
    await client.upsert(*points, collection="old")
    before = await stored(client, "new")
    request = search_pb2.UpdateVectorsRequest(collection="old")
    request.points.add(id="a", text="after")
    request.points.add(id="b", text="after", image_vector=wire(unit(1)))
    request.points.add(id="nobody", text="words")
    request.points.add(id="c", image=b"no picture")
    results = (await client.points.UpdateVectors(request)).results
    reasons = ["", "", "POINT_NOT_FOUND", "IMAGE_UNREADABLE"]
    assert [refusal(r.status).reason if r.status.code else "" for r in results] == reasons
    told = [r.HasField("successor_status") for r in results]
    assert (told, refusal(results[1].successor_status).reason) == (
        [False, True, False, False],
        "SUCCESSOR_LACKS_POINT",
    )
    old, new = await stored(client, "old"), await stored(client, "new")
    assert set(old) == set(new) == {"a", "b", "c"}
    assert old["a"].text_vector == old["b"].text_vector != old["c"].text_vector
    assert new["a"].text_vector != before["a"].text_vector != old["a"].text_vector
    assert new["a"].image_vector == before["a"].image_vector
    assert (new["b"].has_image, new["b"].has_text) == (False, False), "they would be those of before"
    assert new["c"] == before["c"]
    one = search_pb2.DeleteVectorsRequest(collection="old", vectors=["text"])
    one.ids.ids.append("a")
    assert (await client.points.DeleteVectors(one)).updated == 1
    for kept in (await stored(client, "old"), await stored(client, "new")):
        assert (kept["a"].has_image, kept["a"].has_text) == (True, False)


async def test_of_one_id_the_last_is_the_one_in_both(client: Client):
    await link(client)
    await client.upsert({"id": "a", "text": "first"}, {"id": "a", "image_vector": unit(1)}, collection="old")
    assert (set(await stored(client, "old")), set(await stored(client, "new"))) == ({"a"}, set())


async def test_without_the_second_encoder_a_linked_write_fails_and_writes_nothing(
    client: Client, second: FakeEncoder
):
    await link(client)
    await second.stop()
    why = await refused(client.upsert({"id": "a", "text": "words"}, collection="old"))
    assert (why.code, why.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
    assert "second encoder" in why.message
    assert await stored(client, "old") == {}
    assert await delete(client, ids=search_pb2.PointIds(ids=["a"])) == 0
    await link(client, successor="")
    await client.upsert({"id": "a", "text": "words"}, collection="old")


async def test_insert_only_skips_encodes_nothing_and_mirrors_what_is_new(
    client: Client, encoder: FakeEncoder, second: FakeEncoder
):
    await client.upsert({"id": "a", "text": "first"}, collection="old")
    await link(client)
    encoder.calls.clear()
    second.calls.clear()
    results = await client.upsert(
        {"id": "a", "text": "second"}, {"id": "b", "text": "b"}, collection="old", update_mode=INSERT_ONLY
    )
    assert [(r.status.code, r.skipped) for r in results] == [(0, True), (0, False)]
    assert ("EncodeText", 1) in encoder.calls
    assert ("EncodeText", 1) in second.calls
    assert set(await stored(client, "new")) == {"b"}
    why = await refused(client.upsert({"id": "a", "text": "x"}, collection="old", update_mode=9))
    assert why.field == "update_mode"


async def test_linked_in_a_circle_each_collection_gets_a_write_once(client: Client, second: FakeEncoder):
    await link(client)
    await link(client, "new", "old")
    second.calls.clear()
    await client.upsert({"id": "a", "text": "words"}, collection="new")
    assert second.calls.count(("EncodeText", 1)) == 1
    assert set(await stored(client, "old")) == set(await stored(client, "new")) == {"a"}
    assert await delete(client, "new", ids=search_pb2.PointIds(ids=["a"])) == 1
    assert await stored(client, "old") == {}


async def test_writers_at_once_leave_both_alike(client: Client):
    await link(client)
    await link(client, "new", "old")
    await asyncio.gather(
        *(
            client.upsert(
                {"id": "a", "text": f"text {n}", "payload": {"n": n}}, collection=("old", "new")[n % 2]
            )
            for n in range(20)
        )
    )
    old, new = await stored(client, "old"), await stored(client, "new")
    assert old["a"].payload == new["a"].payload


async def test_a_link_that_comes_while_a_write_is_encoded_counts(client: Client, encoder: FakeEncoder):
    encoder.go_on.clear()
    write = asyncio.create_task(client.upsert({"id": "a", "text": "words"}, collection="old"))
    await until(lambda: ("EncodeText", 1) in encoder.calls)
    await link(client)
    encoder.go_on.set()
    await write
    assert set(await stored(client, "new")) == {"a"}


async def test_a_link_that_comes_while_a_write_is_stored_counts(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    """What fills the successor may have passed the points by then."""
    for name in ("upsert", "delete", "update_payload"):
        monkeypatch.setattr(QdrantEdge, name, _and_then(getattr(QdrantEdge, name), lambda: link(client)))
    await client.upsert({"id": "a", "text": "words"}, collection="old")
    assert set(await stored(client, "new")) == {"a"}
    await link(client, successor="")
    request = search_pb2.UpdatePayloadRequest(collection="old", ids=search_pb2.PointIds(ids=["a"]))
    request.set.update({"n": 1})
    await client.points.UpdatePayload(request)
    assert dict((await stored(client, "new"))["a"].payload) == {"n": 1}
    await link(client, successor="")
    assert await delete(client, ids=search_pb2.PointIds(ids=["a"])) == 1
    assert await stored(client, "new") == {}


async def test_what_was_inserted_before_a_link_came_gives_way_to_what_came_through_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    await client.upsert({"id": "there", "text": "before"}, collection="old")

    async def meanwhile() -> None:
        await link(client)
        await client.upsert({"id": "b", "text": "newer", "payload": {"n": 2}}, collection="old")

    monkeypatch.setattr(QdrantEdge, "upsert", _and_then(QdrantEdge.upsert, meanwhile))
    points = [{"id": id, "text": "words"} for id in ("there", "a", "b")]
    results = await client.upsert(
        *points, {"id": "c", "image": b"no picture"}, collection="old", update_mode=INSERT_ONLY
    )
    assert [(r.status.code, r.skipped) for r in results] == [(0, True), (0, False), (0, False), (3, False)]
    old, new = await stored(client, "old"), await stored(client, "new")
    assert (set(old), old["there"].has_text, set(new)) == ({"there", "a", "b"}, True, {"a", "b"})
    assert dict(old["b"].payload) == dict(new["b"].payload) == {"n": 2}


def _and_then(method: Any, then: Callable[[], Awaitable[object]]) -> Any:
    """The method; after a call on the collection `old` something else happens before it returns."""
    happening = False

    async def both(store: QdrantEdge, collection: str, *args: object, **options: object) -> object:
        nonlocal happening
        done = await method(store, collection, *args, **options)
        if collection == "old" and not happening:
            happening = True
            await then()
            happening = False
        return done

    return both


async def test_an_added_payload_index_is_on_both(client: Client):
    await link(client)
    index = pb.PayloadIndex(field="brand", type=pb.PAYLOAD_INDEX_TYPE_KEYWORD)
    request = pb.CreatePayloadIndexRequest(collection="old", index=index)
    await client.collections.CreatePayloadIndex(request)
    assert index in (await describe(client, "new")).payload_indexes
    await client.collections.DeletePayloadIndex(pb.DeletePayloadIndexRequest(collection="old", field="brand"))
    assert index not in (await describe(client, "new")).payload_indexes


async def test_a_filter_by_vectors_deletes_nothing_where_the_successors_may_differ(client: Client):
    await client.upsert({"id": "a", "text": "a"}, collection="old")
    lacking = parse('must_not { filter { must { has_vector: "image" } } }')
    await link(client)
    why = await refused(delete(client, filter=lacking))
    assert (why.code, why.reason, why.field) == ("FAILED_PRECONDITION", "SUCCESSOR_DIFFERS", "filter")
    await link(client, successor="")
    assert await delete(client, filter=lacking) == 1
