"""Collections over a real channel."""

from __future__ import annotations

import math

from clipsearch.search.v1 import collection_pb2 as pb
from tests.unit.search_service.served import DIMENSION, Client, FakeEncoder, refused, unit

KEYWORD, INTEGER = pb.PAYLOAD_INDEX_TYPE_KEYWORD, pb.PAYLOAD_INDEX_TYPE_INTEGER
TEXT = pb.PAYLOAD_INDEX_TYPE_TEXT


async def describe(client: Client, name: str = "c") -> pb.Collection:
    return (await client.collections.GetCollection(pb.GetCollectionRequest(name=name))).collection


async def set_alias(client: Client, alias: str, collection: str) -> str:
    request = pb.UpdateAliasRequest(alias=alias, collection=collection)
    return (await client.collections.UpdateAlias(request)).previous_collection


async def test_a_collection_takes_the_encoders_model(client: Client):
    created = await client.create()
    assert (created.fingerprint, created.dimension, created.model) == ("fake-1", DIMENSION, "fake")
    assert (created.points, created.shard_number) == (0, 1)
    assert await describe(client) == created


async def test_ready_vectors_need_no_encoder(client: Client, encoder: FakeEncoder):
    await encoder.stop()
    created = await client.create(dimension=3, fingerprint="mine")
    assert (created.fingerprint, created.dimension, created.model) == ("mine", 3, "")
    named = await client.create("named", dimension=3, fingerprint="mine", model="toy")
    assert (named.fingerprint, named.dimension, named.model) == ("mine", 3, "toy")


async def test_settings_are_kept_and_counts_told(client: Client):
    await client.create(
        payload_indexes=[
            pb.PayloadIndex(field="price", type=INTEGER),
            pb.PayloadIndex(field="shop", type=KEYWORD, is_tenant=True),
        ],
        hnsw=pb.HnswConfig(m=8, ef_construct=64, full_scan_threshold_kb=500, on_disk=True),
        quantization=pb.QUANTIZATION_SCALAR,
        quantization_params=pb.QuantizationParams(quantile=0.99, always_ram=True),
        on_disk_vectors=True,
        on_disk_payload=False,
    )
    await client.upsert(
        {"id": "a", "text": "words"},
        {"id": "b", "image": b"picture"},
        {"id": "c", "text": "words", "image": b"picture"},
    )
    found = await describe(client)
    assert (found.points, found.image_vectors, found.text_vectors) == (3, 2, 2)
    assert found.hnsw == pb.HnswConfig(m=8, ef_construct=64, full_scan_threshold_kb=500, on_disk=True)
    assert found.quantization == pb.QUANTIZATION_SCALAR
    assert found.quantization_params == pb.QuantizationParams(quantile=0.99, always_ram=True)
    assert (found.on_disk_vectors, found.on_disk_payload) == (True, False)
    assert found.disk_bytes > 0
    assert found.default_candidates == 100
    assert [(index.field, index.type, index.is_tenant) for index in found.payload_indexes] == [
        ("price", INTEGER, False),
        ("shop", KEYWORD, True),
    ]


async def test_creating_needs_the_encoder_and_says_so(client: Client, encoder: FakeEncoder):
    await encoder.stop()
    refusal = await refused(client.create())
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
    await encoder.start()
    assert (await client.collections.ListCollections(pb.ListCollectionsRequest())).collections == []


def params(quantization: str, **values: object) -> dict[str, object]:
    number = pb.Quantization.Value(f"QUANTIZATION_{quantization.upper()}")
    return {"quantization": number, "quantization_params": pb.QuantizationParams(**values)}


def text_index(**options: object) -> dict[str, object]:
    text = pb.TextIndexParams(**options)
    return {"payload_indexes": [pb.PayloadIndex(field="a", type=TEXT, text=text)]}


BAD_SETTINGS = [
    ({"name": ""}, "name"),
    ({"dimension": 3}, "fingerprint"),
    ({"fingerprint": "f"}, "dimension"),
    ({"dimension": 65536, "fingerprint": "f"}, "dimension"),
    ({"dimension": 3, "fingerprint": "f" * 257}, "fingerprint"),
    ({"hnsw": pb.HnswConfig(m=3)}, "hnsw.m"),
    ({"hnsw": pb.HnswConfig(ef_construct=4097)}, "hnsw.ef_construct"),
    ({"hnsw": pb.HnswConfig(full_scan_threshold_kb=9)}, "hnsw.full_scan_threshold_kb"),
    ({"quantization": 9}, "quantization"),
    (params("scalar", quantile=0.4), "quantization_params.quantile"),
    (params("scalar", quantile=math.nan), "quantization_params.quantile"),
    (params("binary", quantile=0.99), "quantization_params.quantile"),
    (params("scalar", encoding=pb.BINARY_ENCODING_TWO_BITS), "quantization_params.encoding"),
    (params("binary", encoding=9), "quantization_params.encoding"),
    (params("binary", query_encoding=9), "quantization_params.query_encoding"),
    (params("product", compression=5), "quantization_params.compression"),
    (params("turbo", bits=3), "quantization_params.bits"),
    (params("none", always_ram=True), "quantization_params.always_ram"),
    ({"shard_number": 2}, "shard_number"),
    ({"replication_factor": 2}, "replication_factor"),
    ({"shard_number": 1025}, "shard_number"),
    ({"replication_factor": 65}, "replication_factor"),
    ({"write_consistency_factor": 2}, "write_consistency_factor"),
    ({"payload_indexes": [pb.PayloadIndex(field="a")]}, "payload_indexes[0].type"),
    ({"payload_indexes": [pb.PayloadIndex(field="a", type=99)]}, "payload_indexes[0].type"),
    ({"payload_indexes": [pb.PayloadIndex(type=KEYWORD)]}, "payload_indexes[0].field"),
    (text_index(tokenizer=9), "payload_indexes[0].text.tokenizer"),
    (text_index(min_token_len=3, max_token_len=2), "payload_indexes[0].text.min_token_len"),
    (text_index(max_token_len=1001), "payload_indexes[0].text.max_token_len"),
    (text_index(stemmer="klingon"), "payload_indexes[0].text.stemmer"),
    (text_index(stopwords=pb.Stopwords(languages=["en"])), "payload_indexes[0].text.stopwords.languages[0]"),
    (text_index(stopwords=pb.Stopwords(custom=["a", " "])), "payload_indexes[0].text.stopwords.custom[1]"),
    (
        {"payload_indexes": [pb.PayloadIndex(field="a", type=KEYWORD, text=pb.TextIndexParams())]},
        "payload_indexes[0].text",
    ),
    (
        {"payload_indexes": [pb.PayloadIndex(field="a", type=INTEGER, is_tenant=True)]},
        "payload_indexes[0].is_tenant",
    ),
    (
        {
            "payload_indexes": [
                pb.PayloadIndex(field="a", type=KEYWORD),
                pb.PayloadIndex(field="a", type=INTEGER),
            ]
        },
        "payload_indexes[1].field",
    ),
]


async def test_bad_settings_are_told_by_field_and_make_nothing(client: Client):
    for fields, field in BAD_SETTINGS:
        why = await refused(client.create(**fields))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field), fields
    assert (await client.collections.ListCollections(pb.ListCollectionsRequest())).collections == []


async def test_collections_are_listed_by_name_and_deleted_with_their_aliases(client: Client):
    for name in ("b", "a", "c"):
        await client.create(name)
    await set_alias(client, "x", "b")
    await client.collections.DeleteCollection(pb.DeleteCollectionRequest(name="b"))
    listed = (await client.collections.ListCollections(pb.ListCollectionsRequest())).collections
    assert [collection.name for collection in listed] == ["a", "c"]
    refusal = await refused(describe(client, "x"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "COLLECTION_NOT_FOUND")


async def test_an_alias_moves_and_points_at_a_collection_that_is_there_and_itself(client: Client):
    for name in ("a", "b"):
        await client.create(name)
    assert await set_alias(client, "x", "b") == ""
    assert await set_alias(client, "x", "a") == "b"
    assert (await describe(client, "x")).name == "a"
    assert (await refused(set_alias(client, "y", "nowhere"))).code == "NOT_FOUND"
    refusal = await refused(set_alias(client, "y", "x"))
    assert (refusal.code, refusal.field) == ("INVALID_ARGUMENT", "collection")
    assert "'x' is an alias of 'a'" in refusal.message
    assert (await refused(set_alias(client, "y", ""))).reason == "ALIAS_NOT_FOUND"
    refusal = await refused(set_alias(client, "a/b", "a"))
    assert (refusal.code, refusal.field) == ("INVALID_ARGUMENT", "alias")


async def test_a_collection_is_not_deleted_through_its_alias(client: Client):
    await client.create("a")
    await set_alias(client, "x", "a")
    refusal = await refused(client.collections.DeleteCollection(pb.DeleteCollectionRequest(name="x")))
    assert (refusal.code, refusal.field) == ("INVALID_ARGUMENT", "name")
    assert (await describe(client, "a")).aliases == ["x"]
    refusal = await refused(client.collections.DeleteCollection(pb.DeleteCollectionRequest(name="y")))
    assert refusal.code == "NOT_FOUND"


async def test_a_payload_index_is_added_later_and_shown(client: Client):
    await client.create(dimension=DIMENSION, fingerprint="mine")
    await client.upsert({"id": "a", "image_vector": unit(1), "payload": {"price": 3}})

    async def add(field: str, type: int) -> None:
        index = pb.PayloadIndex(field=field, type=type)
        await client.collections.CreatePayloadIndex(pb.CreatePayloadIndexRequest(collection="c", index=index))

    await add("price", INTEGER)
    await add("price", INTEGER)
    assert [(index.field, index.type) for index in (await describe(client)).payload_indexes] == [
        ("price", INTEGER)
    ]
    assert (await refused(add("price", KEYWORD))).code == "FAILED_PRECONDITION"
    assert (await refused(add("a..b", KEYWORD))).field == "index.field"
    assert (await refused(add("a", 0))).field == "index.type"
    remove = client.collections.DeletePayloadIndex
    assert (await refused(remove(pb.DeletePayloadIndexRequest(collection="c")))).field == "field"
    await remove(pb.DeletePayloadIndexRequest(collection="c", field="price"))
    assert not (await describe(client)).payload_indexes
    await add("price", KEYWORD)


async def change(client: Client, name: str = "c", **settings: object) -> pb.Collection:
    request = pb.UpdateCollectionRequest(name=name, **settings)
    return (await client.collections.UpdateCollection(request)).collection


async def test_settings_are_changed_and_the_others_stay(client: Client):
    made = await client.create(quantization=pb.QUANTIZATION_SCALAR, on_disk_vectors=True)
    await set_alias(client, "alias", "c")
    hnsw = pb.HnswConfigDiff(m=8, on_disk=True)
    changed = await change(client, "alias", hnsw=hnsw, on_disk_vectors=False)
    assert (changed.hnsw.m, changed.hnsw.on_disk, changed.on_disk_vectors) == (8, True, False)
    assert (changed.quantization, changed.fingerprint) == (made.quantization, made.fingerprint)
    params = pb.QuantizationParams(quantile=0.9)
    assert (await change(client, quantization_params=params)).quantization_params.quantile == 0.9
    changed = await change(client, quantization=pb.QUANTIZATION_PRODUCT)
    assert (changed.quantization_params.quantile, changed.quantization_params.compression) == (0, 16)
    assert changed == await describe(client)


BAD_CHANGES = [
    ({}, "INVALID_ARGUMENT", "request"),
    ({"hnsw": pb.HnswConfigDiff(m=0)}, "INVALID_ARGUMENT", "hnsw.m"),
    ({"hnsw": pb.HnswConfigDiff(ef_construct=3)}, "INVALID_ARGUMENT", "hnsw.ef_construct"),
    ({"quantization": 99}, "INVALID_ARGUMENT", "quantization"),
    ({"quantization_params": pb.QuantizationParams(bits=1)}, "INVALID_ARGUMENT", "quantization_params.bits"),
    ({"replication_factor": 0}, "INVALID_ARGUMENT", "replication_factor"),
    ({"replication_factor": 65}, "INVALID_ARGUMENT", "replication_factor"),
    (
        {"replication_factor": 2, "write_consistency_factor": 3},
        "INVALID_ARGUMENT",
        "write_consistency_factor",
    ),
    (
        {"optimizers": pb.OptimizersConfig(deleted_threshold=1.5)},
        "INVALID_ARGUMENT",
        "optimizers.deleted_threshold",
    ),
    ({"optimizers": pb.OptimizersConfig(max_segment_size_kb=9)}, "FAILED_PRECONDITION", "optimizers"),
    ({"quantization": pb.QUANTIZATION_NONE}, "FAILED_PRECONDITION", "quantization"),
]


async def test_a_change_that_cannot_be_is_refused_by_its_field(client: Client):
    made = await client.create(quantization=pb.QUANTIZATION_SCALAR)
    for settings, code, field in BAD_CHANGES:
        refusal = await refused(change(client, **settings))
        assert (refusal.code, refusal.field) == (code, field), settings
    assert await describe(client) == made


async def test_the_options_of_a_text_index_are_shown(client: Client):
    usual = pb.PayloadIndex(field="usual", type=TEXT, text=pb.TextIndexParams(lowercase=True))
    options = pb.TextIndexParams(
        tokenizer=pb.TOKENIZER_TYPE_PREFIX,
        lowercase=False,
        min_token_len=1,
        max_token_len=9,
        stemmer="english",
        stopwords=pb.Stopwords(languages=["english"], custom=["b", "a", "b"]),
        phrase_matching=True,
    )
    await client.create(payload_indexes=[usual, pb.PayloadIndex(field="note", type=TEXT, text=options)])
    note, shown = (await describe(client)).payload_indexes
    assert not shown.HasField("text")
    options.stopwords.custom[:] = ["a", "b"]
    assert note.text == options
