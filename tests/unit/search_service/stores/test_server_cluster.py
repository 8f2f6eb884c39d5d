"""Of a cluster: its addresses, nodes that do not know yet, copies that do not agree."""

from __future__ import annotations

from collections import Counter

import grpc
import numpy as np
import pytest
from grpc.aio import Metadata
from qdrant_client import grpc as wire
from qdrant_client import models

from clipsearch.channel.credentials import CredentialsError
from clipsearch.serving.errors import DeadlineExceeded, Unavailable
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import (
    ID_KEY,
    Listing,
    StoredPoint,
    point_uuid,
)
from search_service.stores.qdrant import calls, known, reads
from search_service.stores.qdrant.channel import open_client
from search_service.stores.qdrant.store import QdrantServer
from search_service.stores.questions import FacetHit, FacetQuery, OrderBy
from tests.local_qdrant import LocalQdrant
from tests.unit.search_service.stores.qdrant import Qdrant

VECTOR = np.array([1, 0], np.float32)


@pytest.fixture
async def memory():
    client = LocalQdrant()
    store = QdrantServer(client, consistency="majority")
    for name in ("old", "new"):
        await store.create_collection(CollectionSpec(name, 2, "f"))
    yield store, client
    await store.close()


async def test_a_url_may_name_several_nodes():
    qdrant = Qdrant()
    await qdrant.start()
    store = QdrantServer.connect("http://127.0.0.1,127.0.0.1:6333", None, timeout=5, grpc_port=qdrant.port)
    await store.ping()
    await store.close()
    await qdrant.stop()


@pytest.mark.parametrize("url", ["ftp://qdrant:6333", "http://", "http://:6333"])
def test_a_url_that_is_none_is_told_at_the_start(url):
    with pytest.raises(CredentialsError, match="is no http:// or https:// address"):
        open_client(url, None, 5, None, 6334, 1)


async def test_nodes_that_have_not_heard_yet_are_asked_again(memory, monkeypatch):
    monkeypatch.setattr(known, "_AGREE_S", 0)
    store, client = memory
    before = await client.get_collection("old")
    await store.set_successor("old", "new")
    read, asked = client.get_collection, []

    async def two_nodes_were_away(name: str):
        asked.append(name)
        return before if len(asked) <= 2 else await read(name)

    monkeypatch.setattr(client, "get_collection", two_nodes_were_away)
    assert (await store.resolve("old")).successor == "new"


@pytest.mark.parametrize(("reads_that_differ", "version"), [(2, "new"), (9, "old")])
async def test_a_point_on_which_copies_do_not_agree_is_read_from_one_in_the_end(
    memory, monkeypatch, reads_that_differ, version
):
    """A node that was away and has not heard yet that it is behind holds the old version."""
    store, client = memory
    await store.upsert("old", [StoredPoint("a", {"version": "new"}, image=VECTOR)])
    read, asked = client.retrieve, []

    async def copies_differ(*args, consistency, **options):
        found = await read(*args, **options)
        if isinstance(consistency, models.ReadConsistencyType):
            asked.append(consistency)
            return [] if len(asked) <= reads_that_differ else found
        return [
            record.model_copy(update={"payload": {**record.payload, "version": "old"}}) for record in found
        ]

    monkeypatch.setattr(client, "retrieve", copies_differ)
    monkeypatch.setattr(reads, "_AGREE_AFTER_S", [0, 0])
    [point] = await store.get("old", ["a", "b"])
    assert (point.id, point.payload["version"]) == ("a", version)


@pytest.mark.parametrize("failure", [Unavailable("store", "the store cannot be reached"), DeadlineExceeded()])
async def test_a_failure_while_copies_are_asked_again_leaves_the_answer_of_one(memory, monkeypatch, failure):
    store, client = memory
    await store.upsert("old", [StoredPoint("a", {}, image=VECTOR)])
    read, agreeing = client.retrieve, iter([[], failure])

    async def copies_differ(*args, consistency, **options):
        if not isinstance(consistency, models.ReadConsistencyType):
            return await read(*args, **options)
        if isinstance(answer := next(agreeing, failure), Exception):
            raise answer
        return answer

    monkeypatch.setattr(client, "retrieve", copies_differ)
    monkeypatch.setattr(reads, "_AGREE_AFTER_S", [0])
    monkeypatch.setattr(calls, "_PAUSES_S", (0.0,))
    [point] = await store.get("old", ["a"])
    assert point.id == "a"


async def test_an_insert_that_reached_one_copy_alone_is_made_again(memory, monkeypatch):
    store, client = memory
    await store.upsert("old", [StoredPoint(name, {}, image=VECTOR) for name in ("whole", "half")])
    read, written = client.retrieve, []

    async def copies_differ(*args, consistency, **options):
        found = await read(*args, **options)
        agreed = isinstance(consistency, models.ReadConsistencyType)
        return [record for record in found if not agreed or record.id == point_uuid("whole")]

    async def write(asked: wire.UpsertPoints, timeout: int) -> wire.PointsOperationResponse:
        assert asked.ordering.type == wire.WriteOrderingType.Medium  # else each copy may keep another's
        written.extend(point.payload[ID_KEY].string_value for point in asked.points)
        return wire.PointsOperationResponse(result=wire.UpdateResult(status=wire.UpdateStatus.Completed))

    monkeypatch.setattr(client, "retrieve", copies_differ)
    monkeypatch.setattr(client, "Upsert", write)
    points = [StoredPoint(name, {}, image=VECTOR) for name in ("whole", "half", "new")]
    assert await store.upsert("old", points, insert_only=True) == {"whole"}
    assert written == ["half", "new"]


async def test_while_copies_are_away_those_that_are_there_tell_what_is_present(memory, monkeypatch):
    store, client = memory
    await store.upsert("old", [StoredPoint("a", {}, image=VECTOR)])
    read = client.retrieve

    async def too_few(*args, consistency, **options):
        if isinstance(consistency, models.ReadConsistencyType):
            details = "The replica set for shard 0 on peer 1 does not have enough active replicas"
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata(), details=details)
        return await read(*args, **options)

    monkeypatch.setattr(client, "retrieve", too_few)
    assert await store.present("old", ["a", "b"]) == {"a"}


async def test_a_list_leaves_out_no_point_on_which_copies_do_not_agree(memory, monkeypatch):
    store, client = memory
    await store.upsert("old", [StoredPoint(name, {"n": 1}, image=VECTOR) for name in ("a", "b")])
    read = client.retrieve

    async def copies_differ(*args, consistency, **options):
        found = await read(*args, **options)
        return found[1:] if isinstance(consistency, models.ReadConsistencyType) else found

    monkeypatch.setattr(client, "retrieve", copies_differ)
    old = Listing("old", with_vectors=True)
    page = await store.scroll(old, limit=10)
    ordered = await store.ordered(old, OrderBy("n", "integer"), limit=10)
    assert ordered.values == (1, 1)
    for points in (page.points, ordered.points):
        assert {(point.id, point.payload["n"], point.image is not None) for point in points} == {
            ("a", 1, True),
            ("b", 1, True),
        }


async def test_values_are_counted_exactly_of_shards_that_tell_only_their_most_frequent(memory, monkeypatch):
    """As Qdrant 1.18.3 makes its sums of several nodes."""
    store, client = memory
    await store.create_collection(CollectionSpec("shards", 2, "f", shard_number=2))
    here, there = {**{f"v{n}": 2 for n in range(2000)}, "last": 1}, {"last": 2}

    async def counted(*args, limit, **options):
        told = [Counter(dict(Counter(shard).most_common(limit))) for shard in (here, there)]
        hits = sum(told, Counter()).most_common(limit)
        return models.FacetResponse(hits=[models.FacetValueHit(value=v, count=n) for v, n in hits])

    monkeypatch.setattr(client, "facet", counted)
    assert await store.facet("shards", FacetQuery("n", 1, exact=True)) == [FacetHit("last", 3)]


async def test_values_are_counted_on_one_copy(memory, monkeypatch):
    """Qdrant 1.18.3 makes too many of values that several copies count exactly."""
    store, client = memory
    await store.upsert("old", [StoredPoint(name, {"n": 1}, image=VECTOR) for name in ("a", "b")])
    count = client.facet

    async def counted(*args, consistency, **options):
        assert consistency == 1
        return await count(*args, **options)

    monkeypatch.setattr(client, "facet", counted)
    assert await store.facet("old", FacetQuery("n", 5, exact=True)) == [FacetHit(1, 2)]
