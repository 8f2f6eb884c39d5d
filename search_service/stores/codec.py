"""How a point lies in an engine: its id and the names of its vectors stand beside the caller's payload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np

from clipsearch.filters.paths import keys, quoted
from search_service.stores.filters import Filter, HasId, HasVector
from search_service.stores.protocol import (
    ID_KEY,
    RESERVED_PREFIX,
    VECTOR_NAMES,
    PayloadSelection,
    StoredPoint,
    VectorName,
)
from search_service.stores.questions import OrderBy

# Kept in the payload so that a read without vectors can tell which vectors a point has: "image text".
# Words, because a list costs Qdrant Edge 8 us a point to take in, and a word 3.
VECTOR_NAMES_KEY = f"{RESERVED_PREFIX}_sides"


def vector_names_of(point: StoredPoint) -> list[VectorName]:
    """The names of the vectors that a point to be written has."""
    return [name for name in VECTOR_NAMES if getattr(point, name) is not None]


def to_payload(point_id: str, payload: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The payload that the engine keeps."""
    return {**payload, ID_KEY: point_id, VECTOR_NAMES_KEY: " ".join(names)}


def names_to_keep(ids: Sequence[str]) -> Iterator[tuple[Filter, dict[str, str]]]:
    """Which of the points are to have which names kept, after a change of their vectors.

    By what they have, whoever wrote it: two writers may change different vectors of one point at once.
    """
    for count in range(len(VECTOR_NAMES) + 1):
        for names in combinations(VECTOR_NAMES, count):
            has = (HasVector(name) for name in names)
            lacks = tuple(HasVector(name) for name in VECTOR_NAMES if name not in names)
            yield Filter(must=(HasId(tuple(ids)), *has), must_not=lacks), {VECTOR_NAMES_KEY: " ".join(names)}


def payload_keys(selection: PayloadSelection) -> bool | list[str]:
    """What to ask the engine for, so that `from_engine` finds what it needs. True = everything."""
    return True if selection.include is None else [*selection.include, ID_KEY, VECTOR_NAMES_KEY]


def from_engine(payload: Mapping[str, Any] | None, vectors: Any) -> StoredPoint:
    """The point as its caller knows it; without `vectors`, by name, it tells which there are all the same."""
    kept = payload or {}
    names = kept[VECTOR_NAMES_KEY]
    given = {name: np.asarray(vectors[name], np.float32) for name in VECTOR_NAMES if name in (vectors or ())}
    return StoredPoint(
        id=kept[ID_KEY],
        payload={key: value for key, value in kept.items() if not key.startswith(RESERVED_PREFIX)},
        image=given.get("image"),
        text=given.get("text"),
        has_image="image" in names,
        has_text="text" in names,
    )


def at_top(path: str) -> str:
    """The path of what a field lies in at the top of the payload."""
    first = str(keys(path)[0])
    return quoted(first) or first


def selectable(path: str) -> str:
    """What to select for what lies at the path: engines select no elements of lists by their numbers."""
    return at_top(path) if "[" in path else path


def order_start(order: OrderBy) -> int | float | datetime | None:
    """The value to begin with as engines take it."""
    if order.start is None or order.type != "datetime":
        return order.start
    return from_micros(int(order.start))


def from_micros(micros: int) -> datetime:
    """The time so many microseconds after the beginning of 1970. Raises OverflowError."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)
