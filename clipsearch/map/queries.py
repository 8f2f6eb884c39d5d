"""Questions put to the map: where a text or an image would lie, and what lies next to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from clipsearch.client.types import Vector
from clipsearch.map.projection import Positions
from clipsearch.map.sample import IMAGE, TEXT, Sample

NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Question:
    """A text or an image to place: its title, its vector (float32 [dimension], length 1), its side."""

    title: str
    vector: Vector
    side: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a question lies in one space: the rows nearest to it, best first, their cosines, x and y."""

    title: str
    rows: tuple[int, ...]
    cosines: tuple[float, ...]
    x: float
    y: float


def moved(question: Question, sample: Sample) -> Vector:
    """The question's vector in the centred space."""
    rows = sample.side == question.side
    if not rows.any():
        rows = sample.side == (TEXT if question.side == IMAGE else IMAGE)
    away = question.vector - sample.vectors[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(away / max(float(np.linalg.norm(away)), 1e-12), np.float32)


def place(title: str, vector: Vector, vectors: Vector, positions: Positions) -> Placed:
    """The question among `vectors`; it is drawn in the middle of its five nearest."""
    cosines = vectors @ vector
    rows = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
    x, y = positions[rows[:5]].mean(axis=0)
    return Placed(
        title,
        tuple(rows.tolist()),
        tuple(round(float(c), 4) for c in cosines[rows]),
        float(x),
        float(y),
    )


def neighbours(vectors: Vector, rows: NDArray[np.intp] | None = None) -> NDArray[np.int32]:
    """The rows nearest to each of some (None = all), best first: int32 [rows, min(10, n - 1)]. Exact.

    No row is among its own.
    """
    rows = np.arange(len(vectors)) if rows is None else rows
    k = min(NEIGHBOURS, len(vectors) - 1)
    # Of vectors of length 1 the nearest are those of the largest cosine. One more, as each finds itself.
    index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(vectors)
    found = index.kneighbors(vectors[rows], return_distance=False)
    others = found != rows[:, None]
    others[others.all(axis=1), -1] = False  # it lies behind others that are equal to it
    return np.asarray(found[others].reshape(len(rows), k), np.int32)
