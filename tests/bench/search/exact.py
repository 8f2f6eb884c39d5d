"""The exact answers, by numpy: what every other answer is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tests.bench.search import corpus
from tests.bench.search.corpus import Block, Matrix

TOP = 10

Numbers = NDArray[np.int64]
# Without the filter ("vector") and with it ("filtered"): int64 [queries, TOP].
Truth = dict[str, Numbers]


class Nearest:
    """The best TOP points of each query, in no order, over blocks that come one after another."""

    def __init__(self, queries: int) -> None:
        self._scores = np.full((queries, TOP), -np.inf, dtype=np.float32)
        self.numbers: Numbers = np.full((queries, TOP), -1)

    def add(self, scores: Matrix, first: int) -> None:
        """Scores, float32 [queries, points], of the points numbered from `first` on; -inf is no match."""
        all_scores = np.concatenate([self._scores, scores], axis=1)
        new = np.broadcast_to(np.arange(first, first + scores.shape[1]), scores.shape)
        all_numbers = np.concatenate([self.numbers, new], axis=1)
        best = np.argpartition(-all_scores, TOP - 1, axis=1)[:, :TOP]
        self._scores = np.take_along_axis(all_scores, best, axis=1)
        numbers = np.take_along_axis(all_numbers, best, axis=1)
        self.numbers = np.where(np.isneginf(self._scores), -1, numbers)


def nearest(queries: Matrix, blocks: Iterable[Block]) -> Truth:
    """The TOP points of each query."""
    every, filtered = Nearest(len(queries)), Nearest(len(queries))
    for block in blocks:
        scores = queries @ block.vectors.T
        every.add(scores, block.first)
        masks = [corpus.allowed(n, block.shops, block.prices) for n in range(len(queries))]
        filtered.add(np.where(np.stack(masks), scores, np.float32(-np.inf)), block.first)
    return {"vector": every.numbers, "filtered": filtered.numbers}


def recall(found: Mapping[int, Sequence[int]], truth: Numbers) -> float:
    """The mean share of the exact answer that was found: number of a query -> numbers of points."""
    if not found:
        raise ValueError("nothing was found, so there is no recall")
    shares = []
    for query, numbers in found.items():
        wanted = {int(number) for number in truth[query] if number >= 0}
        shares.append(len(wanted.intersection(numbers)) / len(wanted))
    return float(np.mean(shares))
