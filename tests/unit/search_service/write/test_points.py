from __future__ import annotations

import numpy as np

from search_service.query.calibration_cache import CalibrationCache
from search_service.stores.collection import CollectionSpec
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import StoredPoint
from search_service.stores.qdrant.store import QdrantServer
from search_service.write.points import PointWrites
from search_service.write.successors import Successors
from tests.local_qdrant import LocalQdrant

VECTOR = np.array([1, 0], np.float32)


async def test_a_filter_deletes_from_the_collection_that_it_was_checked_against(monkeypatch):
    store = QdrantServer(LocalQdrant())
    for name in ("before", "after"):
        await store.create_collection(CollectionSpec(name, 2, "f", payload_indexes={"n": "integer"}))
        await store.upsert(name, [StoredPoint("a", {"n": 1}, image=VECTOR)])
    await store.set_alias("alias", "before")
    points = PointWrites(store, Successors(store), CalibrationCache(store))
    check = points._fields.check

    async def and_the_alias_moves(*args, **options):
        await check(*args, **options)
        await store.set_alias("alias", "after")

    monkeypatch.setattr(points._fields, "check", and_the_alias_moves)
    assert await points.delete("alias", Filter(must=(MatchValue("n", 1),))) == 1
    assert (await store.count("before"), await store.count("after")) == (0, 1)
    await store.close()
