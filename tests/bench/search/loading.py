"""Loads a collection as a Python user does: the public client, batches of 256, a few in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from clipsearch import AsyncClient, Point
from clipsearch.client.inputs import Quantization
from tests.bench.search import corpus

BATCH = 256  # what the service takes at most
FLIGHTS = 4


@dataclass(frozen=True, slots=True)
class Ingest:
    """One loading of `points` points; each batch is acknowledged when it is durable."""

    points: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Points a second."""
        return self.points / self.seconds


def load_points(address: str, collection: str, count: int, quantization: Quantization = "none") -> Ingest:
    """Creates the collection, then writes the first `count` points of the corpus. Blocks."""
    return asyncio.run(_load(address, collection, count, quantization))


async def _load(address: str, collection: str, count: int, quantization: Quantization) -> Ingest:
    async with AsyncClient(address) as client:
        await client.create_collection(collection, payload_indexes=corpus.INDEXES, quantization=quantization)
        seconds = 0.0
        for block in corpus.blocks(count):  # making the vectors is not part of the time
            batches = _batches(block)
            begun = time.perf_counter()
            await asyncio.gather(*(_work(client, collection, batches) for _ in range(FLIGHTS)))
            seconds += time.perf_counter() - begun
    return Ingest(count, seconds)


async def _work(client: AsyncClient, collection: str, batches: Iterator[list[Point]]) -> None:
    for batch in batches:
        for result in await client.upsert(collection, batch):
            if result.error is not None:
                raise result.error


def _batches(block: corpus.Block) -> Iterator[list[Point]]:
    ids = block.ids()
    for first in range(0, len(ids), BATCH):
        places = range(first, min(first + BATCH, len(ids)))
        yield [Point(ids[i], image_vector=block.vectors[i], payload=block.payload(i)) for i in places]
