from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.protobuf.text_format import Parse
from qdrant_client import grpc as wire
from qdrant_client import models

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import CollectionSpec, QuantizationParams, StoredPoint, VectorQuery
from search_service.stores.qdrant import calls
from search_service.stores.qdrant.calls import MOST_TRIES
from search_service.stores.qdrant.collections import FRESH_S, Known
from search_service.stores.qdrant.errors import StoreDataLoss
from search_service.stores.qdrant.spec import Limits
from search_service.stores.qdrant.store import QdrantServer
from tests.local_qdrant import LocalQdrant
from tests.unit.search_service.stores.qdrant import Qdrant
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")
QUESTION = VectorQuery(np.array([1, 0], np.float32), "image", 3)


@pytest.fixture
async def qdrant() -> AsyncIterator[Qdrant]:
    server = Qdrant()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def store(qdrant) -> AsyncIterator[QdrantServer]:
    opened = QdrantServer.connect(
        "http://127.0.0.1:1",
        "a key",
        timeout=3600,  # longer than a test may last: what is given up sooner is so for its caller's sake
        grpc_port=qdrant.port,
        ordering="strong",
        consistency="majority",
    )
    yield opened
    await opened.close()


@pytest.fixture
async def memory() -> AsyncIterator[tuple[QdrantServer, LocalQdrant]]:
    client = LocalQdrant()
    store = QdrantServer(client)
    yield store, client
    await store.close()


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, "Collection `x` doesn't exist!", NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "", AlreadyExists),
        (grpc.StatusCode.INVALID_ARGUMENT, "Collection `x` already exists!", AlreadyExists),
        (grpc.StatusCode.INVALID_ARGUMENT, "Wrong input", InvalidArgument),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", ResourceExhausted),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", DeadlineExceeded),
        (grpc.StatusCode.FAILED_PRECONDITION, "Locked", FailedPrecondition),
        (grpc.StatusCode.UNIMPLEMENTED, "", FailedPrecondition),
        (grpc.StatusCode.DATA_LOSS, "", StoreDataLoss),
        (grpc.StatusCode.UNKNOWN, "", Unavailable),
        (grpc.StatusCode.INTERNAL, "1 of 1 read operations failed: currently unavailable", Unavailable),
        (
            grpc.StatusCode.INTERNAL,
            "No space left on device: WAL buffer size exceeds available disk space",
            ResourceExhausted,
        ),
        (grpc.StatusCode.UNAUTHENTICATED, "", Unavailable),
        (grpc.StatusCode.PERMISSION_DENIED, "", Unavailable),
    ],
)
async def test_what_the_server_says_becomes_our_error(store, qdrant, code, details, error, monkeypatch):
    monkeypatch.setattr(calls, "_SETTLES_WITHIN_S", 0.5)
    qdrant.failures = [(code, details)] * 30
    with pytest.raises(error):
        await store.count("x")


async def test_a_server_that_is_not_there_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        store = QdrantServer.connect("http://127.0.0.1:1", None, timeout=5, grpc_port=port)
        with pytest.raises(Unavailable) as error:
            await store.ping()
        assert error.value.reason == "STORE_UNAVAILABLE"
        await store.close()


async def test_a_slow_server_meets_the_callers_deadline_to_the_fraction_of_a_second(store, qdrant):
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded):
        await store.query("x", [QUESTION], timeout=0.4)


async def test_reads_are_tried_again(store, qdrant):
    qdrant.failures = [(grpc.StatusCode.UNAVAILABLE, "")] * 2
    assert await store.count("x") == 7
    assert len(qdrant.asked) == 3


def points(count: int) -> list[StoredPoint]:
    return [StoredPoint(f"p{n}", {"n": n}, image=np.array([1, 0], np.float32)) for n in range(count)]


@pytest.fixture
def collection(store) -> str:
    """One whose settings the store has just read."""
    store._known["x"] = Known(CollectionSpec("x", 2, "f"), Limits(), float("inf"))
    return "x"


async def test_a_large_write_goes_in_parts_of_which_a_few_are_on_their_way(store, qdrant, collection):
    qdrant.go_on.clear()
    writing = asyncio.create_task(store.upsert(collection, points(4000)))
    await until(lambda: qdrant.at_once >= 2)
    qdrant.go_on.set()
    await writing
    # Over several connections, so not in their order.
    assert sorted(len(request.points) for request in qdrant.asked) == [160] + [256] * 15
    sent = {point.payload["n"].integer_value for request in qdrant.asked for point in request.points}
    assert sent == set(range(4000))
    assert qdrant.most_at_once <= 8
    assert all(
        request.wait and request.ordering.type == wire.WriteOrderingType.Strong for request in qdrant.asked
    )


async def test_of_points_with_one_id_in_several_parts_the_last_is_sent(store, qdrant, collection):
    await store.upsert(
        collection, [*points(257), StoredPoint("p0", {"n": 257}, image=np.array([1, 0], np.float32))]
    )
    sent = [point.payload["n"].integer_value for request in qdrant.asked for point in request.points]
    assert sorted(sent) == list(range(1, 258))


async def test_a_write_fails_with_its_first_part_that_fails(store, qdrant, collection):
    qdrant.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "")]
    with pytest.raises(ResourceExhausted):
        await store.upsert(collection, points(4000))
    assert len(qdrant.asked) < 16, "the rest is given up"


async def test_upserts_are_tried_again(store, qdrant, collection):
    qdrant.failures = [(grpc.StatusCode.UNAVAILABLE, "")]
    await store.upsert(collection, points(1))
    assert len(qdrant.asked) == 2


async def test_the_server_is_told_to_give_up_when_the_caller_does(store, qdrant, collection):
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded):
        await store.upsert(collection, points(300), timeout=0.4)
    await until(lambda: qdrant.at_once == 0)  # cancelled on the server too


async def test_calls_take_turns_on_several_connections(store, qdrant):
    await asyncio.gather(*(store.count("x") for _ in range(9)))
    assert len(qdrant.peers) == 3


async def test_a_delete_is_tried_again_and_tells_what_was_there_before_the_first_try(store, qdrant):
    condition = Filter(must=(MatchValue("a", 1),))
    qdrant.down = {"Points/Delete"}
    with pytest.raises(Unavailable):
        await store.delete("x", condition)
    assert qdrant.calls == {"Points/Count": 1, "Points/Delete": MOST_TRIES}


async def test_a_wrong_key_is_told_at_once(store, qdrant):
    qdrant.api_key = "another"
    with pytest.raises(Unavailable, match="refuses this service's API key"):
        await store.count("x")
    assert len(qdrant.asked) == 1


async def test_a_write_that_the_server_still_works_on_is_not_taken_for_done(store, qdrant):
    qdrant.status = wire.UpdateStatus.WaitTimeout
    with pytest.raises(DeadlineExceeded):
        await store.delete("x", ["a"])


async def test_ordering_consistency_and_key_travel(store, qdrant):
    await store.query("x", [QUESTION, QUESTION])
    (asked,) = qdrant.asked
    assert asked.read_consistency.type == wire.ReadConsistencyType.Majority
    assert len(asked.query_points) == 2
    assert qdrant.metadata["api-key"] == "a key"
    await store.delete("x", Filter(must=(MatchValue("a", 1),)))
    assert qdrant.asked[-1].ordering.type == wire.WriteOrderingType.Strong
    assert qdrant.asked[-1].wait


async def test_collections_of_others_are_left_alone(memory):
    store, client = memory
    await client.create_collection(
        "theirs", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE)
    )
    assert await store.list_collections() == []
    with pytest.raises(FailedPrecondition) as refused:
        await store.resolve("theirs")
    assert refused.value.reason == "COLLECTION_NOT_OURS"
    with pytest.raises(FailedPrecondition):
        await store.delete_collection("theirs")
    assert await client.collection_exists("theirs")


async def test_a_creation_that_fails_half_way_leaves_nothing(memory, monkeypatch):
    store, client = memory

    async def fail(*_, **__):
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    monkeypatch.setattr(client, "create_payload_index", fail)
    with pytest.raises(Unavailable):
        await store.create_collection(CollectionSpec("shop", 2, "f", payload_indexes={"a": "keyword"}))
    assert not await client.collection_exists("shop")


async def test_insert_only_leaves_a_point_that_came_after_it_was_asked_for(memory, monkeypatch):
    store, _ = memory
    await store.create_collection(CollectionSpec("shop", 2, "f"))
    vector = np.array([1, 0], np.float32)

    async def nothing(*_: object, **__: object) -> frozenset[str]:
        await store.upsert("shop", [StoredPoint("a", {"first": True}, image=vector)])
        return frozenset()

    monkeypatch.setattr(store, "present", nothing)
    late = [StoredPoint(name, {"first": False}, image=vector) for name in ("a", "b")]
    assert await store.upsert("shop", late, insert_only=True) == frozenset()
    found = await store.get("shop", ["a", "b"])
    assert [point.payload["first"] for point in found] == [True, False]


async def test_other_services_may_take_a_link_from_memory_for_a_while(memory):
    store, client = memory
    other = QdrantServer(client)
    for name in ("old", "new"):
        await store.create_collection(CollectionSpec(name, 2, "f"))
    assert (await other.resolve("old")).successor == ""
    assert await store.set_successor("old", "new") == FRESH_S
    assert (await store.resolve("old")).successor == "new"
    assert (await other.resolve("old")).successor == "", "else the second is for nothing"


async def test_a_fact_of_one_writer_survives_that_of_another(memory):
    store, client = memory
    other = QdrantServer(client)
    for name in ("old", "new"):
        await store.create_collection(CollectionSpec(name, 2, "f"))
    read = client.get_collection

    async def linked_meanwhile(name: str):
        described = await read(name)
        client.get_collection = read
        await other.set_successor("old", "new")
        return described

    client.get_collection = linked_meanwhile
    await store.create_payload_index("old", "price", "float")
    spec = (await store.get_collection("old")).spec
    assert (spec.successor, spec.payload_indexes) == ("new", {"price": "float"})


async def test_a_restored_copy_goes_by_its_own_name(memory):
    store, client = memory
    await store.create_collection(CollectionSpec("orig", 2, "f"))
    kept = (await client.get_collection("orig")).config.metadata
    vectors = dict.fromkeys(("image", "text"), models.VectorParams(size=2, distance=models.Distance.COSINE))
    await client.create_collection("copy", vectors_config=vectors, metadata=kept)
    assert (await store.resolve("copy")).name == "copy"
    await store.delete_collection("orig")
    assert [info.spec.name for info in await store.list_collections()] == ["copy"]


async def test_settings_that_an_earlier_or_a_later_version_kept_beside_ours_are_passed_over(memory):
    store, client = memory
    await store.create_collection(CollectionSpec("shop", 2, "f", "toy"))
    kept = {"fingerprint": "f", "model": "toy", "hnsw_m": 8, "quantization_params": {"depth": 3}}
    await client.update_collection("shop", metadata={"clipsearch": kept, "clipsearch_index.price": "float"})
    spec = (await store.get_collection("shop")).spec
    assert (spec.fingerprint, spec.model, spec.hnsw_m, spec.payload_indexes) == ("f", "toy", 16, {})


async def test_settings_are_what_the_server_keeps(memory):
    store, client = memory
    made = CollectionSpec("shop", 2, "f", payload_indexes={"note": "text"}, hnsw_m=8, hnsw_on_disk=True)
    await store.create_collection(made)
    await client.create_payload_index("shop", "price", models.PayloadSchemaType.FLOAT)
    spec = (await store.get_collection("shop")).spec
    assert (spec.hnsw_m, spec.hnsw_ef_construct, spec.hnsw_on_disk) == (8, 100, True)
    assert spec.payload_indexes == {"note": "text", "price": "float"}
    kept = (await client.get_collection("shop")).config.metadata
    assert kept == {"clipsearch": {"fingerprint": "f", "model": ""}}


async def test_a_field_that_is_asked_for_and_excluded_is_excluded_by_a_filter_of_its_own(store, qdrant):
    red = MatchValue("colour", "red")
    await store.count("x", Filter(should=(red, MatchValue("colour", "blue")), must_not=(red,)))
    (asked,) = qdrant.asked
    assert not asked.filter.must_not
    assert [condition.filter.must_not[0].field.key for condition in asked.filter.must] == ["colour"]


async def test_timeouts_stay_under_the_limit_of_strict_mode(store, qdrant, collection):
    store._known[collection] = Known(CollectionSpec(collection, 2, "f"), Limits(timeout=2), float("inf"))
    await store.query(collection, [QUESTION])
    await store.upsert(collection, points(1))
    assert [request.timeout for request in qdrant.asked] == [2, 2]


async def test_a_count_page_by_page_meets_the_callers_deadline(store, qdrant, collection):
    spec = CollectionSpec(collection, 2, "f")
    store._known[collection] = Known(spec, Limits(allows_exact=False), float("inf"))
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded):
        await store.count(collection, Filter(must=(MatchValue("a", 1),)), timeout=0.1)


async def test_a_server_that_is_too_old_is_told(store, qdrant):
    await store.ping()
    qdrant.version = "1.15.3"
    with pytest.raises(Unavailable, match=r"Qdrant 1\.15\.3 is too old, 1\.16 or later is needed"):
        await store.ping()


async def test_shards_and_replicas_are_left_to_the_server_unless_they_are_given(store, qdrant):
    await store.create_collection(CollectionSpec("shop", 2, "f"))
    (asked,) = [request for request in qdrant.asked if isinstance(request, wire.CreateCollection)]
    for field in ("shard_number", "replication_factor", "write_consistency_factor"):
        assert not asked.HasField(field)


QUANTIZATIONS = [
    ("scalar", QuantizationParams(quantile=0.99), "scalar { type: Int8 quantile: 0.99 always_ram: false }"),
    (
        "binary",
        QuantizationParams(encoding="two_bits", query_encoding="scalar8bits"),
        "binary { always_ram: false encoding: TwoBits query_encoding { setting: Scalar8Bits } }",
    ),
    (
        "product",
        QuantizationParams(compression=32, always_ram=True),
        "product { compression: x32 always_ram: true }",
    ),
    ("turbo", QuantizationParams(bits=1.5), "turboquant { always_ram: false bits: Bits1_5 }"),
]


@pytest.mark.parametrize(("quantization", "params", "expected"), QUANTIZATIONS)
async def test_a_collections_settings_travel(store, qdrant, quantization, params, expected):
    spec = CollectionSpec(
        "shop",
        2,
        "f",
        hnsw_m=8,
        hnsw_ef_construct=64,
        hnsw_full_scan_threshold_kb=500,
        hnsw_on_disk=True,
        quantization=quantization,
        quantization_params=params,
        on_disk_vectors=True,
        on_disk_payload=False,
        shard_number=3,
        replication_factor=2,
        write_consistency_factor=2,
    )
    await store.create_collection(spec)
    (asked,) = [request for request in qdrant.asked if isinstance(request, wire.CreateCollection)]
    assert (asked.shard_number, asked.replication_factor, asked.write_consistency_factor) == (3, 2, 2)
    assert asked.hnsw_config == wire.HnswConfigDiff(
        m=8, ef_construct=64, full_scan_threshold=500, on_disk=True
    )
    assert asked.quantization_config == Parse(expected, wire.QuantizationConfig())
    assert all(side.on_disk for side in asked.vectors_config.params_map.map.values())
    assert asked.HasField("on_disk_payload")
    assert not asked.on_disk_payload


async def test_a_collection_that_cannot_be_described_hurts_no_other(memory, monkeypatch):
    store, client = memory
    for name in ("lost", "well"):
        await store.create_collection(CollectionSpec(name, 2, "f"))
    read = client.get_collection

    async def lost(name: str):
        if name == "lost":
            metadata = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.INTERNAL, metadata, metadata, "1 of 1 read operations failed"
            )
        return await read(name)

    monkeypatch.setattr(client, "get_collection", lost)
    monkeypatch.setattr(calls, "_SETTLES_WITHIN_S", 0)  # else it is asked again until no time is left
    broken, well = await store.list_collections()
    assert (broken.spec.name, well.spec.name, well.damage) == ("lost", "well", "")
    assert "read operations failed" in broken.damage
