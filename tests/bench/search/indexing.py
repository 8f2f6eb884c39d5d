"""What callers feel while the index is built behind them: searches and writes go on, the loop is watched."""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from clipsearch import AsyncClient
from clipsearch.serving.telemetry.loop_lag import BEAT_S
from tests.bench.load import open_loop
from tests.bench.search import corpus
from tests.bench.search.calls import sender
from tests.bench.search.loading import batches, write
from tests.bench.summary import Summary, summarise_open

# Each is exact before the index is there and takes 10 ms of a core: a third of one in all. The build has
# the lowest priority, so searches that took all cores would put it off for as long as they last.
SEARCHES_PER_S = 30
WRITE_POINTS = 16
WRITE_EVERY_S = 0.1
# Building begins once nobody has written for 2 s; the writes begin after that, so that they meet it.
QUIET_S = 3.0
INDEXED = 0.95  # the writes that came meanwhile are not indexed
POLL_S = 0.5
_LAG = "clipsearch_event_loop_lag_max_seconds"


@dataclass(frozen=True, slots=True)
class Indexing:
    """One background build."""

    seconds: float
    searches: Summary
    max_stall_ms: float


def watch_indexing(address: str, metrics: str, collection: str, limit_s: float) -> Indexing:
    """Searches and writes until the index is there. Raises TimeoutError. Blocks."""
    return asyncio.run(_watch(address, metrics, collection, limit_s))


async def _watch(address: str, metrics: str, collection: str, limit_s: float) -> Indexing:
    async with AsyncClient(address) as client, asyncio.timeout(limit_s):
        done = asyncio.Event()
        stalls: list[float] = []
        begun = time.perf_counter()

        moments = (number / SEARCHES_PER_S for number in itertools.count())
        due = itertools.takewhile(lambda moment: not done.is_set(), moments)
        send = sender(client, collection, "vector", {})
        searching = asyncio.create_task(open_loop(send, itertools.count(), due))
        await asyncio.sleep(QUIET_S)
        if (await client.get_collection(collection)).indexed_share >= INDEXED:
            raise RuntimeError("the index was built before the writes began")
        writing = asyncio.create_task(_write(client, collection, done))
        while (await client.get_collection(collection)).indexed_share < INDEXED:
            stalls.append(await asyncio.to_thread(max_stall_s, metrics))
            await asyncio.sleep(POLL_S)
        seconds = time.perf_counter() - begun
        done.set()
        calls = await searching
        await writing
        stalls.append(await asyncio.to_thread(max_stall_s, metrics))
    return Indexing(seconds, summarise_open(calls, 0.0, seconds, limit_s), 1000 * max(stalls))


async def _write(client: AsyncClient, collection: str, done: asyncio.Event) -> None:
    """Writes points of the collection again, so that it keeps its size."""
    for batch in itertools.cycle(batches(next(corpus.blocks(corpus.BLOCK)), WRITE_POINTS)):
        if done.is_set():
            return
        await write(client, collection, batch)
        await asyncio.sleep(WRITE_EVERY_S)


def max_stall_s(metrics: str) -> float:
    """The longest stall of the service's event loop in the last minute, from its metrics.

    A stall may have begun up to a beat before the timer that it held up.
    """
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _LAG:
                return sample.value + BEAT_S
    raise LookupError(f"the service's metrics have no {_LAG}")
