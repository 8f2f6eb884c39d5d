"""Writing, reading, deleting and paging points, as every store promises it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from clipsearch.serving.errors import InvalidArgument
from search_service.stores.filters import Filter, HasId, HasVector, MatchValue, Range
from search_service.stores.protocol import (
    VECTOR_NAMES,
    Listing,
    PayloadChange,
    PayloadSelection,
    StoredPoint,
    point_uuid,
)
from tests.contract.shop import DIMENSION, ITEMS, ids_of, search, spec, unit


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
    info = await store.get_collection(shop)
    assert (info.points, info.image_vectors, info.text_vectors) == (4, 2, 2)


async def test_any_string_is_an_id(store, collection):
    ids = ["", "a b", "ü/../x", "1", "x" * 512, "\n"]
    await store.upsert(collection, [StoredPoint(id, {}, image=unit(1)) for id in ids])
    assert [point.id for point in await store.get(collection, ids)] == ids


async def test_insert_only_leaves_what_is_there(store, shop):
    points = [StoredPoint("coat", {"new": 1}, text=unit(5)), StoredPoint("scarf", {}, text=unit(6))]
    assert await store.upsert(shop, points, insert_only=True) == {"coat"}
    coat, scarf = await store.get(shop, ["coat", "scarf"], with_vectors=True)
    assert (coat.payload["price"], coat.has_image) == (-3, True)
    np.testing.assert_allclose(scarf.text, unit(6), atol=1e-6)
    assert await store.upsert(shop, points, insert_only=True) == {"coat", "scarf"}
    assert await store.upsert(shop, points) == frozenset()
    assert (await store.get(shop, ["coat"]))[0].payload == {"new": 1}


async def test_a_deleted_point_is_new_again(store, shop):
    await store.delete(shop, ["coat"])
    coat = StoredPoint("coat", {"new": 1}, text=unit(5))
    assert await store.upsert(shop, [coat], insert_only=True) == frozenset()
    assert (await store.get(shop, ["coat"]))[0].payload == {"new": 1}


async def test_of_writers_of_one_new_point_one_wins_and_stays(store, collection):
    points = [StoredPoint("a", {"n": n}, image=unit(n + 1)) for n in range(6)]
    await asyncio.gather(*(store.upsert(collection, [point], insert_only=True) for point in points))
    (first,) = await store.get(collection, ["a"])
    assert await store.upsert(collection, points, insert_only=True) == {"a"}
    assert await store.get(collection, ["a"]) == [first]


async def test_delete_counts_what_was_there(store, shop):
    assert await store.delete(shop, ["coat", "nobody"]) == 1
    assert await store.delete(shop, ["coat"]) == 0
    assert await store.delete(shop, Filter(must=(Range("price", lt=30),))) == 2
    assert await store.count(shop) == 1


async def test_fields_of_payloads_are_set_and_removed_and_all_else_stays(store, shop):
    (before,) = await store.get(shop, ["coat"], with_vectors=True)
    changes = (
        (PayloadChange(set={"price": 7, "new": {"a": 1, "b": 2}}), {"price": 7, "new": {"a": 1, "b": 2}}),
        (PayloadChange(delete=("new.a", "nothing")), {"price": 7, "new": {"b": 2}}),
        (PayloadChange(delete=("new",), set={"more": 1}), {"price": 7, "more": 1}),
    )
    for change, expected in changes:
        for _ in range(2):  # doing it again is safe
            assert await store.update_payload(shop, ["coat", "nobody", "coat"], change) == 1
        (coat,) = await store.get(shop, ["coat"], with_vectors=True)
        assert coat.payload == {**before.payload, **expected}
        assert (coat.has_image, coat.has_text) == (True, True)
        np.testing.assert_allclose(coat.image, before.image, atol=1e-6)
    assert (await store.get(shop, ["shirt"]))[0].payload == ITEMS[0].payload
    assert await store.get(shop, ["nobody"]) == []


async def test_a_payload_is_overwritten_as_a_whole(store, shop):
    for payload in ({"only": 1}, {'odd "name': 2}, {}):
        assert (
            await store.update_payload(shop, ["coat", "shirt"], PayloadChange(set=payload, whole=True)) == 2
        )
        coat, shirt = await store.get(shop, ["coat", "shirt"])
        assert coat.payload == shirt.payload == payload
        assert [(p.id, p.has_image, p.has_text) for p in (coat, shirt)] == [
            ("coat", True, True),
            ("shirt", True, False),
        ]


async def test_a_changed_payload_is_found_by_its_filter(store, shop):
    await store.update_payload(shop, ["coat", "shirt"], PayloadChange(set={"season": "winter"}))
    assert await store.count(shop, Filter(must=(MatchValue("season", "winter"),))) == 2
    await store.update_payload(shop, ["coat"], PayloadChange(delete=("season",)))
    page = await store.scroll(Listing(shop, Filter(must=(MatchValue("season", "winter"),))), limit=10)
    assert [point.id for point in page.points] == ["shirt"]


async def test_booleans_and_their_absence_are_found_after_a_change(store, shop):
    sold = Filter(must=(MatchValue("sold", True),))
    for change, count in (
        (PayloadChange(set={"sold": True, "in": {"sold": True}}), 2),
        (PayloadChange(set={"sold": False}), 1),
        (PayloadChange(set={"sold": True}, delete=("in.sold",)), 2),
        (PayloadChange(delete=("sold",)), 1),
        (PayloadChange(set={"sold": True}, whole=True), 2),
    ):
        await store.update_payload(shop, ["coat"], change)
        assert await store.count(shop, sold) == count
    assert await store.count(shop, Filter(must=(MatchValue("in.sold", True),))) == 0


async def test_writers_of_different_fields_at_once_lose_nothing(store, shop):
    changes = [PayloadChange(set={f"field{n}": n}) for n in range(20)]
    await asyncio.gather(*(store.update_payload(shop, ["coat"], change) for change in changes))
    (coat,) = await store.get(shop, ["coat"])
    assert coat.payload == {**ITEMS[3].payload, **{f"field{n}": n for n in range(20)}}


async def vectors_of(store, collection: str, id: str) -> dict[str, np.ndarray | None]:
    """Its vectors by name, which it tells without them too, and filters and searches agree."""
    (point,) = await store.get(collection, [id], with_vectors=True)
    (bare,) = await store.get(collection, [id])
    for name in VECTOR_NAMES:
        vector = getattr(point, name)
        assert getattr(point, f"has_{name}") == getattr(bare, f"has_{name}") == (vector is not None)
        assert (id in await ids_of(store, collection, HasVector(name))) == (vector is not None)
        found = await search(store, collection, name=name, vector=unit(1), limit=100)
        assert (id in found) == (vector is not None)
    return {name: getattr(point, name) for name in VECTOR_NAMES}


async def test_one_vector_is_replaced_and_all_else_stays(store, shop):
    changed = [StoredPoint("coat", {}, image=unit(1, 2)), StoredPoint("hat", {}, image=unit(3))]
    nobody = StoredPoint("nobody", {}, text=unit(1))
    for _ in range(2):  # doing it again is safe
        assert await store.update_vectors(shop, [*changed, nobody], wait=True) == {"nobody"}
    coat, hat = await vectors_of(store, shop, "coat"), await vectors_of(store, shop, "hat")
    np.testing.assert_allclose([coat["image"], coat["text"]], [unit(1, 2), unit(0, 1, 1)], atol=1e-6)
    np.testing.assert_allclose([hat["image"], hat["text"]], [unit(3), unit(0, 1)], atol=1e-6)
    assert [p.payload for p in await store.get(shop, ["hat", "coat"])] == [
        ITEMS[2].payload,
        ITEMS[3].payload,
    ]
    assert await store.count(shop) == len(ITEMS)


async def test_a_vector_is_removed_and_the_point_stays(store, shop):
    for _ in range(2):  # doing it again is safe
        assert await store.delete_vectors(shop, ["coat", "shirt", "nobody"], ["image"]) == 2
    coat, shirt = await vectors_of(store, shop, "coat"), await vectors_of(store, shop, "shirt")
    assert coat["image"] is None
    np.testing.assert_allclose(coat["text"], unit(0, 1, 1), atol=1e-6)
    assert shirt == {"image": None, "text": None}
    assert (await store.get(shop, ["shirt"]))[0].payload == ITEMS[0].payload
    assert await store.delete_vectors(shop, ["hat"], ["image", "text"]) == 1
    assert await vectors_of(store, shop, "hat") == {"image": None, "text": None}
    assert (
        await store.update_vectors(shop, [StoredPoint("shirt", {}, text=unit(2))], wait=True) == frozenset()
    )
    assert (await vectors_of(store, shop, "shirt"))["text"] is not None


async def test_writers_of_different_vectors_at_once_lose_nothing(store, shop):
    await asyncio.gather(
        store.update_vectors(shop, [StoredPoint("hat", {}, image=unit(1))], wait=True),
        store.update_payload(shop, ["hat"], PayloadChange(set={"new": 1})),
        store.delete_vectors(shop, ["hat"], ["text"]),
    )
    hat = await vectors_of(store, shop, "hat")
    assert (hat["image"] is None, hat["text"] is None) == (False, True)
    assert (await store.get(shop, ["hat"]))[0].payload == {**ITEMS[2].payload, "new": 1}


async def test_a_vector_of_another_dimension_replaces_none(store, shop):
    changed = [StoredPoint("hat", {}, image=unit(1)), StoredPoint("coat", {}, text=np.ones(3, np.float32))]
    with pytest.raises(InvalidArgument, match=r"points\[1\]\.text_vector"):
        await store.update_vectors(shop, changed, wait=True)
    assert (await vectors_of(store, shop, "hat"))["image"] is None


async def test_pages_follow_the_uuids_and_are_stable_under_writes(store, collection):
    names = [f"p{n}" for n in range(30)]
    await store.upsert(collection, [StoredPoint(name, {}, image=unit(1)) for name in names])
    ordered = sorted(names, key=point_uuid)
    first = await store.scroll(Listing(collection), limit=10)
    assert [point.id for point in first.points] == ordered[:10]
    await store.delete(collection, ordered[:5])
    second = await store.scroll(Listing(collection), limit=10, cursor=first.next_cursor)
    assert [point.id for point in second.points] == ordered[10:20]
    filtered = await store.scroll(Listing(collection, Filter(must=(HasId(tuple(names)),))), limit=3)
    assert [point.id for point in filtered.points] == ordered[5:8]


async def test_a_page_past_the_last_point_is_empty(store, shop):
    page = await store.scroll(Listing(shop), limit=10, cursor="ffffffff-ffff-ffff-ffff-ffffffffffff")
    assert (page.points, page.next_cursor) == ((), None)


async def test_a_page_can_leave_out_payload_and_bring_vectors(store, shop):
    page = await store.scroll(
        Listing(shop, payload=PayloadSelection(("shop.city",)), with_vectors=True), limit=10
    )
    points = {point.id: point for point in page.points}
    assert points["coat"].payload == {"shop": {"city": "Riga"}}
    assert points["hat"].payload == {}
    np.testing.assert_allclose(points["hat"].text, unit(0, 1), atol=1e-6)
    assert points["hat"].image is None
    assert {(p.has_image, p.has_text) for p in page.points} == {(True, False), (False, True), (True, True)}


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
    async with asyncio.timeout(60):
        while await store.count(collection) < len(ITEMS):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_names_that_could_be_paths_are_refused(store, collection):
    for name in ("", ".", "..", "../x", "a/b", "a..b", "-a", "a b", "a" * 129, "\x00", "\u00fc"):
        with pytest.raises(InvalidArgument):
            await store.create_collection(spec(name=name))
        with pytest.raises(InvalidArgument):
            await store.set_alias(name, collection)


async def test_parallel_writers_lose_nothing(store, collection):
    batches = [[StoredPoint(f"{b}-{n}", {}, text=unit(b + 1, n + 1)) for n in range(20)] for b in range(10)]
    await asyncio.gather(*(store.upsert(collection, batch) for batch in batches))
    assert await store.count(collection) == 200
