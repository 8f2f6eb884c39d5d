"""Points that a source left in a collection and that no longer stand in it.

A run notes what it met; then each point that came from the source is judged: it is there, its
content was replaced by other content, it is there under another path, or it is gone. It is kept
wherever that is not certain.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.types import INDEXED_FROM, StoredPoint
from clipsearch.ingest.folders import PictureFolder, image_payload
from clipsearch.ingest.lists import ItemList
from clipsearch.ingest.points import COMPARED, COPIES, Changes, is_at, is_image, strings
from clipsearch.ingest.source import Item, Source, path_text


class Met(Enum):
    """What became of an item."""

    WRITTEN = auto()
    THERE = auto()
    FAILED = auto()


class Fate(Enum):
    """What is to become of a point."""

    STAYS = auto()
    REPLACED = auto()
    GONE = auto()


class _Hashes:
    """A set of values, 8 bytes each: filled first, asked afterwards."""

    def __init__(self) -> None:
        self._filling = array("q")
        self._values: NDArray[np.int64] | None = None
        self._left: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, value: object) -> None:
        self._filling.append(hash(value))

    def __contains__(self, value: object) -> bool:
        return self._find(value) is not None

    def take(self, value: object) -> bool:
        """Whether it was added more often than taken."""
        i = self._find(value)
        if i is None or not self._left[i]:
            return False
        self._left[i] -= 1
        return True

    def _find(self, value: object) -> int | None:
        if self._values is None:
            filled = np.frombuffer(self._filling, dtype=np.int64)
            self._values, self._left = np.unique(filled, return_counts=True)
        i = int(np.searchsorted(self._values, hash(value)))
        return i if i < len(self._values) and self._values[i] == hash(value) else None


class FolderLeftovers:
    """Of a folder: points of images whose path lies in or below it.

    `filter` says which points to ask about (None = all), `fields` the payload to ask with, `unknown` of how
    many items it is not known which points they are.
    """

    filter: Mapping[str, Any] | None = None
    fields: tuple[str, ...] = COMPARED
    unknown = 0

    def __init__(self, source: PictureFolder) -> None:
        self._source = source
        self._images, self._paths, self._unread = _Hashes(), _Hashes(), _Hashes()

    def note(self, item: Item, id: str | None, met: Met) -> None:
        """An item was dealt with. `id` is its point's; None where it was not found out."""
        path = path_text(item.path or "")
        if id is None:
            self._unread.add(path)
        else:
            self._images.add((path, id))
            if met is not Met.FAILED:
                self._paths.add(path)

    def fate(self, point: StoredPoint) -> Fate | Changes:
        """What is to become of a point; changes to its payload where it stays otherwise. May read files."""
        path = point.payload.get("path")
        if not is_image(point.payload) or not isinstance(path, str) or not _below(path, self._source.folder):
            return Fate.STAYS
        if any(_below(path, folder) for folder in self._source.left_out.closed):
            return Fate.STAYS
        if (path, point.id) in self._images or path in self._unread:
            return Fate.STAYS
        for other in strings(point.payload.get(COPIES)):
            if is_at(other, point.id):
                return _moved(point, other)
        return Fate.REPLACED if path in self._paths else Fate.GONE


class ListLeftovers:
    """Of a list: points that remember its path."""

    fields: tuple[str, ...] = (INDEXED_FROM, "path", "text")

    def __init__(self, source: ItemList) -> None:
        self._file = source.file
        self.filter: Mapping[str, Any] | None = {
            "must": [{"key": INDEXED_FROM, "match": {"value": self._file}}]
        }
        self._ids, self._written, self._failed = _Hashes(), _Hashes(), _Hashes()
        self.unknown = 0

    def note(self, item: Item, id: str | None, met: Met) -> None:
        """An item was dealt with."""
        known = id if id is not None else item.id
        content = (None if item.path is None else path_text(item.path), item.text)
        if known is not None:
            self._ids.add(known)
        if met is Met.WRITTEN and item.id is None:
            self._written.add(content)
        elif met is Met.FAILED and item.id is None:
            self._failed.add(content)
            self.unknown += item.path is None and item.text is None

    def fate(self, point: StoredPoint) -> Fate | Changes:
        """What is to become of a point."""
        lists = strings(point.payload.get(INDEXED_FROM))
        if self._file not in lists or point.id in self._ids:
            return Fate.STAYS
        others = [name for name in lists if name != self._file]
        if others:
            return {INDEXED_FROM: others}
        content = (point.payload.get("path"), point.payload.get("text"))
        if content in self._failed:
            return Fate.STAYS
        return Fate.REPLACED if self._written.take(content) else Fate.GONE


Leftovers = FolderLeftovers | ListLeftovers
"""Told of each item, then asked about each point."""


def leftovers_of(source: Source) -> Leftovers | None:
    """What to tell of a source's items; None for one that points do not remember."""
    if isinstance(source, PictureFolder):
        return FolderLeftovers(source)
    if isinstance(source, ItemList):
        return ListLeftovers(source)
    return None


def _moved(point: StoredPoint, other: str) -> Fate | Changes:
    copies = [path for path in strings(point.payload.get(COPIES)) if path != other]
    try:
        return {**image_payload(Path(other), Path(other).stat()), COPIES: copies or None}
    except OSError:  # it went in this moment, or has a name that is no text: the next run will see
        return Fate.STAYS


def _below(path: str, folder: Path) -> bool:
    return path.startswith(path_text(folder).rstrip("/") + "/")
