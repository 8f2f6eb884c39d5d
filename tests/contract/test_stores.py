"""What every vector store promises; one suite for all of them.

The stores are in conftest.py.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

import numpy as np
import pytest

from clipsearch.serving.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from search_service.filters import (
    DatetimeRange,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchText,
    MatchValue,
    Range,
)
from search_service.stores.protocol import (
    CollectionSpec,
    PayloadSelection,
    StoredPoint,
    VectorQuery,
    VectorStore,
    point_uuid,
)

DIMENSION = 8

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")


def unit(*numbers: float) -> np.ndarray:
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def spec(**changes) -> CollectionSpec:
    values = {
        "name": f"contract-{uuid.uuid4().hex[:8]}",
        "dimension": DIMENSION,
        "fingerprint": "f" * 32,
        "model": "toy",
    }
    return CollectionSpec(**{**values, **changes})


@pytest.fixture
async def collection(store) -> str:
    """A collection without points."""
    made = spec()
    await store.create_collection(made)
    return made.name


ITEMS = [
    StoredPoint("shirt", {"price": 10, "brand": "acme", "tags": ["red", "new"]}, image=unit(1)),
    StoredPoint("shoes", {"price": 25.5, "brand": "zeta", "sold": True}, image=unit(1, 1)),
    StoredPoint("hat", {"price": 40, "brand": None, "note": "a red straw hat", "one": 1}, text=unit(0, 1)),
    StoredPoint(
        "coat",
        {"price": -3, "made": "2024-05-01T12:00:00Z", "shop": {"city": "Riga", "open": False}, "tags": []},
        image=unit(0, 0, 1),
        text=unit(0, 1, 1),
    ),
]


@pytest.fixture
async def shop(store, collection) -> str:
    """A collection with four points: two pictures, one text, one of both."""
    await store.upsert(collection, ITEMS)
    return collection


async def ids_of(store: VectorStore, collection: str, condition: object) -> set[str]:
    page = await store.scroll(collection, limit=100, filter=Filter(must=(condition,)))
    counted = await store.count(collection, Filter(must=(condition,)))
    assert counted == len(page.points)
    return {point.id for point in page.points}


async def search(store: VectorStore, collection: str, **question) -> list[str]:
    question = {"vector": unit(1), "side": "image", "limit": 10, **question}
    (hits,) = await store.query(collection, [VectorQuery(**question)])
    return [hit.point.id for hit in hits]


# --- collections ---


async def test_settings_come_back_as_they_were_given(store):
    made = spec(
        payload_indexes={"price": "float", "note": "text"},
        hnsw_m=8,
        quantization="scalar",
        on_disk_vectors=True,
    )
    await store.create_collection(made)
    assert await store.resolve(made.name) == made
    info = await store.get_collection(made.name)
    assert (info.spec, info.points, info.image_vectors, info.text_vectors) == (made, 0, 0, 0)
    assert made.name in [found.spec.name for found in await store.list_collections()]


async def test_a_taken_name_is_refused(store, collection):
    with pytest.raises(AlreadyExists):
        await store.create_collection(spec(name=collection))


async def test_a_deleted_collection_is_gone_and_its_name_free(store, shop):
    await store.delete_collection(shop)
    with pytest.raises(NotFound):
        await store.resolve(shop)
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
        lambda s: s.scroll("contract-none", limit=1),
        lambda s: s.upsert("contract-none", ITEMS[:1]),
        lambda s: s.query("contract-none", [VectorQuery(unit(1), "image", 1)]),
        lambda s: s.set_alias("contract-alias", "contract-none"),
        lambda s: s.set_alias("contract-alias", None),
        lambda s: s.create_payload_index("contract-none", "a", "keyword"),
    ],
)
async def test_what_does_not_exist_is_not_found(store, call):
    with pytest.raises(NotFound):
        await call(store)


async def test_counts_tell_the_two_sides_apart(store, shop):
    info = await store.get_collection(shop)
    assert (info.points, info.image_vectors, info.text_vectors) == (4, 3, 2)


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
    with pytest.raises(AlreadyExists):
        await store.create_collection(spec(name=alias))
    with pytest.raises(AlreadyExists):
        await store.set_alias(collection, collection)


async def test_aliases_go_with_their_collection(store, collection):
    alias = f"contract-alias-{uuid.uuid4().hex[:8]}"
    await store.set_alias(alias, collection)
    await store.delete_collection(collection)
    with pytest.raises(NotFound):
        await store.resolve(alias)


async def test_a_payload_index_can_come_later_but_keeps_its_type(store, shop):
    await store.create_payload_index(shop, "price", "float")
    await store.create_payload_index(shop, "price", "float")
    assert (await store.resolve(shop)).payload_indexes == {"price": "float"}
    assert await ids_of(store, shop, Range("price", gte=25)) == {"shoes", "hat"}
    with pytest.raises(FailedPrecondition):
        await store.create_payload_index(shop, "price", "keyword")


# --- points ---


async def test_points_come_back_whole_in_the_order_asked_for(store, shop):
    points = await store.get(shop, ["coat", "nobody", "shirt", "coat"], with_vectors=True)
    assert [point.id for point in points] == ["coat", "shirt"]
    assert points[0].payload == ITEMS[3].payload
    np.testing.assert_allclose(points[0].image, ITEMS[3].image, atol=1e-6)
    np.testing.assert_allclose(points[0].text, ITEMS[3].text, atol=1e-6)
    assert points[1].text is None
    assert (points[1].has_image, points[1].has_text) == (True, False)


async def test_vectors_and_payload_are_left_out_on_request(store, shop):
    (point,) = await store.get(shop, ["coat"], payload=PayloadSelection(("price",)))
    assert point.payload == {"price": -3}
    assert point.image is None
    assert point.has_image
    (bare,) = await store.get(shop, ["coat"], payload=PayloadSelection(()))
    assert bare.payload == {}


async def test_upsert_replaces_the_whole_point(store, shop):
    await store.upsert(shop, [StoredPoint("coat", {"new": 1}, text=unit(5))])
    (point,) = await store.get(shop, ["coat"], with_vectors=True)
    assert point.payload == {"new": 1}
    assert point.image is None
    np.testing.assert_allclose(point.text, unit(5), atol=1e-6)
    assert await store.count(shop) == 4


async def test_writing_twice_is_writing_once(store, shop):
    await store.upsert(shop, ITEMS)
    assert await store.count(shop) == 4


@pytest.mark.parametrize("point_id", ["", "a b", "ü/../x", "1", "x" * 512, "\n"])
async def test_any_string_is_an_id(store, collection, point_id):
    await store.upsert(collection, [StoredPoint(point_id, {}, image=unit(1))])
    assert [point.id for point in await store.get(collection, [point_id])] == [point_id]


async def test_delete_counts_what_was_there(store, shop):
    assert await store.delete(shop, ["coat", "nobody"]) == 1
    assert await store.delete(shop, ["coat"]) == 0
    assert await store.delete(shop, Filter(must=(Range("price", lt=30),))) == 2
    assert await store.count(shop) == 1


async def test_pages_hold_every_point_once(store, collection):
    names = {f"p{n}" for n in range(25)}
    await store.upsert(collection, [StoredPoint(name, {"n": name}, image=unit(1)) for name in sorted(names)])
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.scroll(collection, limit=10, cursor=cursor)
        seen += [point.id for point in page.points]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.points) == 10
    assert len(seen) == 25
    assert set(seen) == names


async def test_pages_follow_the_uuids_and_are_stable_under_writes(store, collection):
    names = [f"p{n}" for n in range(30)]
    await store.upsert(collection, [StoredPoint(name, {}, image=unit(1)) for name in names])
    ordered = sorted(names, key=point_uuid)
    first = await store.scroll(collection, limit=10)
    assert [point.id for point in first.points] == ordered[:10]
    await store.delete(collection, ordered[:5])
    second = await store.scroll(collection, limit=10, cursor=first.next_cursor)
    assert [point.id for point in second.points] == ordered[10:20]
    filtered = await store.scroll(collection, limit=3, filter=Filter(must=(HasId(tuple(names)),)))
    assert [point.id for point in filtered.points] == ordered[5:8]


@pytest.mark.parametrize("cursor", ["", "x", "0", "../..", "{6f1e3c0a-0d5b-5a55-9c0e-2f6f0c1a7d11}"])
async def test_a_bad_cursor_is_refused(store, shop, cursor):
    with pytest.raises(InvalidArgument) as refused:
        await store.scroll(shop, limit=1, cursor=cursor)
    assert refused.value.field == "page_token"


async def test_a_page_can_leave_out_payload_and_bring_vectors(store, shop):
    page = await store.scroll(shop, limit=10, payload=PayloadSelection(("shop.city",)), with_vectors=True)
    points = {point.id: point for point in page.points}
    assert points["coat"].payload == {"shop": {"city": "Riga"}}
    assert points["hat"].payload == {}
    np.testing.assert_allclose(points["hat"].text, unit(0, 1), atol=1e-6)
    assert points["hat"].image is None
    assert {(p.has_image, p.has_text) for p in page.points} == {(True, False), (False, True), (True, True)}


async def test_a_point_may_lose_one_of_its_sides(store, shop):
    await store.upsert(shop, [StoredPoint("coat", {}, image=unit(1))])
    info = await store.get_collection(shop)
    assert (info.points, info.image_vectors, info.text_vectors) == (4, 3, 1)
    assert await search(store, shop, side="text", vector=unit(0, 1)) == ["hat"]


async def test_a_vector_of_another_dimension_writes_nothing(store, shop):
    good = StoredPoint("good", {}, image=unit(1))
    bad = StoredPoint("bad", {}, text=np.ones(DIMENSION + 1, np.float32))
    with pytest.raises(InvalidArgument, match=r"points\[1\]\.text_vector"):
        await store.upsert(shop, [good, bad])
    assert await store.count(shop) == 4


async def test_of_points_with_one_id_the_last_is_kept(store, collection):
    twice = [StoredPoint("a", {"n": n}, image=unit(n + 1)) for n in range(2)]
    await store.upsert(collection, twice)
    assert [p.payload for p in await store.get(collection, ["a"])] == [{"n": 1}]


async def test_a_write_that_is_not_waited_for_arrives(store, collection):
    await store.upsert(collection, ITEMS, wait=False)
    async with asyncio.timeout(10):
        while await store.count(collection) < len(ITEMS):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_everything_is_deleted_by_a_filter_that_matches_all(store, shop):
    assert await store.delete(shop, Filter(must_not=(HasId(("nobody",)),))) == 4
    assert (await store.get_collection(shop)).points == 0


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a..b", "-a", "a b", "a" * 129, "\x00", "\u00fc"]
)
async def test_names_that_could_be_paths_are_refused(store, collection, name):
    with pytest.raises(InvalidArgument):
        await store.create_collection(spec(name=name))
    with pytest.raises(InvalidArgument):
        await store.set_alias(name, collection)


async def test_parallel_writers_lose_nothing(store, collection):
    batches = [[StoredPoint(f"{b}-{n}", {}, text=unit(b + 1, n + 1)) for n in range(20)] for b in range(10)]
    await asyncio.gather(*(store.upsert(collection, batch) for batch in batches))
    assert await store.count(collection) == 200


# --- queries ---


async def test_scores_are_cosines_best_first(store, collection):
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((40, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    await store.upsert(collection, [StoredPoint(str(i), {}, image=v) for i, v in enumerate(vectors)])
    question = unit(*rng.standard_normal(DIMENSION))
    (hits,) = await store.query(collection, [VectorQuery(question, "image", 10, exact=True)])
    cosines = vectors @ question
    assert [int(hit.point.id) for hit in hits] == np.argsort(-cosines)[:10].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:10], atol=1e-4)


async def test_each_side_is_searched_for_itself(store, shop):
    assert await search(store, shop) == ["shirt", "shoes", "coat"]
    assert await search(store, shop, side="text", vector=unit(0, 1)) == ["hat", "coat"]


async def test_several_questions_have_their_own_answers(store, shop):
    answers = await store.query(
        shop,
        [
            VectorQuery(unit(1), "image", 1),
            VectorQuery(unit(0, 0, 1), "image", 1, with_vectors=True, payload=PayloadSelection(("price",))),
            VectorQuery(unit(1), "text", 5, filter=Filter(must=(HasId(("hat",)),))),
        ],
    )
    assert [[hit.point.id for hit in answer] for answer in answers] == [["shirt"], ["coat"], ["hat"]]
    second = answers[1][0].point
    assert second.payload == {"price": -3}
    np.testing.assert_allclose(second.image, unit(0, 0, 1), atol=1e-6)


async def test_a_hit_tells_its_sides_without_its_vectors(store, shop):
    (hits,) = await store.query(shop, [VectorQuery(unit(1), "image", 10)])
    sides = {hit.point.id: (hit.point.has_image, hit.point.has_text) for hit in hits}
    assert sides == {"shirt": (True, False), "shoes": (True, False), "coat": (True, True)}
    assert all(hit.point.image is None for hit in hits)


async def test_a_side_without_vectors_answers_with_nothing(store, collection):
    await store.upsert(collection, [StoredPoint("a", {}, image=unit(1))])
    assert await search(store, collection, side="text") == []


async def test_offset_threshold_and_exclusion(store, shop):
    assert await search(store, shop, offset=1, limit=1) == ["shoes"]
    assert await search(store, shop, offset=100) == []
    assert await search(store, shop, score_threshold=0.5) == ["shirt", "shoes"]
    assert await search(store, shop, filter=Filter(must_not=(HasId(("shirt",)),))) == ["shoes", "coat"]


@pytest.mark.parametrize("quantization", ["scalar", "binary"])
async def test_a_quantised_collection_still_finds_the_nearest(store, quantization):
    made = spec(quantization=quantization)
    await store.create_collection(made)
    await store.upsert(made.name, ITEMS)
    assert (await search(store, made.name))[0] == "shirt"


# --- filters ---


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (MatchValue("brand", "acme"), {"shirt"}),
        (MatchValue("price", 10), {"shirt"}),
        (MatchValue("sold", True), {"shoes"}),
        (MatchValue("sold", False), set()),
        (MatchValue("shop.open", False), {"coat"}),
        (MatchValue("one", 1), {"hat"}),
        (MatchValue("one", True), set()),
        (MatchValue("tags", "red"), {"shirt"}),
        (MatchValue("shop.city", "Riga"), {"coat"}),
        (MatchValue("nothing", "x"), set()),
        (MatchAny("brand", ("acme", "zeta", "none")), {"shirt", "shoes"}),
        (MatchAny("price", (10, 40)), {"shirt", "hat"}),
        (MatchExcept("brand", ("acme",)), {"shoes"}),
        (MatchExcept("price", (10,)), {"shoes", "hat", "coat"}),
        (MatchText("note", "straw"), {"hat"}),
        (Range("price", gt=10, lte=40), {"shoes", "hat"}),
        (Range("price", gte=10, lt=40), {"shirt", "shoes"}),
        (Range("price", lt=0), {"coat"}),
        (DatetimeRange("made", gte=datetime(2024, 5, 1, 12, tzinfo=UTC)), {"coat"}),
        (DatetimeRange("made", gt=datetime(2024, 5, 1, 12, tzinfo=UTC)), set()),
        (DatetimeRange("made", lt=datetime(2025, 1, 1, tzinfo=UTC)), {"coat"}),
        (IsEmpty("tags"), {"shoes", "hat", "coat"}),
        (IsEmpty("brand"), {"hat", "coat"}),
        (IsNull("brand"), {"hat"}),
        (HasId(("hat", "nobody")), {"hat"}),
        (Filter(should=(MatchValue("brand", "acme"), Range("price", gt=30))), {"shirt", "hat"}),
        (Filter(must_not=(Range("price", gt=0),)), {"coat"}),
        (
            Filter(must=(Range("price", gt=0),), must_not=(Filter(must=(MatchValue("brand", "acme"),)),)),
            {"shoes", "hat"},
        ),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else str(value),
)
async def test_filters(store, shop, condition, expected):
    assert await ids_of(store, shop, condition) == expected
    nearest = await search(store, shop, filter=Filter(must=(condition,)))
    assert set(nearest) == expected & {"shirt", "shoes", "coat"}


async def test_paths_go_into_lists_and_objects(store, collection):
    shops = [{"open": False}, {"open": True, "city": "Riga"}]
    payload = {"flags": [False, 3, True], "shops": shops, "unit price": 5}
    await store.upsert(collection, [StoredPoint("a", payload, image=unit(1))])
    for condition, found in [
        (MatchValue("flags[2]", True), True),
        (MatchValue("flags[0]", True), False),
        (MatchValue("flags[]", True), True),
        (MatchValue("shops[].open", True), True),
        (MatchValue("shops[0].open", True), False),
        (MatchValue("shops[1].city", "Riga"), True),
        (Range('"unit price"', lt=6), True),
    ]:
        assert await ids_of(store, collection, condition) == ({"a"} if found else set()), condition


async def test_filters_on_indexed_fields_give_the_same(store):
    made = spec(
        payload_indexes={
            "price": "float",
            "brand": "keyword",
            "made": "datetime",
            "note": "text",
            "sold": "bool",
        }
    )
    await store.create_collection(made)
    await store.upsert(made.name, ITEMS)
    assert await ids_of(store, made.name, Range("price", gt=10, lte=40)) == {"shoes", "hat"}
    assert await ids_of(store, made.name, MatchExcept("brand", ("acme",))) == {"shoes"}
    assert await ids_of(store, made.name, MatchValue("sold", True)) == {"shoes"}
    assert await ids_of(store, made.name, MatchText("note", "Straw")) == {"hat"}
    assert await ids_of(
        store, made.name, DatetimeRange("made", gte=datetime(2024, 5, 1, 12, tzinfo=UTC))
    ) == {"coat"}
