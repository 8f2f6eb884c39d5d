"""What unrelated queries find at best, by vector name and kind of query; a score is the distance from it.

Cosines of text to text, image to image and text to image lie in different ranges (the modality gap).
Measured for a collection once in a while, from its own vectors: each vector of a sample asks for the
others, which gives, for each kind of query (its name is that of the vectors that are of its kind) and
each vector name, mean and spread of all cosines and of the best one.

A collection may hold a thing many times, and the best match of a copy is another copy. So the best
cosine of the unrelated is not read off but extrapolated, from the 10th to the 50th best: where a tail
is exponential, j times the distance of the j-th from the next has the same expectation for every j
(Rényi 1953). The same takes it from the sample to the size of the collection.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_service.stores.protocol import (
    VECTOR_NAMES,
    Vector,
    VectorName,
    VectorSample,
)

Floats: TypeAlias = NDArray[np.float32]

SAMPLE = 512  # vectors of a name that are measured
_QUERIES = 128  # of them, which ask
_NEAREST, _FARTHEST = 10, 50  # ranks between which the tail is looked at
_KEPT = 32  # vectors of a name that are kept, to tell kinds apart and to measure other kinds' spread
_LEAST_SPREAD = 0.01
_PRIOR = 4  # queries that the spread of the best is taken to be half of all's by, before there are any
# Distances of a query of the other kind count so much above and below what the unrelated find. A match
# of its own kind stands out far more clearly than one of another, which must not push it aside; among
# what is no match the two must mix. Chosen on four sets of 430 to 860 captioned images, whole and in
# parts of 50 and 200: 0.25 to 0.4 and 0.5 to 0.7 do about as well.
_OTHER_ABOVE, _OTHER_BELOW = 0.25, 0.6


@dataclass(frozen=True, slots=True)
class Figures:
    """Cosines of unrelated queries of one kind to one vector name: of all, and of each query's best."""

    mean: float
    spread: float
    best: float
    best_spread: float


# For what a collection is too small to tell: one text has no other text beside it.
_SAME_KIND = Figures(0.3, 0.2, 0.6, 0.1)
_OTHER_KIND = Figures(0.05, 0.06, 0.1, 0.05)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A term: its vector (normalised float32 [dimension]), its weight, its kind (None = not known)."""

    vector: Vector
    weight: float
    kind: VectorName | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Turns cosines of one query to one vector name into scores.

    `own`: the share of the query that is of the vectors' own kind.
    """

    best: float
    best_spread: float
    own: float

    def score(self, cosine: float) -> float:
        """How many spreads the cosine is above what unrelated queries find at best."""
        distance = (cosine - self.best) / self.best_spread
        other = _OTHER_ABOVE if distance > 0 else _OTHER_BELOW
        return distance * (self.own + (1 - self.own) * other)


@dataclass(frozen=True)
class Calibration:
    """The figures of a collection, by kind of query and vector name; `counts`: vectors when measured.

    `kept`: by vector name float32 [up to 32, dimension], of length 1.
    """

    counts: Mapping[VectorName, int]
    figures: Mapping[tuple[VectorName, VectorName], Figures]
    kept: Mapping[VectorName, Floats]

    @property
    def both(self) -> bool:
        """Whether there are vectors of both names, so that searches of both have something to join."""
        return all(self.counts[name] for name in VECTOR_NAMES)

    def kind(self, term: Weighted) -> VectorName:
        """The term's kind; of a ready vector of unknown kind that of the vectors around it."""
        if term.kind is not None:
            return term.kind
        if not self.both:
            return "image" if self.counts["image"] else "text"
        axis, middle = self._axis
        return "image" if float(term.vector @ axis) > middle else "text"

    @cached_property
    def _axis(self) -> tuple[Vector, float]:
        """From the mean of the texts to that of the images, and where on it lies what is as near to both."""
        image, text = (self.kept[name].mean(axis=0) for name in VECTOR_NAMES)
        return image - text, float((image + text) / 2 @ (image - text))

    def spread(self, term: Weighted, name: VectorName) -> float:
        """The spread of cosines of the term's kind to the vectors `name`."""
        figures = self.figures.get((self.kind(term), name))
        if figures is not None:
            return figures.spread
        cosines = self.kept[name] @ term.vector
        return max(float(cosines.std()), _LEAST_SPREAD) if len(cosines) > 1 else _OTHER_KIND.spread

    def scale(self, terms: Sequence[Weighted], name: VectorName) -> Scale:
        """The scale of the query that `compose` makes of the terms for the vectors `name`.

        Of several terms a is weight over spread. Their sum has length |sum of a v|, and its cosines have the
        mean (sum of a m) / length and the spread |sum of weight v| / length; the best is as many spreads
        above the mean as the terms' are, averaged by the squares of their weights.
        """
        kinds = [self.kind(term) for term in terms]
        figures = [self._figures(kind, name) for kind in kinds]
        own = [kind == name for kind in kinds]
        if len(terms) == 1:
            [only] = figures
            return Scale(only.best, only.best_spread, float(own[0]))
        weights = np.array([term.weight for term in terms])
        vectors = np.stack([term.vector for term in terms]).astype(np.float64)
        means, spreads, best, best_spreads = np.array([astuple(one) for one in figures]).T
        length = max(float(np.linalg.norm((weights / spreads) @ vectors)), 1e-9)
        shares = weights**2 / (weights**2).sum()
        root = math.sqrt(float((weights**2).sum()))
        spread = max(float(np.linalg.norm(weights @ vectors)), 0.1 * root) / length
        mean = float((weights / spreads * means).sum()) / length
        return Scale(
            mean + spread * float((shares * (best - means) / spreads).sum()),
            max(spread * float((shares * best_spreads / spreads).sum()), 1e-6),
            float((shares * np.array(own)).sum()),
        )

    def _figures(self, kind: VectorName, name: VectorName) -> Figures:
        found = self.figures.get((kind, name))
        if found is not None:
            return found
        other: VectorName = "text" if name == "image" else "image"
        if kind == name:
            return self.figures.get((other, other), _SAME_KIND)
        return self.figures.get((name, kind), _OTHER_KIND)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads again."""
        return {
            "counts": dict(self.counts),
            "figures": {f"{kind} {name}": asdict(one) for (kind, name), one in self.figures.items()},
            "kept": {name: _packed(vectors) for name, vectors in self.kept.items()},
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Calibration:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not make."""
        return cls(
            {name: int(kept["counts"][name]) for name in VECTOR_NAMES},
            {
                (kind, name): Figures(**kept["figures"][f"{kind} {name}"])
                for kind in VECTOR_NAMES
                for name in VECTOR_NAMES
                if f"{kind} {name}" in kept["figures"]
            },
            {name: _unpacked(kept["kept"][name]) for name in VECTOR_NAMES},
        )


def measure(samples: Mapping[VectorName, VectorSample], counts: Mapping[VectorName, int]) -> Calibration:
    """The figures of a collection from a sample of each name's vectors. Blocks, for 10 ms."""
    figures = {}
    for kind in VECTOR_NAMES:
        for name in VECTOR_NAMES:
            found = measured(samples[kind], samples[name], counts[name])
            if found is not None:
                figures[kind, name] = found
    kept = {name: _unpacked(_packed(samples[name].vectors[:_KEPT])) for name in VECTOR_NAMES}
    return Calibration(dict(counts), figures, kept)


def measured(asking: VectorSample, asked: VectorSample, count: int) -> Figures | None:
    """What the first 128 of `asking` find among `asked`, a sample of `count` vectors.

    None where there is nothing but a point's own vectors.
    """
    ids = {id: column for column, id in enumerate(asked.ids)}
    queries = asking.vectors[:_QUERIES]
    if not len(queries) or not len(asked.ids):
        return None
    cosines = queries @ asked.vectors.T
    others = np.ones(cosines.shape, dtype=bool)
    for row, id in enumerate(asking.ids[:_QUERIES]):
        if id in ids:
            others[row, ids[id]] = False
    rows = others.any(axis=1)
    if not rows.any():
        return None
    all_cosines = cosines[others]
    spread = max(float(all_cosines.std()), _LEAST_SPREAD)
    best = _best(np.where(others, cosines, -np.inf)[rows], count)
    prior = 0.5 * spread
    variance = (len(best) * float(best.var()) + _PRIOR * prior**2) / (len(best) + _PRIOR)
    return Figures(
        float(all_cosines.mean()), spread, float(best.mean()), max(math.sqrt(variance), _LEAST_SPREAD)
    )


def _best(cosines: Floats, count: int) -> NDArray[np.float64]:
    """By row, the best cosine that is to be expected among `count` vectors; -inf is none."""
    there = int(np.isfinite(cosines).sum(axis=1).min())
    last = min(_FARTHEST, there - 1)
    top = np.partition(-cosines, min(last, cosines.shape[1] - 1), axis=1)[:, : last + 1]
    tail = -np.sort(top, axis=1).astype(np.float64)
    first = max(1, min(_NEAREST, last // 4))
    if last <= first:
        return tail[:, 0]
    ranks = np.arange(first, last)
    step = ((tail[:, first - 1 : last - 1] - tail[:, first:last]) * ranks).mean(axis=1)
    extrapolated = tail[:, first - 1] + step * (1 / np.arange(1, first)).sum()
    best = np.minimum(tail[:, 0], extrapolated) + step * max(0.0, math.log(count / cosines.shape[1]))
    bounded: NDArray[np.float64] = np.minimum(best, 1.0)
    return bounded


def _packed(vectors: Floats) -> dict[str, Any]:
    """As int8, so that it fits beside a collection's settings on a server."""
    peak = float(np.abs(vectors).max()) if vectors.size else 1.0
    numbers = np.round(vectors / max(peak, 1e-9) * 127).astype(np.int8)
    return {"shape": list(vectors.shape), "int8": base64.b64encode(numbers.tobytes()).decode()}


def _unpacked(packed: Mapping[str, Any]) -> Floats:
    numbers = np.frombuffer(base64.b64decode(packed["int8"]), np.int8).astype(np.float32)
    vectors: Floats = numbers.reshape(packed["shape"])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(lengths, np.float32(1e-9))
    return vectors
