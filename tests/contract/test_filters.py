"""Filters, as every store promises them."""

from __future__ import annotations

import pytest

from search_service.stores.filters import (
    MatchValue,
    Range,
)
from search_service.stores.protocol import StoredPoint
from tests.contract.shop import ids_of, unit

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")


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
