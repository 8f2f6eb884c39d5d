"""Counts of a field's values, as every store promises them."""

from __future__ import annotations

import pytest

from search_service.stores.filters import Filter, MatchValue, Range
from search_service.stores.protocol import PayloadChange, StoredPoint
from search_service.stores.questions import FacetQuery
from tests.contract.shop import spec, unit

GOODS = [
    {"brand": "acme", "year": 2024, "sold": True, "tags": ["new", "red", "new"]},
    {"brand": "acme", "year": 2023, "sold": False, "tags": ["red"]},
    {"brand": "zeta", "year": 2024, "sold": True, "tags": []},
    {"brand": "beta", "year": 2022, "shop": {"city": "Ulm"}},
    {"brand": None, "sold": [True, False]},
]


@pytest.fixture
async def goods(store) -> str:
    """Five points, every field indexed; a deleted one and one that was changed since."""
    made = spec(
        payload_indexes={
            "brand": "keyword",
            "year": "integer",
            "sold": "bool",
            "tags": "keyword",
            "shop.city": "keyword",
        }
    )
    await store.create_collection(made)
    points = [StoredPoint(f"p{n}", payload, image=unit(1, n)) for n, payload in enumerate(GOODS)]
    gone = StoredPoint("gone", {"brand": "acme", "sold": True}, image=unit(1))
    await store.upsert(made.name, [*points, gone, StoredPoint("p3", {"brand": "old"}, text=unit(1))])
    await store.delete(made.name, ["gone"])
    await store.update_payload(made.name, ["p3"], PayloadChange(set=GOODS[3]))
    return made.name


@pytest.mark.parametrize("exact", [True, False])
async def test_the_most_frequent_values_come_first_and_of_equals_the_smaller(store, goods, exact):
    async def counts(key: str, limit: int = 10, filter: Filter | None = None) -> list[tuple]:
        hits = await store.facet(goods, FacetQuery(key, limit, filter, exact))
        return [(hit.value, hit.count) for hit in hits]

    assert await counts("brand") == [("acme", 2), ("beta", 1), ("zeta", 1)]
    assert await counts("brand", limit=2) == [("acme", 2), ("beta", 1)]
    assert await counts("year") == [(2024, 2), (2022, 1), (2023, 1)]
    assert await counts("tags") == [("red", 2), ("new", 1)], "a list counts once for each value"
    assert await counts("shop.city") == [("Ulm", 1)]
    sold = await counts("sold")
    assert sold == [(True, 3), (False, 2)]
    assert all(type(value) is bool for value, _ in sold)
    assert await counts("sold", limit=1) == [(True, 3)]
    recent = Filter(must=(Range("year", gte=2024),))
    assert await counts("brand", filter=recent) == [("acme", 1), ("zeta", 1)]
    assert await counts("brand", filter=Filter(must=(MatchValue("brand", "none"),))) == []


async def test_a_change_is_counted(store, goods):
    await store.update_payload(goods, ["p0"], PayloadChange(set={"brand": "zeta", "sold": False}))
    assert [(h.value, h.count) for h in await store.facet(goods, FacetQuery("brand", 1, exact=True))] == [
        ("zeta", 2)
    ]
    assert [(h.value, h.count) for h in await store.facet(goods, FacetQuery("sold", 2, exact=True))] == [
        (False, 3),
        (True, 2),
    ]
