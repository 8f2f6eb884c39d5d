"""The nearest points of several questions, in an order that does not depend on how many are wanted.

An engine gives points of one cosine in whatever order, and which of them come last in a list depends
on the list's length. Here ties stand in the order of their ids, also across the ends of a page.

A search of compressed vectors fetches more than it is asked for and compares it again with the originals;
rescoring alone only reorders what was fetched. Of 20,000 clustered vectors (`make bench-search`) a search
for ten that fetched ten had a recall of 0.26 with binary vectors, 0.70 with product and 0.89 with scalar
ones. With the numbers below it is 0.99, with binary vectors 0.93; between 128 and 1,536 dimensions it
hardly differed. The engine walks its graph with a beam of 100 anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search_service.deadline import Deadline
from search_service.stores.protocol import (
    BinaryEncoding,
    CollectionSpec,
    ScoredPoint,
    VectorQuery,
    VectorStore,
)

_MOST = 100_000  # equal cosines that are put in order; beyond them the engine's order stands

_BEAM = 100
_TURBO_1_BIT = 160
_PRODUCT = {32: 160, 64: 320}
_BINARY: dict[BinaryEncoding, int] = {"one_bit": 1000, "one_and_half_bits": 640, "two_bits": 640}

# Long lists need fewer times their length.
LEAST_FACTOR = 4.0


async def nearest(
    store: VectorStore,
    spec: CollectionSpec,
    queries: Sequence[VectorQuery],
    deadline: Deadline,
) -> list[list[ScoredPoint]]:
    """What `store.query` answers, ties in the order of ids. One call, and others only where a tie is cut."""
    wider = [
        with_default_oversampling(
            replace(q, offset=q.offset - bool(q.offset), limit=q.limit + 1 + bool(q.offset)), spec
        )
        for q in queries
    ]
    answers = await store.query(spec.name, wider, timeout=deadline.store())
    found: list[list[ScoredPoint]] = []
    for query, asked, answer in zip(queries, wider, answers, strict=True):
        before = bool(query.offset)
        cut = len(answer) > query.limit + before - 1 and len(answer) == asked.limit
        tied_after = cut and answer[-2].score == answer[-1].score
        tied_before = before and len(answer) > 1 and answer[0].score == answer[1].score
        if tied_after or tied_before:
            found.append(await _whole(store, spec, query, deadline))
        else:
            found.append(_ordered(answer[before:])[: query.limit])
    return found


async def _whole(
    store: VectorStore, spec: CollectionSpec, query: VectorQuery, deadline: Deadline
) -> list[ScoredPoint]:
    """The same from the first point on, down to the last of those that the page's end ties with."""
    end = query.offset + query.limit
    limit = 2 * end + 16
    while True:
        asked = with_default_oversampling(replace(query, offset=0, limit=limit), spec)
        [answer] = await store.query(spec.name, [asked], timeout=deadline.store())
        if len(answer) < limit or answer[-1].score < answer[end - 1].score or limit >= _MOST:
            return _ordered(answer)[query.offset : end]
        limit *= 2


def _ordered(found: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    return sorted(found, key=lambda scored: (-scored.score, scored.point.id))


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
            return _PRODUCT.get(params.compression, _BEAM)
        case "binary":
            return _BINARY[params.encoding]
    return _BEAM


def with_default_oversampling(query: VectorQuery, spec: CollectionSpec) -> VectorQuery:
    """The query with the collection's default where it says nothing; a caller's own number stands.

    A search that is exact, or that does not rescore, is left alone: it has no use for more.
    """
    least = candidates(spec)
    if not least or query.oversampling or query.exact or query.rescore is False:
        return query
    factor = max(LEAST_FACTOR, least / (query.offset + query.limit))
    # Said outright: left to itself the engine rescores some kinds and others not.
    return replace(query, rescore=True, oversampling=factor)
