"""Maximal marginal relevance, as every store promises it."""

from __future__ import annotations

import numpy as np
import pytest

from search_service.stores.filters import Filter, Range
from search_service.stores.protocol import StoredPoint, VectorQuery
from search_service.stores.questions import Mmr
from tests.contract.shop import vectors

POINTS = 40
QUERY = vectors(31, 1)[0]


def chosen(stored: np.ndarray, candidates: list[int], diversity: float, count: int) -> list[int]:
    """By hand."""
    near, alike = stored @ QUERY, stored @ stored.T
    taken = [max(candidates, key=lambda i: near[i])]
    while len(taken) < min(count, len(candidates)):
        rest = [i for i in candidates if i not in taken]
        taken.append(max(rest, key=lambda i: (1 - diversity) * near[i] - diversity * max(alike[i][taken])))
    return taken


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.9])
async def test_points_are_chosen_one_by_one(store, collection, diversity):
    stored = vectors(1, POINTS)
    stored[1::2] = stored[::2] + 0.05 * vectors(2, POINTS // 2)  # near-copies
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    await store.upsert(collection, [StoredPoint(f"p{i}", {"i": i}, image=stored[i]) for i in range(POINTS)])

    async def found(limit: int, candidates: int, **others) -> list[int]:
        query = VectorQuery(QUERY, "image", limit, exact=True, mmr=Mmr(diversity, candidates), **others)
        [hits] = await store.query(collection, [query])
        for hit in hits:
            assert hit.score == pytest.approx(stored[hit.point.payload["i"]] @ QUERY, abs=1e-5)
            assert (hit.point.image is not None) == others.get("with_vectors", False)
        return [hit.point.payload["i"] for hit in hits]

    by_nearness = np.argsort(-(stored @ QUERY)).tolist()
    assert await found(10, POINTS) == chosen(stored, by_nearness, diversity, 10)
    assert await found(2, POINTS, with_vectors=True) == chosen(stored, by_nearness, diversity, 2)
    few = Filter(must=(Range("i", lt=30),))
    some = [i for i in by_nearness if i < 30]
    assert await found(5, POINTS, filter=few) == chosen(stored, some, diversity, 5)
    if diversity == 0:
        assert await found(10, 20) == by_nearness[:10]
    assert await found(20, 7) == chosen(stored, by_nearness[:7], diversity, 7)
