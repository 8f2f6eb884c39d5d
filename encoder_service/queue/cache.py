"""Vectors of texts seen before, which spare the session work."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from encoder_service.inputs.texts import TextInput

# What an entry takes beside its text and its numbers: objects, an array's header, the slots of dicts
# (measured with tracemalloc over 100,000 entries).
_ENTRY_OVERHEAD = 400


@dataclass(frozen=True, slots=True)
class CachedText:
    """A text's vector, float32 [dimension], read-only; what was done to the text; memory taken, bytes."""

    vector: NDArray[np.float32]
    input: TextInput
    size: int


class TextCache:
    """Vectors by exact text, within a bound of bytes; the least recently used go first."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: LRUCache[str, CachedText] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size)
        self.hits = 0
        self.misses = 0

    def get(self, text: str) -> CachedText | None:
        """What is known of exactly this text."""
        entry = self._entries.get(text)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    def put(self, text: str, vector: NDArray[np.float32], done: TextInput) -> None:
        """Keeps a copy of the vector; the row of a batch would keep the whole batch alive."""
        size = sys.getsizeof(text) + vector.nbytes + _ENTRY_OVERHEAD
        if size > self._entries.maxsize:
            return
        kept = vector.copy()
        kept.flags.writeable = False
        self._entries[text] = CachedText(kept, done, size)

    @property
    def size(self) -> int:
        """Memory taken, bytes."""
        return int(self._entries.currsize)
