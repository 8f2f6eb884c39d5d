"""Collections, aliases and payload indexes, as every store promises them."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from clipsearch.serving.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from search_service.stores.collection import (
    CHANGEABLE,
    Optimizers,
    QuantizationParams,
    TextIndex,
)
from search_service.stores.filters import GeoPoint, GeoRadius, MatchPhrase, MatchText, MatchValue, Range
from search_service.stores.protocol import Listing, StoredPoint, VectorQuery
from tests.contract.shop import ITEMS, ids_of, search, spec, unit

ENGLISH = TextIndex(
    stemmer="english",
    stopword_languages=("english", "italian"),
    stopwords=("acme", "zeta"),
    min_token_len=2,
    max_token_len=30,
    phrase_matching=True,
)
PREFIX = TextIndex(tokenizer="prefix", min_token_len=1, max_token_len=20)


async def test_settings_come_back_as_they_were_given(store):
    made = spec(
        payload_indexes={"price": "float", "note": "text", "title": ENGLISH, "place": "geo"},
        hnsw_m=8,
        hnsw_ef_construct=64,
        hnsw_full_scan_threshold_kb=1000,
        hnsw_on_disk=True,
        quantization="scalar",
        quantization_params=QuantizationParams(quantile=0.99, always_ram=True),
        on_disk_vectors=True,
        on_disk_payload=False,
    )
    await store.create_collection(made)
    # How many shards and replicas a server makes of "as you are set up" it tells later.
    laid_out = await store.resolve(made.name)
    made = replace(
        made,
        shard_number=laid_out.shard_number,
        replication_factor=laid_out.replication_factor,
        write_consistency_factor=laid_out.write_consistency_factor,
        optimizers=laid_out.optimizers,
    )
    assert laid_out == made
    info = await store.get_collection(made.name)
    assert (info.spec, info.points, info.image_vectors, info.text_vectors) == (made, 0, 0, 0)
    assert made.name in [found.spec.name for found in await store.list_collections()]


async def test_shards_and_replicas_are_kept_by_a_server_and_refused_without_one(store, store_kind):
    made = spec(shard_number=2, replication_factor=2, write_consistency_factor=2)
    if store_kind == "edge":
        with pytest.raises(InvalidArgument) as refused:
            await store.create_collection(made)
        assert (refused.value.field, refused.value.reason) == ("shard_number", "NEEDS_QDRANT_SERVER")
        return
    await store.create_collection(made)
    found = await store.resolve(made.name)
    assert (found.shard_number, found.replication_factor, found.write_consistency_factor) == (2, 2, 2)


async def test_settings_are_changed_and_all_else_stays(store, shop):
    before = await store.resolve(shop)
    for changes in (
        {"hnsw_m": 8, "hnsw_ef_construct": 64, "hnsw_full_scan_threshold_kb": 500},
        {"quantization": "scalar", "quantization_params": QuantizationParams(quantile=0.99)},
        {"on_disk_vectors": True, "on_disk_payload": False, "hnsw_on_disk": True},
        {"quantization": "binary", "quantization_params": QuantizationParams(always_ram=True)},
        {"quantization_params": QuantizationParams()},
        {"hnsw_m": 16, "on_disk_vectors": False, "on_disk_payload": True, "hnsw_on_disk": False},
    ):
        for _ in range(2):  # doing it again is safe
            await store.update_collection(shop, changes)
        after = await store.resolve(shop)
        assert {name: getattr(after, name) for name in changes} == changes
        before = replace(before, **changes)
        # What is the server's default it tells as a number.
        known = {name: getattr(after, name) for name in CHANGEABLE if getattr(before, name) in (0, 0.0)}
        assert after == replace(before, **known, optimizers=after.optimizers)
        assert await search(store, shop) == ["shirt", "shoes", "coat"]
    assert len((await store.scroll(Listing(shop), limit=10)).points) == len(ITEMS)


async def test_what_an_engine_cannot_change_is_refused_and_nothing_is_changed(store, store_kind):
    made = spec(quantization="scalar")
    await store.create_collection(made)
    for changes, field in (
        ({"quantization": "none", "quantization_params": QuantizationParams()}, "quantization"),
        ({"replication_factor": 1}, "replication_factor"),
        ({"optimizers": Optimizers(indexing_threshold_kb=5000)}, "optimizers"),
    ):
        before = await store.resolve(made.name)
        changes = {"hnsw_m": 8, **changes}
        if store_kind == "edge":
            with pytest.raises(FailedPrecondition) as refused:
                await store.update_collection(made.name, changes)
            assert refused.value.metadata["field"] == field
            assert await store.resolve(made.name) == before
            continue
        await store.update_collection(made.name, changes)
        after = await store.resolve(made.name)
        if field == "optimizers":
            assert after.optimizers == replace(before.optimizers, indexing_threshold_kb=5000)
        else:
            assert getattr(after, field) == changes[field]


async def test_a_deleted_collection_is_gone_with_its_aliases_and_its_name_free(store, shop):
    alias = f"contract-alias-{uuid.uuid4().hex[:8]}"
    await store.set_alias(alias, shop)
    await store.delete_collection(shop)
    for name in (shop, alias):
        with pytest.raises(NotFound):
            await store.resolve(name)
    await store.create_collection(spec(name=shop))
    assert await store.count(shop) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.resolve("contract-none"),
        lambda s: s.delete_collection("contract-none"),
        lambda s: s.count("contract-none"),
        lambda s: s.get("contract-none", ["a"]),
        lambda s: s.delete("contract-none", ["a"]),
        lambda s: s.scroll(Listing("contract-none"), limit=1),
        lambda s: s.upsert("contract-none", ITEMS[:1]),
        lambda s: s.query("contract-none", [VectorQuery(unit(1), "image", 1)]),
        lambda s: s.set_alias("contract-alias", "contract-none"),
        lambda s: s.set_alias("contract-alias", None),
        lambda s: s.create_payload_index("contract-none", "a", "keyword"),
        lambda s: s.delete_payload_index("contract-none", "a"),
        lambda s: s.update_collection("contract-none", {"hnsw_m": 8}),
    ],
)
async def test_what_does_not_exist_is_not_found(store, call):
    with pytest.raises(NotFound):
        await call(store)


async def test_an_alias_moves_at_once_and_can_be_removed(store, collection):
    other = spec()
    await store.create_collection(other)
    alias = f"contract-alias-{uuid.uuid4().hex[:8]}"
    assert await store.set_alias(alias, collection) == ""
    assert (await store.resolve(alias)).name == collection
    assert (await store.get_collection(collection)).aliases == (alias,)
    assert await store.set_alias(alias, other.name) == collection
    assert (await store.resolve(alias)).name == other.name
    assert await store.set_alias(alias, None) == other.name
    with pytest.raises(NotFound):
        await store.resolve(alias)


async def test_names_and_aliases_never_collide(store, collection):
    alias = f"contract-alias-{uuid.uuid4().hex[:8]}"
    await store.set_alias(alias, collection)
    for name in (alias, collection):
        with pytest.raises(AlreadyExists):
            await store.create_collection(spec(name=name))
    with pytest.raises(AlreadyExists):
        await store.set_alias(collection, collection)


async def test_a_successor_is_kept_and_can_be_removed(store, collection):
    other = spec(payload_indexes={"price": "float"})
    await store.create_collection(other)
    assert (await store.resolve(collection)).successor == ""
    await store.set_successor(other.name, collection)
    await store.create_payload_index(other.name, "brand", "keyword")
    kept = await store.resolve(other.name)
    assert (kept.successor, kept.payload_indexes) == (collection, {"price": "float", "brand": "keyword"})
    assert (await store.get_collection(other.name)).spec == kept
    await store.set_successor(other.name, "")
    assert (await store.resolve(other.name)).successor == ""
    with pytest.raises(NotFound):
        await store.set_successor(other.name, "contract-none")
    with pytest.raises(NotFound):
        await store.set_successor("contract-none", other.name)


async def test_a_link_goes_with_its_successor(store, collection):
    other = spec()
    await store.create_collection(other)
    await store.set_successor(collection, other.name)
    await store.delete_collection(other.name)
    assert (await store.resolve(collection)).successor == ""


async def test_an_index_of_tenants_is_one_of_keywords_and_told_from_them(store, shop):
    await store.create_payload_index(shop, "brand", "tenant")
    other = spec(payload_indexes={"brand": "tenant", "price": "float"})
    await store.create_collection(other)
    assert (await store.resolve(shop)).payload_indexes == {"brand": "tenant"}
    assert (await store.resolve(other.name)).payload_indexes == other.payload_indexes
    assert await ids_of(store, shop, MatchValue("brand", "acme")) == {"shirt"}
    with pytest.raises(FailedPrecondition, match="of type tenant, not keyword"):
        await store.create_payload_index(shop, "brand", "keyword")


async def test_a_payload_index_can_come_later_but_keeps_its_type(store, shop):
    await store.create_payload_index(shop, "price", "float")
    await store.create_payload_index(shop, "price", "float")
    assert (await store.resolve(shop)).payload_indexes == {"price": "float"}
    assert await ids_of(store, shop, Range("price", gte=25)) == {"shoes", "hat"}
    with pytest.raises(FailedPrecondition):
        await store.create_payload_index(shop, "price", "keyword")
    with pytest.raises(FailedPrecondition) as refused:
        await store.create_payload_index(shop, "price", PREFIX)
    assert refused.value.reason == "PAYLOAD_INDEX_EXISTS"


async def test_a_payload_index_is_removed_and_made_with_other_options(store, store_kind, shop):
    await store.upsert(shop, [StoredPoint("cap", {"note": "Strawberry, running dogs"}, image=unit(1))])
    await store.create_payload_index(shop, "note", "text")
    with pytest.raises(FailedPrecondition, match="other options"):
        await store.create_payload_index(shop, "note", ENGLISH)
    for index, finds in (
        (ENGLISH, {"dog run": {"cap"}, "straw hats": {"hat"}, "straw": {"hat"}, "a the hat": {"hat"}}),
        (PREFIX, {"STRAW": {"cap", "hat"}, "str ha": {"hat"}, "berry": set()}),
        (TextIndex(tokenizer="whitespace", lowercase=False), {"Strawberry,": {"cap"}, "strawberry": set()}),
    ):
        for _ in range(2):  # doing it again is safe
            await store.delete_payload_index(shop, "note")
            assert (await store.resolve(shop)).payload_indexes == {}
        await store.create_payload_index(shop, "note", index)
        assert (await store.get_collection(shop)).spec.payload_indexes == {"note": index}
        if store_kind == "server-local":  # it has no indexes
            continue
        for text, found in finds.items():
            assert await ids_of(store, shop, MatchText("note", text)) == found, (index, text)
        if index.phrase_matching:
            assert await ids_of(store, shop, MatchPhrase("note", "straw hats")) == {"hat"}
            assert await ids_of(store, shop, MatchPhrase("note", "hat straw")) == set()


async def test_an_index_of_places_finds_what_is_near(store, shop):
    places = {"riga": (56.95, 24.1), "oslo": (59.91, 10.75), "tallinn": (59.44, 24.75)}
    points = [StoredPoint(n, {"at": {"lat": a, "lon": o}}, image=unit(1)) for n, (a, o) in places.items()]
    await store.upsert(shop, points)
    for index in (False, True):
        if index:
            await store.create_payload_index(shop, "at", "geo")
        near = GeoRadius("at", GeoPoint(56.95, 24.1), 300_000)
        assert await ids_of(store, shop, near) == {"riga", "tallinn"}
