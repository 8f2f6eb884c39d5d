"""Loads a collection as a Python user does: the public client, batches of 256, a few in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from clipsearch import AsyncClient, Point
from clipsearch.client.inputs import Quantization
from tests.bench.search import corpus

BATCH = 256  # what the service takes at most
FLIGHTS = 4


def load_points(address: str, collection: str, count: int, quantization: Quantization = "none") -> float:
    """Creates the collection, then writes the first `count` points of the corpus. Blocks.

    Returns points a second; each batch is acknowledged when it is durable.
    """
    return asyncio.run(_load(address, collection, count, quantization))


async def _load(address: str, collection: str, count: int, quantization: Quantization) -> float:
    async with AsyncClient(address) as client:
        await client.create_collection(collection, payload_indexes=corpus.INDEXES, quantization=quantization)
        seconds = 0.0
        for block in corpus.blocks(count):  # making the vectors is not part of the time
            left = batches(block, BATCH)
            begun = time.perf_counter()
            await asyncio.gather(*(_work(client, collection, left) for _ in range(FLIGHTS)))
            seconds += time.perf_counter() - begun
    return count / seconds


async def _work(client: AsyncClient, collection: str, left: Iterator[list[Point]]) -> None:
    for batch in left:
        await write(client, collection, batch)


async def write(client: AsyncClient, collection: str, batch: list[Point]) -> None:
    """Upserts points. Raises ClipSearchError where one is refused."""
    for result in await client.upsert(collection, batch):
        if result.error is not None:
            raise result.error


def batches(block: corpus.Block, size: int) -> Iterator[list[Point]]:
    """All points of a block."""
    ids = block.ids()
    for first in range(0, len(ids), size):
        places = range(first, min(first + size, len(ids)))
        yield [Point(ids[i], image_vector=block.vectors[i], payload=block.payload(i)) for i in places]
