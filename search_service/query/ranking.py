"""From a query to what each vector name is asked, and from what was found to one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search_service.query.calibration import Scale
from search_service.query.fusion import DEPTH, fuse
from search_service.query.queries import Hit, Query
from search_service.query.terms import PointTerm
from search_service.stores.filters import Filter, HasId
from search_service.stores.protocol import (
    VECTOR_NAMES,
    PayloadSelection,
    ScoredPoint,
    Vector,
    VectorName,
    VectorQuery,
)

_SHORT = 20  # hits


def vector_queries(query: Query, vectors: Mapping[VectorName, Vector]) -> list[VectorQuery]:
    """One question, or for target "any" two, that to the image vectors first; `vectors` by vector name.

    With two, each gives as many points as could be among the hits, of a long page without their payloads,
    which are fetched for the hits alone, later. A point that is among the first n of the joined ranking is
    among the first n of the name that it owes its place to; RRF and DBSF add shares of ranks down to a
    fixed depth.
    """
    question = VectorQuery(
        vector=vectors[VECTOR_NAMES[0] if query.target == "any" else query.target],
        name=VECTOR_NAMES[0] if query.target == "any" else query.target,
        limit=query.limit,
        offset=query.offset,
        filter=_without_stored_terms(query) or None,
        score_threshold=query.score_threshold,
        exact=query.exact,
        hnsw_ef=query.hnsw_ef,
        rescore=query.rescore,
        oversampling=query.oversampling,
        payload=query.payload,
        with_vectors=query.with_vectors,
    )
    if query.target != "any":
        return [question]
    payload = query.payload if fetched_at_once(query) else PayloadSelection(include=())
    return [
        replace(
            question,
            vector=vectors[name],
            name=name,
            limit=query.offset + query.limit if query.fusion == "calibrated" else DEPTH,
            offset=0,
            score_threshold=None,
            payload=payload,
            with_vectors=False,
        )
        for name in VECTOR_NAMES
    ]


def fetched_at_once(query: Query) -> bool:
    """Whether the questions ask for all that the hits need: of a short page, where it saves a call."""
    if query.target != "any":
        return True
    short = query.fusion == "calibrated" and query.offset + query.limit <= _SHORT
    return not query.with_vectors and (short or query.payload.include == ())


@dataclass(frozen=True, slots=True)
class Ranked:
    """The hits that were asked for, best first, ties by their ids; `fused`: scores are no cosines."""

    hits: list[Hit]
    fused: bool


def rank(
    query: Query, found: Sequence[Sequence[ScoredPoint]], scales: Mapping[VectorName, Scale] | None
) -> Ranked:
    """`found` holds the answers to `vector_queries`, each in its order (nearest.py).

    Cosines stand as they are where one vector name was asked, or only one can answer: `scales` None says
    that the collection has vectors of one name only; RRF and DBSF need none.
    """
    if query.target != "any":
        return Ranked(_by_cosine(query.target, found[0]), False)
    image, text = found
    if query.fusion == "calibrated":
        if scales is not None:
            return Ranked(_page(query, _calibrated(image, text, scales)), True)
    elif image and text:
        return Ranked(_page(query, fuse(image, text, query.fusion)), True)
    name: VectorName = "image" if image else "text"
    return Ranked(_page(query, _by_cosine(name, image or text)), False)


def _page(query: Query, ranked: Sequence[Hit]) -> list[Hit]:
    """Of a whole ranking the part that was asked for."""
    if query.score_threshold is not None:
        ranked = [hit for hit in ranked if hit.score >= query.score_threshold]
    return list(ranked[query.offset : query.offset + query.limit])


def _calibrated(
    image: Sequence[ScoredPoint], text: Sequence[ScoredPoint], scales: Mapping[VectorName, Scale]
) -> list[Hit]:
    """Every point with the larger of its scores; on a tie that of its image."""
    ranks = {
        name: {scored.point.id: rank for rank, scored in enumerate(found, start=1)}
        for name, found in zip(VECTOR_NAMES, (image, text), strict=True)
    }
    hits: dict[str, Hit] = {}
    for name, found in zip(VECTOR_NAMES, (image, text), strict=True):
        scale = scales[name]
        for scored in found:
            id, score = scored.point.id, scale.score(scored.score)
            if id not in hits or score > hits[id].score:
                hits[id] = Hit(
                    scored.point,
                    score,
                    name,
                    scored.score,
                    ranks["image"].get(id, 0),
                    ranks["text"].get(id, 0),
                )
    return sorted(hits.values(), key=lambda hit: (-hit.score, hit.point.id))


def _by_cosine(name: VectorName, found: Sequence[ScoredPoint]) -> list[Hit]:
    return [Hit(scored.point, scored.score, name, scored.score) for scored in found]


def _without_stored_terms(query: Query) -> Filter:
    """The query's filter, and that the stored points it asks with are no answer."""
    ids = tuple(dict.fromkeys(term.what.id for term in query.terms if isinstance(term.what, PointTerm)))
    if not ids:
        return query.filter
    return replace(query.filter, must_not=(*query.filter.must_not, HasId(ids)))
