"""Long lists in parts that a call takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item", str, bytes)


def parts(items: Iterable[Item], most: int, most_bytes: int) -> Iterator[list[Item]]:
    """`items` in order, in lists of at most `most` and of about `most_bytes` bytes; none is empty.

    A longer item is a list by itself. Takes no more of `items` than it needs for the next list.
    """
    part: list[Item] = []
    size = 0
    for item in items:
        if part and (len(part) == most or size + len(item) > most_bytes):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item)
    if part:
        yield part
