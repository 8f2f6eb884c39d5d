"""Exact answers do not depend on how the points are cut into blocks; recall counts what was found of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.search import corpus
from tests.bench.search.corpus import Block
from tests.bench.search.exact import TOP, Nearest, nearest, recall


def cut(block: Block, size: int) -> list[Block]:
    return [
        Block(i, block.vectors[i : i + size], block.shops[i : i + size], block.prices[i : i + size])
        for i in range(0, len(block.vectors), size)
    ]


def test_the_nearest_of_blocks_are_the_nearest_of_all() -> None:
    [block] = corpus.blocks(1000)
    queries = corpus.queries(20)
    found = nearest(queries, cut(block, 130))
    everything = np.argsort(-(queries @ block.vectors.T), axis=1)[:, :TOP]
    assert np.array_equal(np.sort(found["vector"], axis=1), np.sort(everything, axis=1))


def test_the_nearest_with_a_filter_pass_it() -> None:
    [block] = corpus.blocks(1000)
    found = nearest(corpus.queries(20), cut(block, 130))
    for query, numbers in enumerate(found["filtered"]):
        allowed = set(np.flatnonzero(corpus.allowed(query, block.shops, block.prices)).tolist())
        there = {int(number) for number in numbers if number >= 0}
        assert there <= allowed
        assert len(there) == min(TOP, len(allowed))


def test_a_query_with_few_matches_has_a_short_answer() -> None:
    best = Nearest(1)
    best.add(np.array([[0.5, -np.inf, 0.7]], dtype=np.float32), first=40)
    best.add(np.array([[0.6]], dtype=np.float32), first=43)
    assert sorted(best.numbers[0].tolist()) == [-1] * 7 + [40, 42, 43]


def test_recall_is_the_mean_share_found() -> None:
    truth = np.stack([np.arange(TOP), np.array([7, 8, *[-1] * 8])])
    assert recall({0: list(range(TOP)), 1: [8, 7]}, truth) == 1
    assert recall({0: [0, 1, 2, 3, 4, 90, 91, 92, 93, 94], 1: [7, 8]}, truth) == pytest.approx(0.75)
    assert recall({5: [1]}, {5: np.array([1, 2])}) == 0.5
