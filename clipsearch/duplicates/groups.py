"""Reads a collection's vectors, and tells its groups of near-equal points with their payloads."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clipsearch.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Vector, VectorName
from clipsearch.duplicates.near import Groups, Positions, near

_AT_ONCE = 256
_ROWS = 4096


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
    on_progress: Callable[[str, int, int], None] = lambda step, done, total: None,
    on_read: Callable[[int], None] = lambda points: None,
) -> AsyncIterator[list[Member]]:
    """Groups of points whose vectors of that name are near one another, the largest first.

    Two points are near where their cosine is at least `above`, and a group is what such pairs connect: two
    of its points may be less near. The first is the one that is near to the most. All points are compared,
    no index is asked. `on_read` is told of how many points, once. Vectors lie in a temporary file; memory
    holds a quarter of them. Raises ClipSearchError and OSError.
    """
    found = await client.get_collection(collection)  # a wrong address is told at once
    calls = Retrying()
    total = found.image_vectors if name == "image" else found.text_vectors
    list_page = partial(client.list_page, found.name, payload=False, with_vectors=True)
    ids: list[str] = []
    with tempfile.TemporaryFile() as file:
        async for page in calls.pages(list_page):
            for point in page.points:
                vector = point.image_vector if name == "image" else point.text_vector
                if vector is not None:
                    file.write(vector.tobytes())
                    ids.append(point.id)
            on_progress("reading", len(ids), max(len(ids), total))
        file.flush()
        on_read(len(ids))
        if len(ids) < 2:
            return
        vectors = np.asarray(np.memmap(file, np.float32, "r", shape=(len(ids), found.dimension)))
        groups = await asyncio.to_thread(_groups, vectors, above, partial(on_progress, "comparing"))
        calls.renew()
        for group in groups:
            cosines = await asyncio.to_thread(_cosines, vectors, group)
            known = dict(zip((ids[row] for row in group), cosines, strict=True))
            members = [
                Member(point.id, known[point.id], point.payload)
                for batch in batched(known, _AT_ONCE)
                for point in await calls.make(partial(client.get_points, found.name, batch))
            ]
            if len(members) > 1:  # some may have gone meanwhile
                yield members


def _groups(vectors: Vector, above: float, on_progress: Callable[[int, int], None]) -> list[Positions]:
    groups = Groups(len(vectors))
    for one, other in near(vectors, above, lambda rows: on_progress(rows, len(vectors))):
        groups.join(one, other)
    return groups.members()


def _cosines(vectors: Vector, group: Positions) -> list[float]:
    first = vectors[group[0]]
    parts = [vectors[group[top : top + _ROWS]] @ first for top in range(0, len(group), _ROWS)]
    return [min(1.0, float(cosine)) for part in parts for cosine in part]  # but for rounding
