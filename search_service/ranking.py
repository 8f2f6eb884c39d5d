"""From a query to what each side is asked, and from what the sides found to one ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from search_service.filters import Filter, HasId
from search_service.fusion import RRF_K, Candidate, Fused, fuse
from search_service.queries import Hit, Query
from search_service.stores.protocol import SIDES, PayloadSelection, ScoredPoint, Side, Vector, VectorQuery
from search_service.terms import Stored

_FEWEST_CANDIDATES = 128

Ranked = TypeVar("Ranked", Fused, Hit)


def side_queries(query: Query, vector: Vector) -> list[VectorQuery]:
    """One question, or for target "any" two, the image side first.

    With two, each side gives its best `candidates(...)` points without their payloads, which are
    fetched for the hits alone, later.
    """
    question = VectorQuery(
        vector=vector,
        side="image",
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
        return [replace(question, side=query.target)]
    return [
        replace(
            question,
            side=side,
            limit=candidates(query.offset + query.limit),
            offset=0,
            score_threshold=None,
            payload=PayloadSelection(include=()),
            with_vectors=False,
        )
        for side in SIDES
    ]


def candidates(window: int) -> int:
    """How many points each side contributes to a fused ranking of which the first `window` are wanted.

    A point that is beyond rank 2 * window + 60 on both sides gets less than 2 / (2 * window + 120) by
    RRF; the first `window` of either side get 1 / (60 + window) or more. So none of them is missed.
    Rounded up to a power of two, so that neighbouring pages rank the same candidates.
    """
    return max(_FEWEST_CANDIDATES, 1 << (2 * window + RRF_K - 1).bit_length())


def rank(query: Query, found: Sequence[Sequence[ScoredPoint]]) -> tuple[list[Hit], bool]:
    """The hits that were asked for, best first, ties in the order of their ids; and whether they are fused.

    `found` holds the answers to `side_queries`. Where only one of two sides found anything, its
    cosines stand.
    """
    if query.target != "any":
        return _by_cosine(query.target, found[0]), False
    image, text = found
    if image and text:
        return _fused(query, image, text), True
    side: Side = "image" if image else "text"
    return _page(query, _by_cosine(side, image or text)), False


def _page(query: Query, ranked: Sequence[Ranked]) -> list[Ranked]:
    """Of a whole ranking the part that was asked for."""
    if query.score_threshold is not None:
        ranked = [hit for hit in ranked if hit.score >= query.score_threshold]
    return list(ranked[query.offset : query.offset + query.limit])


def _fused(query: Query, image: Sequence[ScoredPoint], text: Sequence[ScoredPoint]) -> list[Hit]:
    points = {scored.point.id: scored.point for scored in (*image, *text)}
    return [
        Hit(points[hit.id], hit.score, hit.matched, hit.cosine, hit.image_rank, hit.text_rank)
        for hit in _page(query, fuse(_candidates(image), _candidates(text), query.fusion))
    ]


def _candidates(found: Sequence[ScoredPoint]) -> list[Candidate]:
    return [Candidate(scored.point.id, scored.score) for scored in found]


def _by_cosine(side: Side, found: Sequence[ScoredPoint]) -> list[Hit]:
    hits = [Hit(scored.point, scored.score, side, scored.score) for scored in found]
    return sorted(hits, key=lambda hit: (-hit.score, hit.point.id))


def _without_stored_terms(query: Query) -> Filter:
    """The query's filter, and that the stored points it asks with are no answer."""
    ids = tuple(dict.fromkeys(term.what.id for term in query.terms if isinstance(term.what, Stored)))
    if not ids:
        return query.filter
    return replace(query.filter, must_not=(*query.filter.must_not, HasId(ids)))
