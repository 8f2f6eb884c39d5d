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

    async def found(limit: int, offset: int = 0, candidates: int = 20, **others) -> list[int]:
        mmr = Mmr(diversity, candidates)
        query = VectorQuery(QUERY, "image", limit, offset, exact=True, mmr=mmr, **others)
        [hits] = await store.query(collection, [query])
        for hit in hits:
            assert hit.score == pytest.approx(stored[hit.point.payload["i"]] @ QUERY, abs=1e-5)
        return [hit.point.payload["i"] for hit in hits]

    by_nearness = np.argsort(-(stored @ QUERY)).tolist()
    expected = chosen(stored, by_nearness[:20], diversity, 20)
    assert await found(10) == expected[:10]
    assert await found(4, offset=3) == expected[3:7]
    assert await found(20, candidates=7) == chosen(stored, by_nearness[:7], diversity, 7)
    if diversity == 0:
        assert await found(10) == by_nearness[:10]
    some = [i for i in by_nearness if i < 30][:20]
    few = Filter(must=(Range("i", lt=30),))
    assert await found(5, filter=few) == chosen(stored, some, diversity, 5)
