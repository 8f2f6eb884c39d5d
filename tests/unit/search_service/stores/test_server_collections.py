"""Collections on a Qdrant server: what is sent, what is read back, and what is kept beside it."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import AsyncMock

import grpc
import pytest
from google.protobuf.text_format import Parse
from qdrant_client import grpc as wire
from qdrant_client import models

from clipsearch.serving.deadline import deadline, deadline_at
from clipsearch.serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
)
from search_service.stores.collection import CollectionSpec, QuantizationParams
from search_service.stores.qdrant import calls, collections
from search_service.stores.qdrant.known import FRESH_S
from search_service.stores.qdrant.store import QdrantServer
from tests.waiting import settled

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")


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


async def test_shards_and_replicas_are_left_to_the_server_unless_they_are_given(server_store, qdrant):
    await server_store.create_collection(CollectionSpec("shop", 2, "f"))
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
async def test_a_collections_settings_travel(server_store, qdrant, quantization, params, expected):
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
    await server_store.create_collection(spec)
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


async def test_of_many_collections_a_few_are_described_at_a_time(memory, monkeypatch):
    """Each has two seconds, which it must not spend behind all others."""
    store, client = memory
    await store.create_collection(CollectionSpec("well", 2, "f"))
    read, at_once, most = client.get_collection, 0, 0

    async def counted(name: str):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await settled()
        at_once -= 1
        return await read("well")

    monkeypatch.setattr(client, "get_collection", counted)
    monkeypatch.setattr(client, "count", AsyncMock(return_value=models.CountResult(count=7)))
    monkeypatch.setattr(store, "_names", AsyncMock(return_value=[f"well-{n}" for n in range(100)]))
    infos = await store.list_collections()
    assert [info.damage for info in infos] == [""] * 100
    assert 1 < most <= 16


async def test_a_caller_whose_time_is_over_is_told_of_no_damage(memory, monkeypatch):
    store, client = memory
    await store.create_collection(CollectionSpec("well", 2, "f"))

    async def waits(name: str):
        await asyncio.sleep(3600)

    monkeypatch.setattr(client, "get_collection", waits)
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.5):
        await store.list_collections()


async def test_a_list_waits_for_each_answer_of_a_slow_server_and_not_for_all_together(memory, monkeypatch):
    store, _ = memory
    await store.create_collection(CollectionSpec("shop", 2, "f"))
    monkeypatch.setattr(collections, "_DESCRIBED_WITHIN_S", 3600)
    read, ends = store._calls.read, []

    async def slow(collection, send):
        if collection:
            ends.append(deadline())
            await asyncio.sleep(0.1)
        return await read(collection, send)

    monkeypatch.setattr(store._calls, "read", slow)
    (info,) = await store.list_collections()
    assert (info.spec.name, info.damage) == ("shop", "")
    assert max(ends) - min(ends) >= 0.1, "the time of one answer is taken from that of the next"
