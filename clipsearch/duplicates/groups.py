"""Reads a collection's vectors, and tells its groups of near-equal points with their payloads."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from clipsearch.channel.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Vector, VectorName
from clipsearch.duplicates.near import Groups, Positions, near

_PAGE = 256
_PAGE_BYTES = 8 << 20  # of vectors
_ROWS = 4096
_RETRY_S = 120.0

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A point of a group. `cosine`: to the group's first point, -1 to 1."""

    id: str
    cosine: float
    payload: Mapping[str, Any]


async def duplicates(
    client: AsyncClient,
    collection: str,
    name: VectorName,
    above: float,
    on_progress: OnProgress = lambda step, done, total: None,
) -> AsyncIterator[list[Member]]:
    """Groups of points whose vectors of that name are near one another, the largest first.

    Two points are near where their cosine is at least `above`, and a group is what such pairs connect: two
    of its points may be less near. The first is the one that is near to the most. All points are compared,
    no index is asked. Vectors lie in a temporary file; memory holds a quarter of them. Raises
    ClipSearchError and OSError.
    """
    calls = Retrying(_RETRY_S)
    found = await calls.make(partial(client.get_collection, collection))
    with tempfile.TemporaryFile() as file:
        reading = _Reading(client, calls, name, found.dimension)
        total = found.image_vectors if name == "image" else found.text_vectors
        await reading.read(found.name, file, lambda done: on_progress("reading", done, max(done, total)))
        if len(reading.ids) < 2:
            return
        vectors = np.asarray(np.memmap(file, np.float32, "r", shape=(len(reading.ids), found.dimension)))
        compared = partial(on_progress, "comparing")
        groups = await asyncio.to_thread(_groups, vectors, above, compared)
        calls.renew()
        for group in groups:
            cosines = await asyncio.to_thread(_cosines, vectors, group)
            members = [
                Member(point.id, cosine, point.payload)
                for batch in batched(zip(group, cosines, strict=True), _PAGE)
                for point, cosine in await reading.payloads(found.name, batch)
            ]
            if len(members) > 1:  # some may have gone meanwhile
                yield members


class _Reading:
    """The calls, and the ids of the vectors that were read, in order."""

    def __init__(self, client: AsyncClient, calls: Retrying, name: VectorName, dimension: int) -> None:
        self._client = client
        self._calls = calls
        self._name = name
        self._page = max(1, min(_PAGE, _PAGE_BYTES // (8 * dimension)))
        self.ids: list[str] = []

    async def read(self, collection: str, file: BinaryIO, on_progress: Callable[[int], None]) -> None:
        """Appends the collection's vectors of that name to the file."""
        list_page = partial(
            self._client.list_page, collection, page_size=self._page, payload=False, with_vectors=True
        )
        async for page in self._calls.pages(list_page):
            for point in page:
                vector = point.image_vector if self._name == "image" else point.text_vector
                if vector is not None:
                    file.write(vector.tobytes())
                    self.ids.append(point.id)
            on_progress(len(self.ids))
        file.flush()

    async def payloads(self, collection: str, batch: list[tuple[int, float]]) -> list[tuple[Any, float]]:
        """Those of some points that are there yet, each with its cosine."""
        cosines = {self.ids[position]: cosine for position, cosine in batch}
        ask = partial(self._client.get_points, collection, list(cosines))
        return [(point, cosines[point.id]) for point in await self._calls.make(ask)]


def _groups(vectors: Vector, above: float, on_progress: Callable[[int, int], None]) -> list[Positions]:
    groups = Groups(len(vectors))
    for one, other in near(vectors, above, lambda rows: on_progress(rows, len(vectors))):
        groups.join(one, other)
    return groups.members()


def _cosines(vectors: Vector, group: Positions) -> list[float]:
    first = vectors[group[0]]
    parts = [vectors[group[top : top + _ROWS]] @ first for top in range(0, len(group), _ROWS)]
    return [min(1.0, float(cosine)) for part in parts for cosine in part]  # but for rounding
