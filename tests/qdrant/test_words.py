"""The words that the service keeps are those that a server's own model `qdrant/bm25` makes."""

from __future__ import annotations

import uuid

import pytest
from qdrant_client import grpc as wire
from qdrant_client import models

from search_service.stores.bm25 import WORDS, document, question
from search_service.stores.collection import CollectionSpec
from tests.qdrant.conftest import DIMENSION, connect

TEXTS = [
    "Kitchen knife, part KX-4711",
    "the quick brown foxes were running over lazy dogs' backs",
    "Straße, naïve café, Motorräder; ab_cd 3.14 und 1,000",
    "日本語の製品 ABC123",
    "a a a b",
]


async def test_documents_and_questions_are_the_servers_own(make_nodes):
    store = connect(make_nodes(1))
    try:
        await store.create_collection(CollectionSpec("goods", DIMENSION, "f" * 32, bm25_field="title"))
        ids = [str(uuid.uuid4()) for _ in TEXTS]
        asked = wire.UpsertPoints(collection_name="goods", wait=True)
        for id, text in zip(ids, TEXTS, strict=True):
            point = asked.points.add()
            point.id.uuid = id
            words = wire.Document(text=text, model="qdrant/bm25")
            point.vectors.vectors.vectors[WORDS].document.CopyFrom(words)
        await store._client.grpc_points.Upsert(asked)

        records = {str(one.id): one for one in await store._client.retrieve("goods", ids, with_vectors=True)}
        for id, text in zip(ids, TEXTS, strict=True):
            theirs, ours = records[id].vector[WORDS], document({"title": text}, "title")
            assert dict(zip(ours.indices, ours.values, strict=True)) == pytest.approx(
                dict(zip(theirs.indices, theirs.values, strict=True))
            )

        for text in TEXTS:
            scores = []
            for nearest in (
                wire.VectorInput(document=wire.Document(text=text, model="qdrant/bm25")),
                wire.VectorInput(
                    sparse=wire.SparseVector(indices=question(text).indices, values=question(text).values)
                ),
            ):
                found = await store._client.grpc_points.Query(
                    wire.QueryPoints(
                        collection_name="goods", query=wire.Query(nearest=nearest), using=WORDS, limit=9
                    )
                )
                scores.append([(hit.id.uuid, hit.score) for hit in found.result])
            assert scores[0] == scores[1] != []
    finally:
        await store.close()


async def test_words_go_to_disk_with_the_vectors_and_stay_the_collections_own(make_nodes):
    store = connect(make_nodes(1))
    try:
        await store.create_collection(CollectionSpec("goods", DIMENSION, "f" * 32, bm25_field="title"))
        await store.update_collection("goods", {"on_disk_vectors": True})
        words = (await store._client.get_collection("goods")).config.params.sparse_vectors[WORDS]
        assert (words.index.on_disk, words.modifier) == (True, models.Modifier.IDF)
        assert (await store.resolve("goods")).bm25_field == "title"
    finally:
        await store.close()
