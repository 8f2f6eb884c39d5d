"""The nearest points of several questions, in an order that does not depend on how many are wanted.

An engine gives points of one cosine in whatever order, and which of them come last in a list depends
on the list's length. Here ties stand in the order of their ids, also across the ends of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search_service.deadline import Deadline
from search_service.query.oversampling import with_default_oversampling
from search_service.stores.protocol import CollectionSpec, ScoredPoint, VectorQuery, VectorStore

_MOST = 100_000  # equal cosines that are put in order; beyond them the engine's order stands


async def nearest(
    store: VectorStore,
    spec: CollectionSpec,
    queries: Sequence[VectorQuery],
    deadline: Deadline,
    at_most: float,
) -> list[list[ScoredPoint]]:
    """What `store.query` answers, ties in the order of ids. One call, and others only where a tie is cut."""
    wider = [
        with_default_oversampling(
            replace(q, offset=q.offset - bool(q.offset), limit=q.limit + 1 + bool(q.offset)), spec
        )
        for q in queries
    ]
    answers = await store.query(spec.name, wider, timeout=deadline.left(at_most=at_most))
    found: list[list[ScoredPoint]] = []
    for query, asked, answer in zip(queries, wider, answers, strict=True):
        before = bool(query.offset)
        cut = len(answer) > query.limit + before - 1 and len(answer) == asked.limit
        tied_after = cut and answer[-2].score == answer[-1].score
        tied_before = before and len(answer) > 1 and answer[0].score == answer[1].score
        if tied_after or tied_before:
            found.append(await _whole(store, spec, query, deadline, at_most))
        else:
            found.append(_ordered(answer[before:])[: query.limit])
    return found


async def _whole(
    store: VectorStore, spec: CollectionSpec, query: VectorQuery, deadline: Deadline, at_most: float
) -> list[ScoredPoint]:
    """The same from the first point on, down to the last of those that the page's end ties with."""
    end = query.offset + query.limit
    limit = 2 * end + 16
    while True:
        asked = with_default_oversampling(replace(query, offset=0, limit=limit), spec)
        [answer] = await store.query(spec.name, [asked], timeout=deadline.left(at_most=at_most))
        if len(answer) < limit or answer[-1].score < answer[end - 1].score or limit >= _MOST:
            return _ordered(answer)[query.offset : end]
        limit *= 2


def _ordered(found: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    return sorted(found, key=lambda scored: (-scored.score, scored.point.id))
