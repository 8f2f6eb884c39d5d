"""How a point lies in an engine: its id and the names of its vectors stand beside the caller's payload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from search_service.stores.protocol import (
    ID_KEY,
    RESERVED_PREFIX,
    VECTOR_NAMES,
    PayloadSelection,
    StoredPoint,
    Vector,
    VectorName,
    VectorSample,
)

# Kept in the payload so that a read without vectors can tell which vectors a point has: "image text".
# Words, because a list costs Qdrant Edge 8 us a point to take in, and a word 3.
VECTOR_NAMES_KEY = f"{RESERVED_PREFIX}_sides"
_SAMPLED_AT_ONCE = 128  # vectors; a search on Qdrant Edge waits for them, 3 ms


def vector_names_of(point: StoredPoint) -> list[VectorName]:
    """The names of the vectors that a point to be written has."""
    return [name for name in VECTOR_NAMES if getattr(point, name) is not None]


def to_payload(point_id: str, payload: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The payload that the engine keeps."""
    return {**payload, ID_KEY: point_id, VECTOR_NAMES_KEY: " ".join(names)}


def payload_keys(selection: PayloadSelection) -> bool | list[str]:
    """What to ask the engine for, so that `from_engine` finds what it needs. True = everything."""
    return True if selection.include is None else [*selection.include, ID_KEY, VECTOR_NAMES_KEY]


def from_engine(payload: Mapping[str, Any], vectors: Mapping[VectorName, Vector]) -> StoredPoint:
    """The point as its caller knows it; without `vectors` it tells which there are all the same."""
    kept = dict(payload)
    point_id = kept.pop(ID_KEY)
    names = kept.pop(VECTOR_NAMES_KEY)
    return StoredPoint(
        id=point_id,
        payload=kept,
        image=vectors.get("image"),
        text=vectors.get("text"),
        has_image="image" in names,
        has_text="text" in names,
    )


def vector_sample(points: Sequence[StoredPoint], name: VectorName, dimension: int) -> VectorSample:
    """The vectors of the name `name` of points that were read with them."""
    found = [(point.id, vector) for point in points if (vector := getattr(point, name)) is not None]
    if not found:
        return VectorSample((), np.empty((0, dimension), np.float32))
    ids, vectors = zip(*found, strict=True)
    return VectorSample(ids, np.stack(vectors))


async def in_pages(
    page: Callable[[int, Any], Awaitable[tuple[VectorSample, Any]]], limit: int
) -> VectorSample:
    """Up to `limit` vectors, some a page: `page` gets their number and where the page begins."""
    pages: list[VectorSample] = []
    cursor: Any = None
    while True:
        left = limit - sum(len(one.ids) for one in pages)
        one, cursor = await page(min(left, _SAMPLED_AT_ONCE), cursor)
        pages.append(one)
        if cursor is None or len(one.ids) >= left:
            ids = tuple(id for one in pages for id in one.ids)
            return VectorSample(ids, np.concatenate([one.vectors for one in pages]))
