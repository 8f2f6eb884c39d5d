"""Writes that leave others' points alone, and a store as a tenant sees it: every store promises both."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from clipsearch.serving.errors import InvalidArgument, PermissionDenied
from clipsearch.serving.security.tokens import Tenant
from search_service.stores.filters import (
    Filter,
    HasId,
    HasVector,
    IsEmpty,
    MatchExcept,
    MatchValue,
    MinShould,
)
from search_service.stores.protocol import (
    Listing,
    PayloadChange,
    PayloadSelection,
    StoredPoint,
    VectorQuery,
    WordsQuery,
)
from search_service.stores.tenant import TenantStore
from tests.contract.shop import unit

ACME, BETA = (Tenant(field="shop", value=value) for value in ("acme", "beta"))
OF_ACME = Filter(must=(MatchValue("shop", "acme"),))
POINTS = [
    StoredPoint("acme/1.jpg", {"shop": "acme", "n": 1}, image=unit(1)),
    StoredPoint("old.jpg", {"shop": "acme", "n": 2}, image=unit(1, 1)),
    StoredPoint("acme/../3.jpg", {"shop": ["acme"], "n": 3}, image=unit(0, 1), text=unit(1)),
    StoredPoint("both.jpg", {"shop": ["beta", "acme"], "n": 4}, image=unit(0, 0, 1)),
    StoredPoint("beta/1.jpg", {"shop": "beta", "n": 5}, image=unit(1), text=unit(1)),
    StoredPoint("nobody.jpg", {"n": 6}, image=unit(1)),
    StoredPoint("acme/stray.jpg", {"shop": "beta", "n": 7}, image=unit(1)),
    StoredPoint("odd.jpg", {"shop": ["acmee", 5, None], "n": 8}, image=unit(1)),
]
OWN = ["../acme/../3.jpg", "../both.jpg", "../old.jpg", "1.jpg"]
ANOTHER = StoredPoint("1.jpg", {"new": 1}, image=unit(5))


@pytest.fixture
async def mixed(store, collection) -> str:
    await store.upsert(collection, POINTS)
    return collection


@pytest.fixture
def acme(store) -> TenantStore:
    return TenantStore(store, ACME)


async def dump(store, collection) -> dict[str, tuple]:
    page = await store.scroll(Listing(collection, with_vectors=True), limit=100)
    return {p.id: (p.payload, None if p.image is None else p.image.round(5).tolist()) for p in page.points}


async def test_an_upsert_replaces_what_matches_and_leaves_the_rest(store, mixed):
    before = await dump(store, mixed)
    mine = replace(ANOTHER, payload={"shop": "acme"})
    points = [replace(mine, id=id) for id in ("acme/1.jpg", "beta/1.jpg", "nobody.jpg", "new.jpg")]
    left = await store.upsert(mixed, points, update_filter=OF_ACME)
    assert left == {"beta/1.jpg", "nobody.jpg"}
    after = await dump(store, mixed)
    assert {id for id in after if after[id] != before.get(id)} == {"acme/1.jpg", "new.jpg"}
    assert after["acme/1.jpg"][0] == {"shop": "acme"}
    assert await store.upsert(mixed, points, insert_only=True, update_filter=OF_ACME) == {
        point.id for point in points
    }


async def test_an_upsert_never_replaces_what_came_in_the_same_moment(store, collection):
    foreign = StoredPoint("a", {"shop": "beta"}, image=unit(1))
    mine = StoredPoint("a", {"shop": "acme"}, image=unit(2))
    await asyncio.gather(
        *(store.upsert(collection, [mine], update_filter=OF_ACME) for _ in range(8)),
        store.upsert(collection, [foreign]),
        *(store.upsert(collection, [mine], update_filter=OF_ACME) for _ in range(8)),
    )
    assert [point.payload for point in await store.get(collection, ["a"])] == [{"shop": "beta"}]


@pytest.mark.parametrize(
    "change",
    [PayloadChange(set={"n": 0}), PayloadChange(delete=("n",)), PayloadChange(set={"shop": "x"}, whole=True)],
)
async def test_payloads_are_changed_of_what_matches(store, mixed, change):
    before = await dump(store, mixed)
    ids = ["acme/1.jpg", "beta/1.jpg", "nobody.jpg", "none.jpg"]
    assert await store.update_payload(mixed, ids, replace(change, update_filter=OF_ACME)) == 1
    after = await dump(store, mixed)
    assert {id for id in after if after[id] != before[id]} == {"acme/1.jpg"}


async def test_a_tenant_reads_its_points_and_those_that_it_shares_under_ids_of_its_own(acme, mixed):
    page = await acme.scroll(Listing(mixed), limit=100)
    assert sorted(point.id for point in page.points) == OWN
    ids = [
        *OWN,
        "../beta/1.jpg",
        "../nobody.jpg",
        "stray.jpg",
        "../acme/1.jpg",
        "acme/1.jpg",
        "../",
        "old.jpg",
    ]
    assert [point.id for point in await acme.get(mixed, ids)] == OWN
    assert await acme.present(mixed, ids) == set(OWN)
    [point] = await acme.get(mixed, ["1.jpg"], payload=PayloadSelection(("n",)), with_vectors=True)
    assert point.payload == {"n": 1}
    np.testing.assert_allclose(point.image, unit(1), atol=1e-6)


async def test_a_tenant_counts_and_finds_its_points_alone(acme, mixed):
    questions = [VectorQuery(unit(1), name, 10) for name in ("image", "text")]
    images, texts = await acme.query(mixed, questions)
    assert sorted(hit.point.id for hit in images) == OWN
    assert [hit.point.id for hit in texts] == ["../acme/../3.jpg"]
    for filter, count in (
        (None, 4),
        (Filter(must=(HasVector("text"),)), 1),
        (Filter(should=(MatchValue("shop", "beta"), MatchValue("n", 6))), 1),
        (Filter(must=(MatchExcept("shop", ("acme",)),)), 1),
        (Filter(must_not=(MatchValue("shop", "acme"),)), 0),
        (Filter(must=(IsEmpty("shop"),)), 0),
        (Filter(must=(HasId(("1.jpg", "../old.jpg", "old.jpg", "../beta/1.jpg")),)), 2),
        (Filter(must_not=(Filter(must=(HasId(("1.jpg",)),)),)), 3),
        (Filter(must=(HasId(("../acme/1.jpg",)),)), 0),
        (Filter(min_should=MinShould((HasId(("1.jpg",)), HasId(("../old.jpg", "old.jpg"))), 1)), 2),
    ):
        assert await acme.count(mixed, filter) == count, filter
    for info in (await acme.get_collection(mixed), *await acme.list_collections()):
        if info.spec.name == mixed:
            assert (info.points, info.image_vectors, info.text_vectors) == (4, 4, 1)
            assert (info.indexed_share, info.disk_bytes) == (0, 0)


async def test_pages_of_a_tenant_lead_through_its_points(acme, mixed):
    found, cursor = [], None
    while cursor is not None or not found:
        page = await acme.scroll(Listing(mixed), limit=1, cursor=cursor)
        found += [point.id for point in page.points]
        cursor = page.next_cursor
    assert sorted(found) == OWN


async def test_what_a_tenant_writes_is_its_own_and_touches_nobody(store, acme, mixed):
    before = await dump(store, mixed)
    new = replace(ANOTHER, id="beta/1.jpg")
    stray = replace(ANOTHER, id="stray.jpg", payload={"shop": "acme"})
    assert await acme.upsert(mixed, [ANOTHER, new, stray]) == {"stray.jpg"}
    after = await dump(store, mixed)
    assert {id for id in after if after[id] != before.get(id)} == {"acme/1.jpg", "acme/beta/1.jpg"}
    assert after["acme/1.jpg"][0] == {"new": 1, "shop": "acme"}
    assert await acme.upsert(mixed, [ANOTHER, stray], insert_only=True) == {"1.jpg", "stray.jpg"}
    assert await TenantStore(store, BETA).upsert(mixed, [ANOTHER]) == frozenset()  # beta has one of this id
    assert (await acme.get(mixed, ["1.jpg"]))[0].payload == {"new": 1, "shop": "acme"}


async def test_what_a_tenant_changes_and_deletes_is_its_own_alone(store, acme, mixed):
    before = await dump(store, mixed)
    ids = [*OWN, "../beta/1.jpg", "../nobody.jpg", "stray.jpg"]
    for change in (PayloadChange(set={"n": 9}), PayloadChange(set={"k": 1}, whole=True)):
        assert await acme.update_payload(mixed, ids, change) == 3
    after = await dump(store, mixed)
    mine = {"acme/1.jpg", "old.jpg", "acme/../3.jpg"}
    assert {id for id in after if after[id] != before[id]} == mine
    assert all(after[id][0] == {"k": 1, "shop": "acme"} for id in mine)
    assert await acme.delete(mixed, ["../old.jpg", "../both.jpg", "../beta/1.jpg", "stray.jpg"]) == 1
    assert await acme.delete(mixed, []) == 0
    assert await acme.delete(mixed, Filter(must_not=(MatchValue("n", 0),))) == 2
    after = await dump(store, mixed)
    assert before.keys() - after.keys() == mine
    assert all(after[id] == before[id] for id in after)


async def test_an_id_that_no_point_can_have_is_nobodys(acme, mixed):
    ids = ["../acme/1.jpg"]  # that is 1.jpg
    assert await acme.get(mixed, ids) == []
    assert await acme.present(mixed, ids) == frozenset()
    assert await acme.update_payload(mixed, ids, PayloadChange(set={"n": 9})) == 0
    assert await acme.delete(mixed, ids) == 0
    assert await acme.count(mixed) == 4


async def test_a_tenant_cannot_give_its_points_away(acme, mixed):
    for point in (replace(ANOTHER, payload={"shop": "beta"}), replace(ANOTHER, id="../old.jpg")):
        with pytest.raises(InvalidArgument):
            await acme.upsert(mixed, [point])
    for change in (
        PayloadChange(set={"shop": "beta"}),
        PayloadChange(set={"shop": ["acme", "beta"]}),
        PayloadChange(delete=("shop",)),
        PayloadChange(delete=('"shop"',)),
        PayloadChange(delete=("shop.a",)),
        PayloadChange(set={"shop": None}, whole=True),
    ):
        with pytest.raises(InvalidArgument):
            await acme.update_payload(mixed, ["1.jpg"], change)
    assert (await acme.get(mixed, ["1.jpg"]))[0].payload == {"shop": "acme", "n": 1}


async def test_what_is_not_restricted_is_refused(acme, mixed):
    for refused in (
        acme.ping(),
        acme.close(),
        acme.delete_collection(mixed),
        acme.set_alias("a", mixed),
        acme.sample(mixed, "image", 10),
        acme.calibration(mixed),
        acme.update_vectors(mixed, [ANOTHER], wait=True),
        acme.delete_vectors(mixed, ["1.jpg"], ["image"]),
        acme.query(mixed, [VectorQuery(unit(1), "image", 10), WordsQuery("shoes", 10)]),
    ):
        with pytest.raises(PermissionDenied):
            await refused
