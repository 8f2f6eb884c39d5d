"""Weighted terms become one query vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsearch.serving.errors import InvalidArgument
from search_service.stores.protocol import Vector, VectorName

MAX_WEIGHT = 100.0
# Below this share of what the weights could add up to, float32 noise decides the direction of the sum.
_CANCELLED = 1e-6


@dataclass(frozen=True, slots=True)
class TextTerm:
    """A text to encode."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageTerm:
    """The bytes of an image to encode."""

    data: bytes


@dataclass(frozen=True, slots=True)
class VectorTerm:
    """A vector, float32 [dimension], normalised; `kind`: what it was made of, None = not said."""

    vector: Vector
    kind: VectorName | None = None


@dataclass(frozen=True, slots=True)
class PointTerm:
    """A stored point: its image vector if it has one, otherwise its text vector."""

    id: str


@dataclass(frozen=True, slots=True)
class Term:
    """What to look for, or with a negative weight, what to avoid."""

    what: TextTerm | ImageTerm | VectorTerm | PointTerm
    weight: float = 1.0


def check_weights(weights: Sequence[float]) -> None:
    """Raises InvalidArgument for a weight that is no weight, and where none is positive."""
    for index, weight in enumerate(weights):
        field = f"query[{index}].weight"
        if not math.isfinite(weight):
            raise InvalidArgument(field, f"must be finite, is {weight}", "WEIGHT_INVALID")
        if weight == 0:
            raise InvalidArgument(field, "must not be 0; leave the term out instead", "WEIGHT_INVALID")
        if abs(weight) > MAX_WEIGHT:
            raise InvalidArgument(field, f"magnitude at most {MAX_WEIGHT:g}, is {weight:g}", "WEIGHT_INVALID")
    if all(weight < 0 for weight in weights):
        raise InvalidArgument(
            "query",
            "all weights are negative; a search needs a term to look for, not only what to avoid",
            "QUERY_NEGATIVE_ONLY",
        )


def compose(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """The L2-normalised sum of weight x vector; `vectors` are normalised, float32 [dimension].

    Raises InvalidArgument if the terms cancel one another out.
    """
    if len(vectors) == 1 and weights[0] > 0:
        return vectors[0]
    factors = np.asarray(weights, dtype=np.float64)
    total = factors @ np.stack(vectors).astype(np.float64)
    length = float(np.linalg.norm(total))
    if length <= _CANCELLED * float(np.abs(factors).sum()):
        raise InvalidArgument(
            "query",
            "the weighted terms cancel one another out: their sum is zero and has no direction",
            "QUERY_ZERO",
        )
    return (total / length).astype(np.float32)
