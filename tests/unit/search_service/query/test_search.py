"""Searching over a real channel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytest_asyncio

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.served import (
    CONTEXT,
    DIMENSION,
    Client,
    FakeEncoder,
    fill_arc,
    ids,
    parse,
    refused,
    request,
    serving,
    term,
    unit,
)

# The tests read two collections, and write to none of them: a server with both is started once.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("gap")]

ANY, IMAGE, TEXT = search_pb2.TARGET_ANY, search_pb2.TARGET_IMAGE, search_pb2.TARGET_TEXT
RRF = search_pb2.FUSION_RRF
F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder():
    fake = FakeEncoder()
    await fake.start()
    yield fake
    await fake.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory, encoder: FakeEncoder, settings):
    async with serving(tmp_path_factory.mktemp("search"), encoder.address, settings) as client:
        await fill_arc(client, encoder)
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gap(client: Client, encoder: FakeEncoder) -> None:
    """Images, captions and items with both, as a CLIP model places them: texts lie far nearer to a text.

    Relevance falls from 0 to 5 within images and within captions alike.
    """
    await client.create("gap")
    query, text_axis = unit(1), unit(0, 1)

    def caption(i: int) -> np.ndarray:
        return unit(0.9 - 0.05 * i, 0.4, 0.02 * i)

    def picture(i: int) -> np.ndarray:
        return unit(0.30 - 0.04 * i, 0, 0.9, 0.02 * i)

    assert picture(0) @ query < caption(5) @ query, "the gap is there"
    assert abs(text_axis @ query) < 1e-6
    await client.upsert(
        *({"id": f"picture{i}", "image_vector": picture(i)} for i in range(6)),
        *({"id": f"caption{i}", "text_vector": caption(i)} for i in range(6)),
        {"id": "both", "image_vector": picture(1), "text_vector": caption(1), "payload": {"kind": "both"}},
        collection="gap",
    )
    encoder.vectors["query"] = query


@pytest.fixture(autouse=True)
def nothing_called(encoder: FakeEncoder) -> None:
    encoder.calls.clear()


@pytest.mark.parametrize("kind", ["text", "image", "vector", "point_id"])
async def test_every_kind_of_term_finds_its_nearest(client: Client, encoder: FakeEncoder, kind):
    terms = {
        "text": term("first"),
        "image": term(b"first"),
        "vector": term(7 * unit(1)),
        "point_id": term(point_id="p0"),
    }
    found = await client.search(terms[kind], target=IMAGE, limit=3)
    assert ids(found) == (["p1", "p2", "p3"] if kind == "point_id" else ["p0", "p1", "p2"])
    assert found.hits[0].score == pytest.approx(math.cos(0.1) if kind == "point_id" else 1, abs=1e-5)
    assert found.fingerprint == "fake-1"
    assert (found.timings.encode_ms > 0) == (kind in ("text", "image"))
    assert found.timings.store_ms > 0


BEST, SUM = search_pb2.STRATEGY_BEST_SCORE, search_pb2.STRATEGY_SUM_SCORES


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
        ({"boosts": [popular("brand")]}, "boosts[0].popular.key"),
        ({"boosts": [popular("shop.city")]}, "boosts[0].popular.key"),
        ({"boosts": [popular(scale=0)]}, "boosts[0].popular.scale"),
        ({"boosts": [popular(weight=math.inf)]}, "boosts[0].weight"),
        ({"boosts": [search_pb2.Boost(newer={"key": "price", "scale_s": 1})]}, "boosts[0].newer.key"),
        ({"boosts": [search_pb2.Boost(nearer={"key": "shop.at", "scale_m": 1})]}, "boosts[0].nearer.key"),
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


async def test_hits_carry_payload_name_and_cosine(client: Client):
    [hit] = (await client.search(term("first"), limit=1)).hits
    assert (hit.matched, hit.image_rank, hit.text_rank) == (IMAGE, 0, 0)
    assert hit.score == hit.cosine == pytest.approx(1, abs=1e-5)
    assert hit.payload["shop"]["city"] == "Ulm"
    assert not hit.HasField("image_vector")


async def test_ten_hits_are_the_default(client: Client):
    assert len((await client.search(term("query"), collection="gap")).hits) == 10


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_vectors_and_parts_of_the_payload_on_request(client: Client, target):
    [hit] = (
        await client.search(
            term("first"),
            target=target,
            limit=1,
            with_vectors=True,
            vector_format=F32,
            payload=search_pb2.PayloadSelector(include=["price", "shop.city"]),
        )
    ).hits
    assert np.frombuffer(hit.image_vector.f32, "<f4") == pytest.approx(unit(1), abs=1e-6)
    assert not hit.HasField("text_vector")
    assert set(hit.payload) == {"price", "shop"}
    [bare] = (
        await client.search(
            term("first"), target=target, limit=1, payload=search_pb2.PayloadSelector(none=True)
        )
    ).hits
    assert not bare.payload.fields
    [floats] = (await client.search(term("first"), target=target, limit=1, with_vectors=True)).hits
    assert len(floats.image_vector.values) == DIMENSION


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_hits_below_the_threshold_are_left_out(client: Client, target):
    found = await client.search(term("first"), target=target, score_threshold=math.cos(0.25))
    assert ids(found) == ["p0", "p1", "p2"]


async def test_an_exact_search_and_its_parameters_pass(client: Client):
    params = search_pb2.SearchParams(
        exact=True, hnsw_ef=64, quantization_rescore=False, quantization_oversampling=2
    )
    assert ids(await client.search(term("first"), target=IMAGE, limit=1, params=params)) == ["p0"]


async def test_filters_narrow_the_answer(client: Client):
    odd = 'must { field { key: "brand" match { keyword: "odd" } } } must_not { has_id { ids: "p1" } }'
    found = await client.search(term("first"), filter=parse(odd), limit=2)
    assert ids(found) == ["p3", "p5"]


UNKNOWN = 'must { filter { should { field { key: "prize" range { lt: 5 } } } } }'


@pytest.mark.parametrize("target", [IMAGE, ANY])
async def test_a_field_that_no_point_has_is_told_by_name(client: Client, target):
    why = await refused(client.search(term("first"), filter=parse(UNKNOWN), target=target))
    assert (why.code, why.reason) == ("INVALID_ARGUMENT", "FILTER_FIELD_UNKNOWN")
    assert why.field == "filter.must[0].filter.should[0].field"
    assert "'prize'" in why.message


async def test_a_field_is_known_by_its_index_and_nothing_is_in_an_empty_collection(client: Client):
    prize = collection_pb2.PayloadIndex(field="prize", type=collection_pb2.PAYLOAD_INDEX_TYPE_FLOAT)
    await client.create("empty")
    assert ids(await client.search(term("first"), filter=parse(UNKNOWN), collection="empty")) == []
    await client.create("indexed", payload_indexes=[prize])
    await client.upsert({"id": "a", "image_vector": unit(1)}, collection="indexed")
    assert ids(await client.search(term("first"), filter=parse(UNKNOWN), collection="indexed")) == []


async def test_a_page_past_the_end_of_a_filtered_search_is_empty(client: Client):
    city = parse('must { field { key: "shop.city" match { keyword: "Ulm" } } }')
    assert ids(await client.search(term("first"), filter=city, target=IMAGE, offset=400)) == []


async def test_a_query_of_several_terms_lies_between_them_and_away_from_negatives(client: Client):
    between = await client.search(term("first", weight=1), term("last", weight=1), target=IMAGE, limit=2)
    assert set(ids(between)) == {"p4", "p5"}
    away = await client.search(term("last"), term("first", weight=-0.9), target=IMAGE, limit=1)
    assert ids(away) == ["p9"]


async def test_a_stored_point_asks_with_its_image_or_else_its_text_and_is_not_found(client: Client):
    for asking, nearest in (("both", "picture1"), ("caption0", "picture0")):
        found = await client.search(term(point_id=asking), collection="gap", target=IMAGE, limit=1)
        assert ids(found) == [nearest]
    away = await client.search(term("first"), term(point_id="p0", weight=-0.1), target=IMAGE, limit=2)
    assert ids(away) == ["p1", "p2"]


async def test_a_long_text_is_cut_and_told(client: Client):
    found = await client.search(term("first"), term("x" * (CONTEXT + 3), weight=0.01))
    assert dict(found.tokens_dropped) == {1: 3}


async def test_nothing_is_encoded_twice_or_without_need(client: Client, encoder: FakeEncoder):
    await client.search(term("first"), term("last"), term(b"first"), term(unit(1)), term(point_id="p1"))
    assert sorted(encoder.calls) == [("EncodeImage", 1), ("EncodeText", 2)]


# Both vector names


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


# Batches


async def batch(client: Client, *searches: search_pb2.SearchRequest) -> search_pb2.SearchBatchResponse:
    return await client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=searches))


async def test_a_batch_answers_as_its_searches_alone(client: Client, encoder: FakeEncoder):
    searches = [
        request(term("first"), limit=3, target=IMAGE),
        request(term("query"), collection="gap"),
        request(term(b"first"), term("last", weight=0.5), limit=2),
        request(term(point_id="p3"), limit=2, payload=search_pb2.PayloadSelector(none=True)),
        request(term("query"), collection="gap", limit=3, offset=2, with_vectors=True, vector_format=F32),
    ]
    alone = [await client.points.Search(search) for search in searches]
    encoder.calls.clear()
    together = (await batch(client, *searches)).results
    assert sorted(encoder.calls) == [("EncodeImage", 1), ("EncodeText", 4)]
    for single, of_batch in zip(alone, together, strict=True):
        single.ClearField("timings")
        of_batch.ClearField("timings")
        assert of_batch == single


WRONG = [
    (request(), "INVALID_ARGUMENT", "searches[1].query"),
    (request(term(" ")), "INVALID_ARGUMENT", "searches[1].query[0].text"),
    (request(term("first"), filter=parse("must {}")), "INVALID_ARGUMENT", "searches[1].filter.must[0]"),
    (request(term("first"), collection="nowhere"), "NOT_FOUND", "searches[1]"),
    (request(term(point_id="nobody")), "NOT_FOUND", "searches[1]"),
    (request(term("first"), fingerprint="other"), "FAILED_PRECONDITION", "searches[1]"),
]


async def test_one_wrong_search_fails_the_batch_and_is_named(client: Client):
    for wrong, code, field in WRONG:
        why = await refused(batch(client, request(term("first")), wrong))
        assert (why.code, why.field) == (code, field)
        assert why.message.startswith(f"{field}: ")


async def test_a_batch_has_bounds(client: Client):
    for count in (0, 65):
        why = await refused(batch(client, *[request(term("first"))] * count))
        assert (why.code, why.field) == ("INVALID_ARGUMENT", "searches")
