"""The benchmark's client: makes one load of searches and sums it up. Runs in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Callable, Mapping
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

# vector: the ordinary search, by a ready vector. narrow, broad: the same with a filter. both sides: the
# same for the default target, which asks pictures and texts. exact: without the index. text: by words.
Kind = Literal["vector", "narrow", "broad", "both sides", "exact", "text"]


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


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came out, and what making the load cost the client. `found`: query -> numbers of points."""

    summary: Summary
    client_cores: float
    found: dict[int, list[int]]


def run_load(load: Load) -> Loaded:
    """Makes the load; blocks until its last call is answered."""
    _options(load.kind)(0)  # what is made once is not measured
    wall, cpu = time.perf_counter(), time.process_time()
    summary, found = asyncio.run(_run(load))
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return Loaded(summary, cores, found)


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

    async def send(number: int) -> Mapping[str, float]:
        query = number if kind == "text" else number % QUERIES
        try:
            result = await client.search(collection, **options(query))
        except ClipSearchError as error:
            raise BadAnswer(error.code) from None
        if len(result) != TOP:
            raise BadAnswer(f"{len(result)} hits")
        found[query] = [corpus.point_number(hit.id) for hit in result]
        return {"encode": result.encode_ms, "store": result.store_ms}

    return send


@functools.cache
def _options(kind: Kind) -> Callable[[int], Search]:
    """How the search of a number is made."""
    vectors = corpus.queries(QUERIES)

    def search(number: int) -> Search:
        match kind:
            case "text":
                return {"text": words(number), "target": "image"}
            case "both sides":
                return {"vector": vectors[number]}
            case "exact":
                return {"vector": vectors[number], "target": "image", "exact": True}
            case "vector":
                return {"vector": vectors[number], "target": "image"}
            case name:
                filter = corpus.expressions(name, number)
                return {"vector": vectors[number], "target": "image", "filter": filter}

    return search
