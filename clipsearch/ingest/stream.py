"""Cuts a source's items into batches, as large as the one who sends them can use at the moment."""

from __future__ import annotations

from collections.abc import Iterator

from clipsearch.ingest.source import Item


class Stream:
    """Items in order. A batch holds about `most_bytes` bytes; a larger item is a batch of its own."""

    def __init__(self, items: Iterator[Item], most_bytes: int) -> None:
        self._items = items
        self._most_bytes = most_bytes
        self._ahead: Item | None = None

    def take(self, most: int) -> list[Item]:
        """The next items, at most `most`; none at the end. Raises what the source raises."""
        batch, size = list[Item](), 0
        while len(batch) < most:
            item = self._ahead or next(self._items, None)
            self._ahead = None
            if item is None:
                break
            if batch and size + item.size > self._most_bytes:
                self._ahead = item
                break
            batch.append(item)
            size += item.size
        return batch
