"""Searches by words and meaning over a real channel: what they are refused, and what their hits tell."""

from __future__ import annotations

import pytest

from clipsearch.search.v1 import collection_pb2, search_pb2
from tests.unit.search_service.served import Client, FakeEncoder, ids, refused, term, unit

HYBRID, WORDS, IMAGE = search_pb2.Hybrid(), search_pb2.TARGET_WORDS, search_pb2.TARGET_IMAGE
PAIR = search_pb2.ContextPair(positive=term(point_id="p4"), negative=term(point_id="p3"))
TITLES = ["red shoe AX-1", "red hat", "blue shoe AX-1", "green scarf", "red shoe"]


@pytest.fixture
async def goods(client: Client, encoder: FakeEncoder) -> None:
    """Images p0 to p4 on a line, p0 nearest to "first", with titles that can be looked up."""
    await client.create(bm25_field="title")
    await client.upsert(
        *(
            {
                "id": f"p{n}",
                "image_vector": unit(4 - n, n),
                "payload": {"title": title, "even": str(n % 2 == 0), "price": n},
            }
            for n, title in enumerate(TITLES)
        )
    )
    encoder.vectors |= dict.fromkeys(["first", "red", "red shoe", "AX-1", "hat", b"first"], unit(1))
    encoder.calls.clear()


async def test_a_collection_tells_the_field_and_refuses_what_is_none(client: Client):
    created = await client.create(bm25_field="about.title")
    assert created.bm25_field == "about.title"
    for field, reason in (("a..b", "KEY_INVALID"), ("_clipsearch_id", "KEY_RESERVED")):
        error = await refused(client.create("other", bm25_field=field))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, "bm25_field")


@pytest.mark.usefixtures("arc")
@pytest.mark.parametrize(
    ("field", "options"), [("hybrid", {"hybrid": HYBRID}), ("target", {"target": WORDS})]
)
async def test_a_collection_without_the_field_says_so(client: Client, field, options):
    error = await refused(client.search(term("first"), **options))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "NO_BM25_FIELD")
    assert error.metadata == {"field": field, "collection": "c"}
    assert error.message.startswith(f"{field}: collection 'c'")


@pytest.mark.usefixtures("goods")
@pytest.mark.parametrize(
    ("query", "options", "field"),
    [
        ([term(b"first")], {"hybrid": HYBRID}, "hybrid"),
        ([term(b"first"), term("red", weight=-1)], {"hybrid": HYBRID}, "hybrid"),
        ([term("red"), term(b"first")], {"target": WORDS}, "query[1]"),
        ([term("red")], {"target": WORDS, "hybrid": HYBRID}, "hybrid"),
        ([term("red"), term("é" * 40_000)], {"target": WORDS}, "query[1].text"),
        ([term("red")], {"hybrid": HYBRID, "target": IMAGE, "mmr": search_pb2.Mmr()}, "mmr"),
        ([term("red")], {"target": WORDS, "strategy": search_pb2.STRATEGY_BEST_SCORE}, "target"),
        ([term("red")], {"target": WORDS, "context": [PAIR]}, "target"),
        ([], {"target": IMAGE, "hybrid": HYBRID, "context": [PAIR]}, "hybrid"),
        ([term("red")], {"target": WORDS, "mmr": search_pb2.Mmr()}, "mmr"),
        ([term(point_id="p0", vector_name=WORDS), term("red")], {}, "query[0].vector_name"),
        ([term("red")], {"hybrid": search_pb2.Hybrid(weight=0)}, "hybrid.weight"),
        ([term("red")], {"hybrid": search_pb2.Hybrid(weight=float("nan"))}, "hybrid.weight"),
        ([term("red")], {"hybrid": search_pb2.Hybrid(weight=101)}, "hybrid.weight"),
        ([term("red")], {"fusion": search_pb2.FUSION_HYBRID}, "fusion"),
        ([term("red")], {"hybrid": HYBRID, "limit": 100, "offset": 401}, "offset"),
        ([term("red")], {"target": WORDS, "limit": 100, "offset": 401}, "offset"),
    ],
)
async def test_what_cannot_be_asked_is_told_by_its_field(client: Client, query, options, field):
    search = search_pb2.SearchRequest(collection="c", query=query, **options)
    error = await refused(client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=[search])))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", f"searches[0].{field}")


@pytest.mark.usefixtures("goods")
async def test_words_alone_score_by_bm25_without_the_encoder(client: Client, encoder: FakeEncoder):
    await encoder.stop()
    found = await client.search(term("shoes"), term("red"), target=WORDS)
    assert ids(found) == ["p4", "p0", "p1", "p2"]
    assert not found.fused
    for hit in found.hits:
        assert (hit.matched, hit.cosine, hit.weak) == (WORDS, 0, False)
        assert hit.score == hit.words_score > 0
    assert found.hits[0].payload["title"] == "red shoe"
    assert not ids(await client.search(term("the"), target=WORDS))
    assert not ids(await client.search(term("car"), target=WORDS))


@pytest.mark.usefixtures("goods")
@pytest.mark.parametrize("target", ["ANY", "IMAGE"])
async def test_hits_tell_both_ranks_and_what_they_owe_the_most(client: Client, target):
    target = search_pb2.Target.Value(f"TARGET_{target}")
    found = await client.search(term("hat"), hybrid=HYBRID, target=target, with_vectors=True)

    assert found.fused
    assert found.fusion == search_pb2.FUSION_HYBRID
    assert ids(found) == ["p1", "p0", "p2", "p3", "p4"]
    hat, shoe = found.hits[:2]
    assert (hat.matched, hat.words_rank, hat.image_rank) == (WORDS, 1, 2)
    assert hat.score == pytest.approx(1 / 3 + 1 / 4)
    assert hat.words_score > 0
    assert hat.cosine == pytest.approx(unit(3, 1)[0])
    assert (shoe.matched, shoe.words_rank, shoe.image_rank) == (search_pb2.TARGET_IMAGE, 0, 1)
    assert (shoe.score, shoe.words_score) == (pytest.approx(1 / 3), 0)
    assert all(hit.HasField("image_vector") for hit in found.hits)


@pytest.mark.usefixtures("goods")
async def test_the_share_of_the_words_and_the_weight_count(client: Client):
    found = {hit.id: hit for hit in (await client.search(term("AX-1 car hat"), hybrid=HYBRID)).hits}
    assert (found["p2"].words_rank, found["p0"].words_rank) == (1, 1)  # of equal length
    assert found["p1"].words_rank == 3
    for id, hit in found.items():
        own = 1 / (2 + hit.image_rank)
        share = {"p0": 2 / 4, "p2": 2 / 4, "p1": 1 / 4}.get(id, 0)
        words = share / (2 + hit.words_rank) if hit.words_rank else 0
        assert hit.score == pytest.approx(own + words)
    heavy = await client.search(term("AX-1 car hat"), hybrid=search_pb2.Hybrid(weight=10))
    assert {hit.matched for hit in heavy.hits[:3]} == {WORDS}


@pytest.mark.usefixtures("goods")
async def test_pages_threshold_and_filter_go_by_the_fused_ranking(client: Client):
    whole = await client.search(term("red shoe"), hybrid=HYBRID)
    pages = [
        ids(await client.search(term("red shoe"), hybrid=HYBRID, limit=2, offset=offset))
        for offset in (0, 2, 4)
    ]
    assert [id for page in pages for id in page] == ids(whole)
    threshold = whole.hits[2].score
    kept = await client.search(term("red shoe"), hybrid=HYBRID, score_threshold=threshold - 1e-6)
    assert ids(kept) == ids(whole)[:3]
    other = await client.search(term("red shoe"), term(point_id="p0"), hybrid=HYBRID)
    assert "p0" not in ids(other)


@pytest.mark.usefixtures("goods")
async def test_what_has_the_words_is_a_match(client: Client, encoder: FakeEncoder):
    encoder.weak_match_below = 0.9
    encoder.vectors["scarf"] = unit(0, 0, 1)  # like no image
    found = await client.search(term("scarf"), hybrid=HYBRID)
    assert {hit.id for hit in found.hits if not hit.weak} == {"p3"}
    assert ids(await client.search(term("scarf"), hybrid=HYBRID, only_matches=True)) == ["p3"]


@pytest.mark.usefixtures("goods")
@pytest.mark.parametrize("options", [{"strategy": search_pb2.STRATEGY_BEST_SCORE}, {"context": [PAIR]}])
async def test_words_join_the_ranking_of_a_strategy_or_context(client: Client, options):
    alone = ids(await client.search(term("hat"), target=IMAGE, **options))
    joined = await client.search(term("hat"), target=IMAGE, hybrid=HYBRID, **options)
    assert (joined.fused, joined.hits[0].id) == (True, "p1")
    for hit in joined.hits:
        assert (hit.image_rank, hit.cosine) == (alone.index(hit.id) + 1, 0)
        words = 1 / (2 + hit.words_rank) if hit.words_rank else 0
        assert hit.score == pytest.approx(1 / (2 + hit.image_rank) + words)


@pytest.mark.usefixtures("goods")
@pytest.mark.parametrize("options", [{"hybrid": HYBRID}, {"target": WORDS}])
async def test_boosts_and_groups_go_by_the_ranking_with_words(client: Client, options):
    whole = await client.search(term("red shoe"), **options)
    scores = {hit.id: hit.score for hit in whole.hits}
    price = search_pb2.Boost(popular=search_pb2.Popular(key="price", scale=1), weight=5)
    dear = await client.search(term("red shoe"), boosts=[price], **options)
    assert ids(dear) != ids(whole)
    for hit in dear.hits:
        n = hit.payload["price"]
        assert hit.boost == pytest.approx(5 * n / (n + 1), abs=1e-5)
        assert hit.score == pytest.approx(scores[hit.id] + hit.boost, abs=1e-5)

    request = search_pb2.SearchRequest(collection="c", query=[term("red shoe")], limit=2, **options)
    grouped = await client.points.SearchGroups(
        search_pb2.SearchGroupsRequest(search=request, group_by="even", group_size=2)
    )
    by_hand: dict[str, list[str]] = {}
    for hit in whole.hits:
        by_hand.setdefault(hit.payload["even"], []).append(hit.id)
    assert {group.id.keyword: ids(group) for group in grouped.groups} == {
        value: own[:2] for value, own in by_hand.items()
    }
    assert grouped.search.fused == whole.fused


@pytest.mark.usefixtures("goods")
async def test_a_successor_keeps_the_words_of_its_own_field(client: Client):
    await client.create("next", bm25_field="name")
    link = collection_pb2.SetSuccessorRequest(collection="c", successor="next")
    await client.collections.SetSuccessor(link)
    await client.upsert({"id": "new", "text": "first", "payload": {"title": "gold", "name": "silver"}})
    change = search_pb2.UpdatePayloadRequest(collection="c", ids=search_pb2.PointIds(ids=["new"]))
    change.set.update({"name": "copper"})
    await client.points.UpdatePayload(change)

    async def found(words: str, collection: str) -> list[str]:
        return ids(await client.search(term(words), target=WORDS, collection=collection))

    assert (await found("gold", "c"), await found("copper", "c")) == (["new"], [])
    assert (await found("copper", "next"), await found("silver", "next")) == (["new"], [])
