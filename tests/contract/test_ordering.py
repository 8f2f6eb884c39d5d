"""Points in the order of a payload field, and at random, over each store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from search_service.query.list_order import Order, order_by, ordered_page
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import (
    Listing,
    PayloadSelection,
    StoredPoint,
    point_uuid,
)
from tests.contract.shop import spec, unit

POINTS = 40
FIRST = datetime(2024, 5, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def payload(i: int) -> dict[str, object]:
    """Ten points share a year, seven a price; times differ by microseconds, and some points have no value."""
    return {
        "year": 2000 + i // 10,
        "price": [-1.5, 0.1, 0.1 + 0.2, 0.3, 7, 1e12][i % 6],
        "made": (FIRST + timedelta(microseconds=i // 3)).isoformat(),
        "sizes": [i % 3, 5 + i % 2, i % 3],
        "even": i % 2 == 0,
        **({"some": i} if i < 5 else {"some": "a word"} if i < 9 else {}),
    }


TYPES = {"year": "integer", "price": "float", "made": "datetime", "sizes": "integer", "some": "integer"}


@pytest.fixture
async def listed(store) -> str:
    made = spec(payload_indexes=TYPES)
    await store.create_collection(made)
    await store.upsert(made.name, [StoredPoint(f"p{i}", payload(i), image=unit(1)) for i in range(POINTS)])
    return made.name


def expected(key: str, order: Order, even: bool) -> list[str]:
    """By hand: by value, equals by UUID; a list at each of its values."""

    def values(i: int) -> list:
        value = payload(i).get(key)
        if key == "made":
            return [datetime.fromisoformat(str(value))]
        return [
            one for one in set(value if isinstance(value, list) else [value]) if type(one) in (int, float)
        ]

    pairs = [
        (value, point_uuid(f"p{i}"), f"p{i}")
        for i in range(POINTS)
        for value in values(i)
        if not even or i % 2 == 0
    ]
    pairs.sort(key=lambda pair: pair[1])
    pairs.sort(key=lambda pair: pair[0], reverse=order.descending)
    if order.start is not None:
        pairs = [p for p in pairs if (p[0] <= order.start if order.descending else p[0] >= order.start)]
    return [id for *_, id in pairs]


STARTS = {
    "year": (None, 2001, 2001.5, -1e300),
    "price": (None, 0.3, 1e13),
    "made": (None, FIRST + timedelta(microseconds=2)),
    "sizes": (None, 2),
    "some": (None,),
}


@pytest.mark.parametrize("key", STARTS)
async def test_pages_in_the_order_of_a_field_hold_every_point_once(store, listed, key):
    async def walk(order: Order, size: int, filter: Filter) -> list[str]:
        ids, token = list[str](), None
        nothing = PayloadSelection(())
        while True:
            page = await ordered_page(
                store,
                Listing(listed, filter, nothing, False),
                order_by(order, TYPES[key]),
                size,
                token,
            )
            assert len(page.points) <= size
            ids += [point.id for point in page.points]
            token = page.next_cursor
            if token is None:
                return ids

    for descending in (False, True):
        for start in STARTS[key]:
            order = Order(key, descending, start)
            for even in (False, True):
                filter = Filter(must=(MatchValue("even", True),)) if even else Filter()
                for size in (1, 7, 200):
                    assert await walk(order, size, filter) == expected(key, order, even), (order, size)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [1, 2, 10])
async def test_times_that_are_of_no_year_of_the_api_are_left_out(store, descending, size):
    made = spec(payload_indexes={"until": "datetime"})
    await store.create_collection(made)
    times = ["9999-12-31T23:59:59-05:00", "2024-05-31", "2025-05-31", "0001-01-01T00:00:00+05:00"]
    await store.upsert(made.name, [StoredPoint(time, {"until": time}, image=unit(1)) for time in times])
    by, found, token = order_by(Order("until", descending), "datetime"), list[str](), None
    while True:
        page = await ordered_page(store, Listing(made.name), by, size, token)
        found += [point.id for point in page.points]
        token = page.next_cursor
        if token is None:
            break
    assert found == sorted(times[1:3], reverse=descending)


async def test_a_page_goes_on_where_it_ended_though_points_came_and_went(store, listed):
    listing = Listing(listed, Filter(), PayloadSelection(), with_vectors=True)
    order = order_by(Order("year"), "integer")
    whole = expected("year", Order("year"), False)
    first = await ordered_page(store, listing, order, 5, None)
    assert [point.id for point in first.points] == whole[:5]
    assert first.points[0].payload == payload(int(whole[0][1:]))
    assert first.points[0].image is not None
    await store.delete(listed, [*whole[:3], whole[5]])
    await store.upsert(listed, [StoredPoint(f"new{i}", {"year": 1999}, image=unit(1)) for i in range(3)])
    second = await ordered_page(store, listing, order, 5, first.next_cursor)
    assert [point.id for point in second.points] == whole[6:11]


async def test_a_random_sample_has_each_point_at_most_once(store, listed):
    even = Filter(must=(MatchValue("even", True),))
    for _ in range(5):
        points = await store.random(Listing(listed, even, with_vectors=True), limit=8)
        ids = {point.id for point in points}
        assert len(points) == len(ids) == 8
        for point in points:
            assert point.payload == payload(int(point.id[1:]))
            assert point.payload["even"]
            assert point.image is not None
    everything = await store.random(Listing(listed, payload=PayloadSelection(())), limit=100)
    assert len({point.id for point in everything}) == POINTS
    assert all(point.payload == {} for point in everything)
    several = [await store.random(Listing(listed), limit=3) for _ in range(10)]
    assert len({tuple(point.id for point in points) for points in several}) > 1
