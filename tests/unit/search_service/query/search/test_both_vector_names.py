"""Searches over both vector names: which of them are asked, and how their hits become one ranking."""

from __future__ import annotations

import pytest

from clipsearch.search.v1 import search_pb2
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.served import Client, ids, parse, refused, term, unit

# The tests read the two collections of conftest.py: a server with both is started once.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("gap")]

ANY, IMAGE, TEXT = search_pb2.TARGET_ANY, search_pb2.TARGET_IMAGE, search_pb2.TARGET_TEXT
RRF = search_pb2.FUSION_RRF


async def test_a_fused_hit_says_where_it_stood_by_either_name(client: Client):
    answer = await client.search(term("query"), collection="gap", limit=20, fusion=RRF)
    found = {hit.id: hit for hit in answer.hits}
    assert len(found) == 13
    assert (found["caption0"].text_rank, found["caption0"].image_rank) == (1, 0)
    assert (found["picture0"].image_rank, found["picture0"].text_rank) == (1, 0)
    both = found["both"]
    # It lies exactly where picture1 and caption1 lie, and "both" comes before either by its id.
    assert (both.image_rank, both.text_rank, both.matched) == (2, 2, IMAGE)
    assert both.score == pytest.approx(2 / 62)
    assert both.cosine == pytest.approx(float(unit(0.26, 0, 0.9, 0.02)[0]), abs=1e-5)
    assert both.payload["kind"] == "both"


async def test_a_filter_changes_no_score(client: Client):
    scores = {
        hit.id: hit.score for hit in (await client.search(term("query"), collection="gap", limit=13)).hits
    }
    only = parse('must { has_id { ids: ["picture0", "picture3"] } }')
    found = await client.search(term("query"), collection="gap", filter=only)
    assert found.fused
    assert {hit.id: hit.score for hit in found.hits} == {id: scores[id] for id in ("picture0", "picture3")}


async def test_one_vector_name_alone_keeps_its_cosines_until_the_other_comes(client: Client):
    alone = {"collection": "alone"}
    await client.create("alone")
    await client.upsert({"id": "image", "image_vector": unit(1)}, **alone)
    found = await client.search(term("first"), **alone)
    assert not found.fused
    assert found.hits[0].score == found.hits[0].cosine
    await client.upsert({"id": "words", "text_vector": unit(1)}, **alone)
    assert (await client.search(term("first"), **alone)).fused
    await client.points.DeletePoints(
        search_pb2.DeletePointsRequest(collection="alone", ids=search_pb2.PointIds(ids=["words"]))
    )
    assert not (await client.search(term("first"), **alone)).fused


async def test_a_vector_name_that_has_no_vectors_is_not_asked(client: Client, monkeypatch):
    asked: list[str] = []
    query = QdrantEdge.query

    async def noted(self, collection, queries, **options):
        asked.extend(one.name for one in queries)
        return await query(self, collection, queries, **options)

    monkeypatch.setattr(QdrantEdge, "query", noted)
    await client.create("images")
    assert ids(await client.search(term("first"), collection="images")) == []
    assert asked == []
    await client.upsert({"id": "image", "image_vector": unit(1)}, collection="images")
    for target in (ANY, TEXT):
        await client.search(term("first"), collection="images", target=target)
    assert asked == ["image", "text"]


@pytest.mark.parametrize("fusion", [RRF, search_pb2.FUSION_DBSF])
@pytest.mark.parametrize("target", [ANY, search_pb2.TARGET_UNSPECIFIED])
async def test_methods_that_rank_refuse_hits_beyond_their_depth(client: Client, fusion, target, settings):
    assert settings.max_window == 500
    within = await client.search(term("first"), fusion=fusion, target=target, limit=100, offset=400)
    assert ids(within) == []
    why = await refused(client.search(term("first"), fusion=fusion, target=target, limit=2, offset=499))
    assert (why.code, why.field) == ("INVALID_ARGUMENT", "offset")


async def test_the_kind_of_a_ready_vector_may_be_said_and_only_its(client: Client):
    as_text, as_image = [
        (await client.search(term(unit(1), kind=kind), collection="gap", limit=13)).hits
        for kind in (search_pb2.TERM_KIND_TEXT, search_pb2.TERM_KIND_IMAGE)
    ]
    by_words = (await client.search(term("query"), collection="gap", limit=13)).hits
    assert [(hit.id, hit.score) for hit in as_text] == [(hit.id, hit.score) for hit in by_words]
    assert [hit.score for hit in as_image] != [hit.score for hit in as_text]
    why = await refused(client.search(term("query", kind=search_pb2.TERM_KIND_TEXT), collection="gap"))
    assert why.field == "query[0].kind"
    why = await refused(client.search(term(unit(1), kind=7), collection="gap"))
    assert why.field == "query[0].kind"
