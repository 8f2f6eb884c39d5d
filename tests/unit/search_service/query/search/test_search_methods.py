"""What finds more than the nearest: examples, context, diversity, boosts and groups."""

from __future__ import annotations

import asyncio
import math

import pytest

from clipsearch.search.v1 import search_pb2
from search_service import turns
from search_service.query import search
from tests.unit.search_service.served import Client, ids, parse, refused, request, term

# The tests read the two collections of conftest.py: a server with both is started once.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("gap")]

ANY, IMAGE, TEXT = search_pb2.TARGET_ANY, search_pb2.TARGET_IMAGE, search_pb2.TARGET_TEXT
BEST, SUM = search_pb2.STRATEGY_BEST_SCORE, search_pb2.STRATEGY_SUM_SCORES
RRF = search_pb2.FUSION_RRF
NOWHERE = 'must { field { key: "price" range { gt: 1000 } } }'


async def test_terms_are_examples_by_strategy(client: Client):
    """On the arc, p4 lies between the examples, and the average of them finds it."""
    likes = [term(point_id="p0"), term(point_id="p8")]
    assert ids(await client.search(*likes, target=IMAGE, limit=1)) == ["p4"]
    found = await client.search(*likes, target=IMAGE, strategy=BEST, limit=3)
    assert set(ids(found)) == {"p1", "p7", "p9"}, "the nearest to either"
    assert (found.fused, found.hits[0].cosine, found.hits[0].weak) == (False, 0, False)
    assert ids(await client.search(*likes, target=IMAGE, strategy=SUM, limit=1)) == ["p4"]
    unlike = term(point_id="p8", weight=-1)
    assert ids(await client.search(term("first"), unlike, target=IMAGE, strategy=BEST))[0] == "p0"
    assert ids(await client.search(unlike, target=IMAGE, strategy=BEST))[0] == "p0", "the least like it"
    encoded = await client.search(term("last"), term(b"first"), strategy=SUM, fusion=RRF, limit=2)
    assert len(encoded.hits) == 2


async def test_context_divides_the_space(client: Client):
    nearer_the_end = search_pb2.ContextPair(positive=term("last"), negative=term(point_id="p2"))
    found = await client.search(term(point_id="p0"), context=[nearer_the_end], target=IMAGE, limit=3)
    assert ids(found) == ["p6", "p7", "p8"], "of the far half the nearest"
    alone = await client.search(context=[nearer_the_end], target=IMAGE, limit=10)
    assert {hit.id for hit in alone.hits if hit.score == 0} == {"p6", "p7", "p8", "p9"}
    assert "p2" not in ids(alone)


async def test_of_a_stored_point_the_vector_that_is_named_is_meant(client: Client):
    both = {
        name: await client.search(
            term(point_id="both", vector_name=name), target=TEXT, limit=1, collection="gap"
        )
        for name in (search_pb2.TARGET_UNSPECIFIED, IMAGE, TEXT)
    }
    scores = {name: found.hits[0].score for name, found in both.items()}
    assert scores[search_pb2.TARGET_UNSPECIFIED] == scores[IMAGE] < scores[TEXT]
    why = await refused(client.search(term("first"), term(point_id="p0", vector_name=TEXT)))
    assert (why.code, why.reason, why.field) == ("INVALID_ARGUMENT", "VECTOR_MISSING", "query[1].vector_name")


@pytest.mark.parametrize(
    ("terms", "fields", "field"),
    [
        ([term("a", weight=2)], {"strategy": BEST, "target": IMAGE}, "query[0].weight"),
        ([term("a")], {"strategy": BEST}, "fusion"),
        ([term("a")], {"strategy": 9}, "strategy"),
        ([term("a")], {"context": [search_pb2.ContextPair(positive=term("a"))]}, "context[0].negative"),
        (
            [],
            {"context": [search_pb2.ContextPair(positive=term("a"), negative=term("b"))]},
            "fusion",
        ),
        (
            [],
            {"context": [search_pb2.ContextPair(positive=term("a", weight=1), negative=term("b"))]},
            "context[0].positive.weight",
        ),
        (
            [],
            {
                "context": [search_pb2.ContextPair(positive=term("a"), negative=term(" "))],
                "target": IMAGE,
            },
            "context[0].negative.text",
        ),
        (
            [term("a")],
            {"context": [search_pb2.ContextPair(positive=term("a"), negative=term("b"))], "strategy": SUM},
            "strategy",
        ),
        ([term("a")], {"context": [search_pb2.ContextPair()] * 17}, "context"),
        ([term("a", vector_name=IMAGE)], {}, "query[0].vector_name"),
        ([term(point_id="p0", vector_name=9)], {}, "query[0].vector_name"),
    ],
)
async def test_examples_that_cannot_be_taken_are_told_by_field(client: Client, terms, fields, field):
    why = await refused(client.search(*terms, **fields))
    assert (why.code, why.field) == ("INVALID_ARGUMENT", field)


async def test_diverse_hits_are_chosen_from_the_nearest(client: Client):
    def mmr(**fields) -> search_pb2.Mmr:
        return search_pb2.Mmr(**fields)

    found = await client.search(term("first"), target=IMAGE, limit=3, mmr=mmr(diversity=0.9))
    assert ids(found)[:2] == ["p0", "p9"], "after the nearest what is least like it"
    assert found.hits[1].score == found.hits[1].cosine == pytest.approx(math.cos(0.9), abs=1e-5)
    plain = await client.search(term("first"), target=IMAGE, limit=3, mmr=mmr(diversity=0))
    assert ids(plain) == ["p0", "p1", "p2"]
    few = await client.search(
        term("first"), target=IMAGE, limit=2, offset=1, mmr=mmr(diversity=0.9, candidates_limit=4)
    )
    assert ids(few)[0] == "p3"
    for fields, field in (
        ({"target": ANY}, "mmr"),
        ({"strategy": SUM}, "mmr"),
        ({"mmr": mmr(diversity=1.1)}, "mmr.diversity"),
        ({"mmr": mmr(diversity=math.nan)}, "mmr.diversity"),
        ({"mmr": mmr(candidates_limit=101)}, "mmr.candidates_limit"),
        ({"mmr": mmr(candidates_limit=9)}, "mmr.candidates_limit"),
    ):
        why = await refused(client.search(term("first"), **{"target": IMAGE, "mmr": mmr(), **fields}))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field)


async def test_other_calls_get_their_turn_between_the_payloads_that_boosts_look_at(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    looked, seen = [], set[int]()

    async def watch() -> None:
        while True:
            seen.add(len(looked))
            await asyncio.sleep(0)

    monkeypatch.setattr(turns, "_TURN_S", 0)
    monkeypatch.setattr(search, "sum_of", lambda boosts, payload: float(looked.append(payload) is None))
    boost = search_pb2.Boost(popular=search_pb2.Popular(key="price", scale=1))
    watching = asyncio.create_task(watch())
    await client.search(term("first"), boosts=[boost])
    watching.cancel()
    assert seen == set(range(len(looked) + 1))
    assert len(looked) > 1


async def test_boosts_raise_the_best_hits(client: Client):
    def popular(key: str = "price", scale: float = 1, **fields) -> search_pb2.Boost:
        return search_pb2.Boost(popular=search_pb2.Popular(key=key, scale=scale), **fields)

    found = await client.search(term("first"), limit=3, boosts=[popular()])
    assert ids(found) == ["p4", "p5", "p3"], "neither the nearest nor the dearest"
    for hit in found.hits:
        assert hit.score == pytest.approx(hit.cosine + hit.boost, abs=1e-5)
        assert hit.boost == pytest.approx(hit.payload["price"] / (hit.payload["price"] + 1), abs=1e-5)
    few = await client.search(term("first"), limit=3, boosts=[popular()], boost_candidates=4)
    assert ids(few) == ["p3", "p2", "p1"]
    later = await client.search(term("first"), limit=1, offset=1, boosts=[popular()], score_threshold=1.7)
    assert ids(later) == ["p5"]
    groups = await client.points.SearchGroups(
        search_pb2.SearchGroupsRequest(
            search=request(term("first"), limit=2, boosts=[popular()]), group_by="brand", group_size=1
        )
    )
    assert [(g.id.keyword, g.hits[0].id) for g in groups.groups] == [("even", "p4"), ("odd", "p5")]
    for fields, field in (
        ({"boosts": [search_pb2.Boost()]}, "boosts[0]"),
        ({"boosts": [popular(), popular("a..b")]}, "boosts[1].popular.key"),
        ({"boosts": [popular("nowhere")]}, "boosts[0].popular.key"),
        ({"boosts": [popular("nowhere")], "filter": parse(NOWHERE)}, "boosts[0].popular.key"),
        ({"boosts": [popular("brand")]}, "boosts[0].popular.key"),
        ({"boosts": [popular("shop.city")]}, "boosts[0].popular.key"),
        ({"boosts": [popular(scale=0)]}, "boosts[0].popular.scale"),
        ({"boosts": [popular(weight=math.inf)]}, "boosts[0].weight"),
        ({"boosts": [search_pb2.Boost(newer={"key": "price", "scale_s": 1})]}, "boosts[0].newer.key"),
        ({"boosts": [search_pb2.Boost(nearer={"key": "shop.at", "scale_m": 1})]}, "boosts[0].nearer.key"),
        ({"boosts": [search_pb2.Boost(nearer={"key": "price", "scale_m": 1})]}, "boosts[0].nearer.key"),
        ({"boosts": [search_pb2.Boost(nearer={"key": "shop", "scale_m": 1})]}, "boosts[0].nearer.key"),
        (
            {"boosts": [search_pb2.Boost(nearer={"key": "at", "lat": 91, "scale_m": 1})]},
            "boosts[0].nearer.lat",
        ),
        ({"boosts": [popular()] * 17}, "boosts"),
        ({"boosts": [popular()], "boost_candidates": 9}, "boost_candidates"),
        ({"boosts": [popular()], "boost_candidates": 101}, "boost_candidates"),
        ({"boost_candidates": 10}, "boost_candidates"),
        ({"boosts": [popular()], "mmr": search_pb2.Mmr(), "target": IMAGE}, "mmr"),
    ):
        why = await refused(client.search(term("first"), **fields))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field)


async def test_hits_are_grouped_by_a_field(client: Client):
    async def groups(**fields) -> search_pb2.SearchGroupsResponse:
        asked = {"search": request(term("first"), limit=2), "group_by": "brand", **fields}
        return await client.points.SearchGroups(search_pb2.SearchGroupsRequest(**asked))

    found = await groups()
    assert [(g.id.keyword, [hit.id for hit in g.hits]) for g in found.groups] == [
        ("even", ["p0", "p2", "p4"]),
        ("odd", ["p1", "p3", "p5"]),
    ]
    assert found.groups[0].hits[0].payload["shop"]["city"] == "Ulm"
    assert (found.search.fingerprint, len(found.search.hits)) == ("fake-1", 0)
    assert found.search.timings.encode_ms > 0
    [ulm] = (await groups(group_by="shop.city", group_size=1)).groups
    assert (ulm.id.keyword, [hit.id for hit in ulm.hits]) == ("Ulm", ["p0"])
    for fields, field in (
        ({"group_by": "a..b"}, "group_by"),
        ({"group_by": "nowhere"}, "group_by"),
        ({"group_by": "shop"}, "group_by"),
        ({"group_by": "price"}, "group_by"),
        ({"group_size": 51}, "group_size"),
        ({"search": request(term("first"), offset=1)}, "search.offset"),
        ({"search": request(term("first"), limit=101)}, "search.limit"),
        ({"search": request()}, "search.query"),
        ({"search": request(term(" "))}, "search.query[0].text"),
    ):
        why = await refused(groups(**fields))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", field)
