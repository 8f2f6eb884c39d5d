"""The benchmark's client: makes one load of searches and sums it up. Runs in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from clipsearch import AsyncClient, ClipSearchError
from clipsearch.client.inputs import Search
from tests.bench.encoder.corpus import query as words
from tests.bench.load import BadAnswer, Send, closed_loop
from tests.bench.search import corpus
from tests.bench.search.exact import TOP
from tests.bench.summary import Summary, summarise_closed

QUERIES = 400
DEADLINE_S = 30.0

# default: a search by a ready vector, as everybody asks. vector: the same of images alone. filtered: and
# with a filter. text: by words.
Kind = Literal["default", "vector", "filtered", "text"]


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask of which collection, by how many clients with one call in flight each.

    Calls are numbered from `first`. Words are never asked twice; vectors come back after QUERIES calls.
    """

    address: str
    collection: str
    kind: Kind
    clients: int
    first: int
    warm_s: float
    seconds: float


def run_load(load: Load) -> tuple[Summary, dict[int, list[int]]]:
    """Makes the load; blocks until its last call is answered. Also: query -> numbers of the points found."""
    _options(load.kind)(0)  # what is made once is not measured
    return asyncio.run(_run(load))


async def _run(load: Load) -> tuple[Summary, dict[int, list[int]]]:
    found: dict[int, list[int]] = {}
    async with AsyncClient(load.address, timeout=DEADLINE_S) as client:
        send = sender(client, load.collection, load.kind, found)
        end_s = load.warm_s + load.seconds
        calls = await closed_loop(send, itertools.count(load.first), load.clients, end_s)
    return summarise_closed(calls, load.warm_s, end_s, DEADLINE_S), found


def sender(client: AsyncClient, collection: str, kind: Kind, found: dict[int, list[int]]) -> Send:
    """Makes the call of a number, and keeps what it found."""
    options = _options(kind)

    async def send(number: int) -> None:
        query = number if kind == "text" else number % QUERIES
        try:
            result = await client.search(collection, **options(query))
        except ClipSearchError as error:
            raise BadAnswer(error.code) from None
        if len(result) != TOP:
            raise BadAnswer(f"{len(result)} hits")
        found[query] = [corpus.point_number(hit.id) for hit in result]

    return send


@functools.cache
def _options(kind: Kind) -> Callable[[int], Search]:
    """How the search of a number is made."""
    vectors = corpus.queries(QUERIES)

    def search(number: int) -> Search:
        match kind:
            case "text":
                return {"text": words(number), "target": "image"}
            case "default":
                return {"vector": vectors[number]}
            case "vector":
                return {"vector": vectors[number], "target": "image"}
            case "filtered":
                return {"vector": vectors[number], "target": "image", "filter": corpus.filter(number)}

    return search
