"""Searches by examples and by context, as every store promises them: the scores that Qdrant describes."""

from __future__ import annotations

import numpy as np
import pytest

from search_service.stores.protocol import Context, Examples, StoredPoint, VectorQuery
from tests.contract.shop import vectors

POINTS = 60
GOOD, BAD = vectors(21, 3), vectors(22, 2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.abs(x))


def best_score(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    best, worst = (cosines.max(axis=0, initial=-np.inf) for cosines in (good, bad))
    scaled = [0.5 * (sigmoid(np.clip(x, -1, 1)) + 1) for x in (best, worst)]
    return np.where(best > worst, scaled[0], -scaled[1])


def context(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    return sigmoid(np.minimum(good[:2] - bad, 0)).sum(axis=0)


def discover(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    return np.sign(good[:2] - bad).sum(axis=0) + 0.5 * (sigmoid(good[2]) + 1)


PAIRS = tuple(zip(GOOD[:2], BAD, strict=True))
ASKED = {
    "best_score": (Examples(tuple(GOOD), tuple(BAD), "best_score"), best_score),
    "best_score of what is not wanted": (
        Examples((), tuple(BAD), "best_score"),
        lambda good, bad: best_score(good[:0], bad),
    ),
    "sum_scores": (
        Examples(tuple(GOOD), tuple(BAD), "sum_scores"),
        lambda good, bad: good.sum(axis=0) - bad.sum(axis=0),
    ),
    "sum_scores of what is wanted": (
        Examples(tuple(GOOD), (), "sum_scores"),
        lambda good, bad: good.sum(axis=0),
    ),
    "context": (Context(PAIRS), context),
    "discover": (Context(PAIRS, GOOD[2]), discover),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_points_are_scored_by_examples(store, collection, asked):
    image, text = vectors(1, POINTS), vectors(2, POINTS)
    await store.upsert(
        collection, [StoredPoint(f"p{i}", {}, image=image[i], text=text[i]) for i in range(POINTS)]
    )
    question, scored = ASKED[asked]
    for name, stored in (("image", image), ("text", text)):
        query = VectorQuery(question, name, POINTS, exact=True)
        [hits] = await store.query(collection, [query])
        scores = scored(GOOD @ stored.T, BAD @ stored.T)
        assert len(hits) == POINTS
        found = [hit.score for hit in hits]
        assert found == sorted(found, reverse=True)
        for hit in hits:
            assert hit.score == pytest.approx(scores[int(hit.point.id[1:])], abs=1e-4)
