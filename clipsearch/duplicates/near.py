"""All pairs of vectors whose cosine is at least a bound, exactly, and the groups that the pairs make.

Every vector is compared with every other, but most of them by a quarter of their numbers. Turned into their
principal axes, the first numbers of two vectors and the lengths of what is left bound their product from
above (Cauchy and Schwarz); only pairs whose bound is high enough are multiplied in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.types import Vector

Positions = NDArray[np.int64]

_ROWS, _COLUMNS = 1024, 2048
_SAMPLE = 8192
_SHARE = 4  # of the numbers
_FEWEST = 32
_SLACK = 1e-4  # what rounding may take from a bound
# From this share of a tile's pairs on it is faster to multiply all of them in full.
_DENSE = 0.005


class Groups:
    """Which of `count` points belong together, as pairs of them become known: union-find over arrays."""

    def __init__(self, count: int) -> None:
        self._parents: Positions = np.arange(count)
        self.pairs: Positions = np.zeros(count, np.int64)
        """Of each point, the pairs that it is in."""

    def join(self, one: Positions, other: Positions) -> None:
        """Puts the points of each pair into one group."""
        np.add.at(self.pairs, one, 1)
        np.add.at(self.pairs, other, 1)
        while True:
            one, other = self._roots(one), self._roots(other)
            apart = one != other
            if not apart.any():
                return
            one, other = one[apart], other[apart]
            np.minimum.at(self._parents, np.maximum(one, other), np.minimum(one, other))

    def members(self) -> list[Positions]:
        """The groups of two and more, the largest first; in each the point with the most pairs first."""
        roots = self._roots(np.arange(len(self._parents)))
        order = np.lexsort((-self.pairs, roots))
        _, starts, sizes = np.unique(roots[order], return_index=True, return_counts=True)
        found = [order[a : a + n] for a, n in zip(starts, sizes, strict=True) if n > 1]
        return sorted(found, key=lambda group: -len(group))

    def _roots(self, points: Positions) -> Positions:
        while True:
            above = self._parents[points]
            if np.array_equal(above, points):
                return points
            self._parents[points] = self._parents[above]  # shorter for the next
            points = above


def near(
    vectors: Vector, above: float, on_progress: Callable[[int], None] = lambda rows: None
) -> Iterator[tuple[Positions, Positions]]:
    """Pairs of rows whose cosine is at least `above`, each once; `vectors` are float32 [count, dimension].

    Vectors have length 1. `on_progress` is called with the rows that have been compared with all others.
    """
    count = len(vectors)
    short = _shortened(vectors)
    for top in range(0, count, _ROWS):
        rows = short[top : top + _ROWS]
        for left in range(top, count, _COLUMNS):
            columns = short[left : left + _COLUMNS]
            maybe = rows @ columns.T >= above - _SLACK
            some = np.flatnonzero(maybe.any(axis=1))  # a look at all costs as much as their product
            one, other = np.nonzero(maybe[some])
            one = some[one]
            if len(one) > _DENSE * len(rows) * len(columns):
                full = vectors[top : top + _ROWS] @ vectors[left : left + _COLUMNS].T
                one, other = np.nonzero(full >= above)
                one, other = one + top, other + left
            else:
                one, other = one + top, other + left
                is_near = np.einsum("ij,ij->i", vectors[one], vectors[other]) >= above
                one, other = one[is_near], other[is_near]
            once = one < other
            if once.any():
                yield one[once], other[once]
        on_progress(min(count, top + _ROWS))


def _shortened(vectors: Vector) -> Vector:
    """Each vector in the axes that hold the most, and the length of its rest; [count, axes + 1]."""
    count, dimension = vectors.shape
    kept = min(dimension, max(_FEWEST, dimension // _SHARE))
    sample = np.array(vectors[:: max(1, count // _SAMPLE)], np.float64)
    axes = np.linalg.eigh(sample.T @ sample).eigenvectors[:, ::-1][:, :kept].astype(np.float32)
    short = np.empty((count, kept + 1), np.float32)
    for top in range(0, count, _COLUMNS):
        block = vectors[top : top + _COLUMNS]
        turned = block @ axes
        left = np.einsum("ij,ij->i", block, block) - np.einsum("ij,ij->i", turned, turned)
        short[top : top + _COLUMNS, :kept] = turned
        short[top : top + _COLUMNS, kept] = np.sqrt(np.maximum(left, 0))
    return short
