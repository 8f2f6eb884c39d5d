"""Reads the vectors to look at: all of a collection, or an even sample of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.sync import Client
from clipsearch.client.types import Collection, Vector
from clipsearch.filters.convert import FilterLike
from clipsearch.filters.paths import values_at

IMAGE, TEXT = 0, 1
SIDES = ("image", "text")

_PAGE = 256  # points with vectors: 512 KB a vector column of 512 numbers


@dataclass(frozen=True, slots=True)
class Item:
    """A point as the map shows it."""

    id: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors of a collection.

    `vectors` are float32 [n, dimension] of length 1; `item` [n] says whose each is, `side` [n]
    whether it is that point's IMAGE or TEXT vector. `points` is how many points there were to choose from.
    """

    collection: Collection
    points: int
    items: tuple[Item, ...]
    vectors: Vector
    item: NDArray[np.int32]
    side: NDArray[np.uint8]

    def values(self, field: str) -> list[str | None]:
        """The payload field of each vector's point, as a word; None where it has none."""
        words = [word(lookup(item.payload, field)) for item in self.items]
        return [words[i] for i in self.item]


class NothingToShow(Exception):
    """The collection, or what the filter left of it, has too few vectors; the message says so."""


def read_sample(
    client: Client,
    name: str,
    *,
    most: int,
    filter: FilterLike | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sample:
    """At most `most` vectors of the collection or alias `name`, evenly from all of it.

    Points are listed in the order of a hash of their ids, so the first of them are an even sample,
    and the same one each time. `on_progress` hears how many points are read, and of how many at most.
    Raises ClipSearchError and NothingToShow.
    """
    collection = client.get_collection(name)
    points = client.count(name, filter=filter)
    if points < 2:
        raise NothingToShow(f"collection {name!r} has {points} points to show; a map needs at least 2")
    items: list[Item] = []
    rows = np.empty((min(most, points * 2), collection.dimension), np.float32)
    item: list[int] = []
    side: list[int] = []
    for point in client.list_points(name, filter=filter, page_size=_PAGE, with_vectors=True):
        if len(item) == len(rows):
            break
        for number, vector in ((IMAGE, point.image_vector), (TEXT, point.text_vector)):
            if vector is not None and len(item) < len(rows):
                rows[len(item)] = vector
                item.append(len(items))
                side.append(number)
        items.append(Item(point.id, point.payload))
        on_progress(len(items), min(points, most))
    if len(item) < 2:
        raise NothingToShow(f"collection {name!r} has {len(item)} vectors to show; a map needs at least 2")
    return Sample(
        collection,
        points,
        tuple(items),
        rows[: len(item)],
        np.array(item, np.int32),
        np.array(side, np.uint8),
    )


def lookup(payload: Mapping[str, Any], field: str) -> Any:
    """The value at a path, or else of that name; None if there is none, or more than one."""
    found = values_at(payload, field)
    return found[0] if len(found) == 1 else payload.get(field)


def word(value: Any) -> str | None:
    """A payload value as the name of a group; None for what names none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    return None
