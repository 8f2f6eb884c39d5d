"""How a point lies in an engine: the caller's id and the point's sides stand beside the caller's payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_service.stores.protocol import (
    ID_KEY,
    RESERVED_PREFIX,
    SIDES,
    PayloadSelection,
    Side,
    StoredPoint,
    Vector,
)

# Kept in the payload so that a read without vectors can tell which sides a point has: "image text".
# Words, because a list costs Qdrant Edge 8 us a point to take in, and a word 3.
SIDES_KEY = f"{RESERVED_PREFIX}_sides"


def point_sides(point: StoredPoint) -> list[Side]:
    """The sides that a point to be written has vectors for."""
    return [side for side in SIDES if getattr(point, side) is not None]


def to_payload(point_id: str, payload: Mapping[str, Any], sides: Sequence[str]) -> dict[str, Any]:
    """The payload that the engine keeps."""
    return {**payload, ID_KEY: point_id, SIDES_KEY: " ".join(sides)}


def payload_keys(selection: PayloadSelection) -> bool | list[str]:
    """What to ask the engine for, so that `from_engine` finds what it needs. True = everything."""
    return True if selection.include is None else [*selection.include, ID_KEY, SIDES_KEY]


def from_engine(payload: Mapping[str, Any], vectors: Mapping[Side, Vector]) -> StoredPoint:
    """The point as its caller knows it; without `vectors` the sides are told all the same."""
    kept = dict(payload)
    point_id = kept.pop(ID_KEY)
    sides = kept.pop(SIDES_KEY)
    return StoredPoint(
        id=point_id,
        payload=kept,
        image=vectors.get("image"),
        text=vectors.get("text"),
        has_image="image" in sides,
        has_text="text" in sides,
    )
