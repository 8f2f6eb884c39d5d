"""From a query to what each vector name is asked, and from what was found to one ranking.

An engine gives points of one cosine in whatever order, and which of them come last in a list depends
on the list's length. Here ties stand in the order of their ids, also across the ends of a page.

Cosines of images and of texts lie in different ranges (the modality gap), so two lists are never sorted
together by them: by default each is calibrated (calibration.py), RRF uses ranks alone, DBSF first brings each
name's cosines to a common scale.

A search of compressed vectors fetches more than it is asked for and compares it again with the originals;
rescoring alone only reorders what was fetched. Of 20,000 clustered vectors (`make bench-search`) a search
for ten that fetched ten had a recall of 0.26 with binary vectors, 0.70 with product and 0.89 with scalar
ones. With the numbers below it is 0.99, with binary vectors 0.93; between 128 and 1,536 dimensions it
hardly differed.

Vectors as they are need a smaller beam in the graph than the engine's 100, which is most of a search's cost:
of 100,000 clustered vectors of 512 numbers, recall@10 is 0.981 with 32, 0.988 with 40, 0.992 with 48 and
1.000 with 100, and the same within 0.003 where a filter lets 90, 50 or 20 % pass. Of a million it is 0.931
with 32, 0.965 with 48, 0.977 with 64 and 0.988 with 96: the beam doubles where vectors are ten times as many.
Fewer than 10,000 to 20,000 have no graph. A list that is longer than the beam widens it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from search_service.query.calibration import Scale
from search_service.query.queries import FUSION_DEPTH, Fusion, Hit, PointTerm, Query
from search_service.stores.collection import BinaryEncoding, CollectionSpec
from search_service.stores.filters import Filter, HasId
from search_service.stores.protocol import (
    NO_PAYLOAD,
    VECTOR_NAMES,
    Context,
    Examples,
    Question,
    ScoredPoint,
    Vector,
    VectorName,
    VectorQuery,
    VectorStore,
    WordsQuery,
)

Least: TypeAlias = Mapping[VectorName, float]
"""By vector name the cosine from which on a point counts; without one any does."""

_ANY: Least = MappingProxyType({})
_SHORT = 20  # hits
_MOST_TIED = 100_000  # equal cosines that are put in order; beyond them the engine's order stands
_RRF_K = 60
# Cosines that differ by less are equal but for float32 rounding.
_EQUAL = 1e-7

_BEAM, _BEAM_VECTORS = 48, 100_000  # of so many, and of fewer
# A Qdrant server tells its default also of a collection for which nothing was said.
_NO_BEAM_SAID = (0, 100)
_CANDIDATES = 100
_TURBO_1_BIT = 160
_PRODUCT = {32: 160, 64: 320}
_BINARY: dict[BinaryEncoding, int] = {"one_bit": 1000, "one_and_half_bits": 640, "two_bits": 640}
_LEAST_FACTOR = 4.0  # long lists need fewer times their length


def vector_queries(
    query: Query, vectors: Mapping[VectorName, Vector | Examples | Context]
) -> list[VectorQuery]:
    """The question to each vector name; `vectors` by name.

    For target "any", each gives as many points as could be among the hits, of a long page without their
    payloads, which are fetched for the hits alone, later. A point that is among the first n of the joined
    ranking is among the first n of the name that it owes its place to; RRF and DBSF add shares of ranks
    down to a fixed depth, and so do hybrid searches.
    """
    one = query.target != "any" and not query.hybrid
    whole = query.fusion == "calibrated" and not query.hybrid
    end = query.offset + query.limit if whole else FUSION_DEPTH
    return [
        VectorQuery(
            vector=vector,
            name=name,
            limit=query.limit if one else end,
            offset=query.offset if one else 0,
            filter=without_stored_terms(query) or None,
            score_threshold=query.score_threshold if one else None,
            exact=query.exact,
            hnsw_ef=query.hnsw_ef,
            rescore=query.rescore,
            oversampling=query.oversampling,
            payload=query.payload if fetched_at_once(query) else NO_PAYLOAD,
            with_vectors=query.with_vectors and one,
            mmr=query.mmr,
        )
        for name, vector in vectors.items()
    ]


def fetched_at_once(query: Query) -> bool:
    """Whether the questions ask for all that the hits need: of a short page, where it saves a call."""
    if query.by_words:
        return query.payload.include == () and not query.with_vectors
    if query.target != "any":
        return True
    short = query.fusion == "calibrated" and query.offset + query.limit <= _SHORT
    return not query.with_vectors and (short or query.payload.include == ())


def without_stored_terms(query: Query) -> Filter:
    """The query's filter, and that the stored points it asks with are no answer."""
    terms = (term.what for _, term in query.all_terms)
    ids = tuple(dict.fromkeys(what.id for what in terms if isinstance(what, PointTerm)))
    if not ids:
        return query.filter
    return replace(query.filter, must_not=(*query.filter.must_not, HasId(ids)))


async def nearest(
    store: VectorStore, spec: CollectionSpec, counts: Mapping[VectorName, int], queries: Sequence[Question]
) -> list[list[ScoredPoint]]:
    """What `store.query` answers, to vectors with ties in the order of ids.

    One call, and others only where a tie is cut. `counts`: by name, about how many vectors there are.
    """
    asked = [
        query if isinstance(query, WordsQuery) else with_defaults(_wider(query), spec, counts)
        for query in queries
    ]
    answers = await store.query(spec.name, asked)
    found: list[list[ScoredPoint]] = []
    for query, wide, answer in zip(queries, asked, answers, strict=True):
        if isinstance(query, WordsQuery):
            found.append(answer)
            continue
        if query.mmr is not None:
            found.append(answer[query.offset :])
            continue
        before = bool(query.offset)
        tied_after = len(answer) == wide.limit and answer[-2].score == answer[-1].score
        tied_before = before and len(answer) > 1 and answer[0].score == answer[1].score
        # Of all that lie on the right sides of a context's pairs, too many to look at, the score is 0.
        endless = isinstance(query.vector, Context) and query.vector.target is None
        if (tied_after or tied_before) and not endless:
            found.append(await _whole(store, spec, counts, query))
        else:
            found.append(_ordered(answer[before:])[: query.limit])
    return found


def _wider(query: VectorQuery) -> VectorQuery:
    """With one more at either end, to see whether a tie is.

    What MMR chooses is in no order of scores; a server that is to leave out the first of it chooses as many
    too few (Qdrant 1.18.3).
    """
    if query.mmr is not None:
        return replace(query, offset=0, limit=query.offset + query.limit)
    return replace(
        query, offset=query.offset - bool(query.offset), limit=query.limit + 1 + bool(query.offset)
    )


async def _whole(
    store: VectorStore, spec: CollectionSpec, counts: Mapping[VectorName, int], query: VectorQuery
) -> list[ScoredPoint]:
    """The same from the first point on, down to the last of those that the page's end ties with."""
    end = query.offset + query.limit
    limit = 2 * end + 16
    while True:
        asked = with_defaults(replace(query, offset=0, limit=limit), spec, counts)
        [answer] = await store.query(spec.name, [asked])
        if len(answer) < limit or answer[-1].score < answer[end - 1].score or limit >= _MOST_TIED:
            return _ordered(answer)[query.offset : end]
        limit *= 2


def candidates(spec: CollectionSpec) -> int:
    """Points that a search of the collection fetches at least where it does not say; 0 = not compressed.

    A number and no factor: lists of several lengths are then the best of the same candidates, so that
    the shorter ones are the beginnings of the longer.
    """
    params = spec.quantization_params
    match spec.quantization:
        case "none":
            return 0
        case "turbo" if params.bits == 1:
            return _TURBO_1_BIT
        case "product":
            return _PRODUCT.get(params.compression, _CANDIDATES)
        case "binary":
            return _BINARY[params.encoding]
    return _CANDIDATES


def with_defaults(query: VectorQuery, spec: CollectionSpec, counts: Mapping[VectorName, int]) -> VectorQuery:
    """The query with the beam or the oversampling of the collection, where it says nothing itself.

    An exact search has no use for either, one that does not rescore none for more than it asks for; and of
    searches by examples nobody has measured any.
    """
    if query.exact or not isinstance(query.vector, np.ndarray):
        return query
    if least := candidates(spec):
        if query.oversampling or not query.rescore:
            return query
        wanted = query.offset + query.limit if query.mmr is None else query.mmr.candidates
        return replace(query, oversampling=max(_LEAST_FACTOR, least / wanted))
    # Who has a graph built with a beam of its own expects the engine to search with that one.
    if query.hnsw_ef or spec.hnsw_ef_construct not in _NO_BEAM_SAID:
        return query
    times = counts.get(query.name, 0) / _BEAM_VECTORS
    return replace(query, hnsw_ef=round(_BEAM * 2 ** math.log10(max(1.0, times))))


@dataclass(frozen=True, slots=True)
class Ranked:
    """The hits that were asked for, best first, ties by their ids; `fused`: scores are no cosines."""

    hits: list[Hit]
    fused: bool


def rank(
    query: Query,
    found: Sequence[Sequence[ScoredPoint]],
    scales: Mapping[VectorName, Scale] | None,
    least: Least = _ANY,
) -> Ranked:
    """`found` holds the answers to `vector_queries`, as `nearest` orders them; `least` says what counts.

    Cosines stand as they are where one vector name was asked, or only one can answer: `scales` None says
    that the collection has vectors of one name only; RRF and DBSF need none.
    """
    if query.target == "words":
        return Ranked([], False)
    if query.target != "any":
        return Ranked(_by_cosine(query.target, found[0], least), False)
    fused = scales is not None if query.fusion == "calibrated" else all(found)
    image, text = found
    if fused:
        ranked = fuse(image, text, query.fusion, scales or {}, least)
    else:
        ranked = _by_cosine("image" if image else "text", image or text, least)
    if query.score_threshold is not None:
        ranked = [hit for hit in ranked if hit.score >= query.score_threshold]
    return Ranked(ranked[query.offset : query.offset + query.limit], fused)


def fuse(
    image: Sequence[ScoredPoint],
    text: Sequence[ScoredPoint],
    method: Fusion,
    scales: Mapping[VectorName, Scale],
    least: Least = _ANY,
) -> list[Hit]:
    """All points found that count, best first; ties in the order of their ids, as `nearest` gives the lists.

    A calibrated point has the larger of its scores, and `matched` is whose that is; otherwise it has the sum
    of its shares, and `matched` is the name with the better rank (image on a tie). A rank counts from 1, and
    0 says that the point was not found. `scales` are for "calibrated" alone.
    """
    lists = dict(zip(VECTOR_NAMES, (image, text), strict=True))
    cosines = {name: {one.point.id: one.score for one in own} for name, own in lists.items()}
    ranks = {name: {id: n for n, id in enumerate(own, start=1)} for name, own in cosines.items()}
    match method:
        case "calibrated":
            scores = {n: {id: scales[n].score(cos) for id, cos in own.items()} for n, own in cosines.items()}
        case "rrf":
            scores = {n: {id: 1 / (_RRF_K + rank) for id, rank in own.items()} for n, own in ranks.items()}
        case "dbsf":
            scores = {n: _scaled(own) for n, own in cosines.items()}
    hits = []
    for id, point in {one.point.id: one.point for own in lists.values() for one in own}.items():
        names = [name for name in VECTOR_NAMES if id in cosines[name]]
        if all(cosines[name][id] < least.get(name, -math.inf) for name in names):
            continue
        if method == "calibrated":
            matched = max(names, key=lambda name: scores[name][id])
            score = scores[matched][id]
        else:
            matched = min(names, key=lambda name: ranks[name][id])
            score = sum(scores[name][id] for name in names)
        hits.append(
            Hit(
                point,
                score,
                matched,
                cosines[matched][id],
                ranks["image"].get(id, 0),
                ranks["text"].get(id, 0),
                calibrated=score if method == "calibrated" else None,
            )
        )
    return sorted(hits, key=lambda hit: (-hit.score, hit.point.id))


def _scaled(cosines: dict[str, float]) -> dict[str, float]:
    """Cosines on a line where mean - 3 sd is 0 and mean + 3 sd is 1; all 0.5 if they are equal.

    Not cut to 0-1: the best of a name often lies beyond 3 sd, and cutting would make such hits equal.
    """
    values = np.fromiter(cosines.values(), dtype=np.float64, count=len(cosines))
    if not len(values):
        return {}
    mean, deviation = values.mean(), values.std()
    if deviation <= _EQUAL:
        return dict.fromkeys(cosines, 0.5)
    # Rounded, or equal scores of two names would differ in their last bits and not count as a tie.
    scaled = np.round((values - mean) / (6 * deviation) + 0.5, 9)
    return dict(zip(cosines, scaled.tolist(), strict=True))


def _ordered(found: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    return sorted(found, key=lambda scored: (-scored.score, scored.point.id))


def _by_cosine(name: VectorName, found: Sequence[ScoredPoint], least: Least) -> list[Hit]:
    counting = [scored for scored in found if scored.score >= least.get(name, -math.inf)]
    return [Hit(scored.point, scored.score, name, scored.score) for scored in counting]
