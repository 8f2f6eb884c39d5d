"""What a search asks, and what it answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from search_service.query.terms import Term
from search_service.stores.filters import Filter
from search_service.stores.protocol import PayloadSelection, StoredPoint, VectorName

Target = Literal["image", "text", "any"]
Method = Literal["rrf", "dbsf"]
Fusion = Literal["calibrated"] | Method


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `path` is where it stands in the request, for errors: `searches[2]`, or ""."""

    collection: str
    terms: tuple[Term, ...]
    target: Target = "any"
    filter: Filter = field(default_factory=Filter)
    limit: int = 10
    offset: int = 0
    score_threshold: float | None = None
    with_vectors: bool = False
    payload: PayloadSelection = field(default_factory=PayloadSelection)
    fusion: Fusion = "calibrated"
    fingerprint: str = ""
    exact: bool = False
    hnsw_ef: int = 0
    rescore: bool = True
    oversampling: float = 0.0
    path: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A point found. `score` is the fusion's, or `cosine`; ranks are 0 where it is `cosine`."""

    point: StoredPoint
    score: float
    matched: VectorName
    cosine: float
    image_rank: int = 0
    text_rank: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent waiting for the encoder and for the store, by all searches of a request together."""

    encode_s: float
    store_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits, best first; `fusion`: whose scores they are, None = they are cosines.

    `tokens_dropped`: index of a term whose text was cut -> tokens that it lost. `weak_match_below`: of a
    query of words alone, the cosine to images below which matches are weak.
    """

    hits: list[Hit]
    fusion: Fusion | None
    fingerprint: str
    timings: Timings
    tokens_dropped: dict[int, int] = field(default_factory=dict)
    weak_match_below: float = 0.0

    def weak(self, hit: Hit) -> bool:
        """Whether the match is no better than chance would give."""
        if self.fusion == "calibrated":
            return hit.score < 0
        return hit.matched == "image" and hit.cosine < self.weak_match_below
