"""Asks a collection: the ranking of each query by SearchBatch, and what one search takes.

One small batch at a time, made again while the service is busy: those that it serves go first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from clipsearch.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Search
from clipsearch.client.retrying import Retrying
from clipsearch.eval.queries import Query

Ranking = list[str]
"""Ids, best first."""

_TOGETHER = 8
_TIMED = 50


async def rankings(
    client: AsyncClient,
    calls: Retrying,
    collection: str,
    searches: Sequence[Search],
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Ranking]:
    """The ids that each search finds. Raises ClipSearchError, OSError."""
    ranked: list[Ranking] = []
    for some in batched(searches, _TOGETHER):
        results = await calls.make(partial(client.search_batch, collection, some))
        ranked += [[hit.id for hit in result.hits] for result in results]
        on_progress(len(ranked))
    return ranked


async def p50_ms(client: AsyncClient, calls: Retrying, collection: str, searches: Sequence[Search]) -> float:
    """Milliseconds that a search takes, the median of at most 50 made one after another."""
    took = []
    for options in searches[:_TIMED]:
        search = partial(client.search, collection, **options)
        begun = time.perf_counter()
        await calls.make(search)
        took.append(1000 * (time.perf_counter() - begun))
    return median(took)


def search(query: Query, options: Search) -> Search:
    """What is asked for a query. One hit more than `limit` where its image is a point, which is no answer."""
    asked: Search = {**options, "payload": False, "limit": options["limit"] + bool(query.itself)}
    if query.image is not None:
        asked["image"] = query.image
    elif query.text is not None:
        asked["text"] = query.text
    return asked
