"""Filters, as every store promises them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from search_service.query.filters import (
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
    StoredPoint,
)
from tests.contract.shop import ITEMS, ids_of, search, spec, unit

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")


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
