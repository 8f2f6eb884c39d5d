"""What a search asks, and what it answers, as plain values; and how weighted terms become one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np

from clipsearch.serving.errors import InvalidArgument
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    PayloadSelection,
    StoredPoint,
    Vector,
    VectorName,
)
from search_service.stores.questions import Mmr

Target = Literal["image", "text", "any", "words"]
Strategy = Literal["average_vector", "best_score", "sum_scores"]
Fusion = Literal["calibrated", "rrf", "dbsf", "hybrid"]
FUSION_DEPTH = 500
"""Points of each vector name that RRF and DBSF rank, however many are wanted: a point's share, and with it
the order, depends on how many are."""
_MOST = 100.0
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
    """A stored point: its vector `name`; None = its image vector if it has one, otherwise its text vector."""

    id: str
    name: VectorName | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """What to look for, or with a negative weight, what to avoid."""

    what: TextTerm | ImageTerm | VectorTerm | PointTerm
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Newer:
    """1 at `target` (an aware datetime), half as much each `scale_s` seconds before or after it."""

    key: str
    target: datetime
    scale_s: float


@dataclass(frozen=True, slots=True)
class Nearer:
    """1 at the place, half as much each `scale_m` metres away from it."""

    key: str
    lat: float
    lon: float
    scale_m: float


@dataclass(frozen=True, slots=True)
class Popular:
    """A number / (the number + `scale`); 0 for those below 0."""

    key: str
    scale: float


@dataclass(frozen=True, slots=True)
class Boost:
    """`weight` times what a point's payload gives; 0 where the field is not one value of its type."""

    weight: float
    by: Newer | Nearer | Popular


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `path` is where it stands in the request, for errors: `searches[2]`, or "".

    `hybrid`: what the ranking of the texts' words weighs, that of the vectors being 1; 0 = none is made.
    """

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
    only_matches: bool = False
    hybrid: float = 0.0
    path: str = ""
    strategy: Strategy = "average_vector"
    context: tuple[tuple[Term, Term], ...] = ()
    mmr: Mmr | None = None
    boosts: tuple[Boost, ...] = ()
    boost_candidates: int = 0

    @property
    def all_terms(self) -> list[tuple[str, Term]]:
        """The terms, those of the context too, with the fields that they stand in."""
        return [
            *((f"query[{i}]", term) for i, term in enumerate(self.terms)),
            *(
                (f"context[{i}].{side}", term)
                for i, pair in enumerate(self.context)
                for side, term in zip(("positive", "negative"), pair, strict=True)
            ),
        ]

    @property
    def by_cosine(self) -> bool:
        """Whether points are compared with one vector, so that their scores are made of cosines."""
        return self.strategy == "average_vector" and not self.context

    @property
    def by_words(self) -> bool:
        """Whether words are looked up."""
        return self.hybrid > 0 or self.target == "words"


@dataclass(frozen=True, slots=True)
class Hit:
    """A point found. `score` is the fusion's, or `cosine`; ranks are 0 where it is `cosine`.

    `boost`: what of the score boosts have added.
    `cosine` is 0 where words alone have found it. `calibrated`: its score by the vectors, where they are
    calibrated. `words_score`: BM25.
    """

    point: StoredPoint
    score: float
    matched: VectorName | Literal["words"]
    cosine: float
    image_rank: int = 0
    text_rank: int = 0
    boost: float = 0.0
    calibrated: float | None = None
    words_rank: int = 0
    words_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits, best first; `fusion`: whose scores they are, None = they are cosines or of a strategy.

    `tokens_dropped`: index of a term whose text was cut -> tokens that it lost. `weak_match_below`: of a
    query of words alone, the cosine to images below which matches are weak. `encode_s` and `store_s`: seconds
    spent waiting for the encoder and for the store, by all searches of a request together.
    """

    hits: list[Hit]
    fusion: Fusion | None
    fingerprint: str
    encode_s: float
    store_s: float
    tokens_dropped: dict[int, int] = field(default_factory=dict)
    weak_match_below: float = 0.0
    only_matches: bool = False

    def weak(self, hit: Hit) -> bool:
        """Whether the match is no better than chance would give."""
        if self.only_matches or hit.words_rank:
            return False
        if hit.calibrated is not None:
            return hit.calibrated < 0
        return hit.matched == "image" and hit.cosine < self.weak_match_below


def check_query(query: Query) -> None:
    """Raises InvalidArgument for weights that are none, or do not go with the strategy, and where the query
    says only what to avoid; and where scores are to be calibrated, or likenesses compared, that cannot be.
    """
    weights = [term.weight for term in query.terms]
    if query.by_cosine or query.context:
        for index, weight in enumerate(weights):
            check_weight(weight, f"query[{index}].weight")
        if weights and all(weight < 0 for weight in weights):
            raise InvalidArgument(
                "query",
                "all weights are negative; a search needs a term to look for, not only what to avoid",
                "QUERY_NEGATIVE_ONLY",
            )
    else:
        for index, weight in enumerate(weights):
            if abs(weight) != 1:
                raise InvalidArgument(
                    f"query[{index}].weight",
                    f"1 or -1 with strategy {query.strategy}, whose examples count alike; is {weight:g}",
                    "WEIGHT_INVALID",
                )
    if query.mmr is not None:
        if query.target == "any":
            raise InvalidArgument(
                "mmr",
                "needs target image or text: likenesses of images and of texts cannot be compared",
                "TARGET_NEEDED",
            )
        if not query.by_cosine:
            raise InvalidArgument("mmr", "set together with strategy or context; it is one or the other")
        if query.boosts:
            raise InvalidArgument("mmr", "set together with boosts; it is one or the other")
    if query.only_matches and not query.by_cosine:
        raise InvalidArgument("only_matches", "set together with strategy or context; it is one or the other")
    if not query.by_cosine and query.target == "any" and query.fusion == "calibrated":
        scores = f"strategy {query.strategy}" if not query.context else "a context"
        raise InvalidArgument(
            "fusion",
            f"scores of {scores} cannot be calibrated, as cosines are; name target image or text, or fusion "
            "rrf or dbsf",
            "NOT_CALIBRATED",
        )


def check_weight(weight: float, field: str) -> float:
    """Returns the weight. Raises InvalidArgument for one that is none."""
    if not math.isfinite(weight):
        raise InvalidArgument(field, f"must be finite, is {weight}", "WEIGHT_INVALID")
    if weight == 0:
        raise InvalidArgument(field, "must not be 0; leave it out instead", "WEIGHT_INVALID")
    if abs(weight) > _MOST:
        raise InvalidArgument(field, f"magnitude at most {_MOST:g}, is {weight:g}", "WEIGHT_INVALID")
    return weight


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
