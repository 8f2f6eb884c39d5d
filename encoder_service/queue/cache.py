"""What spares the session work: vectors of texts seen before, and one computation for equal inputs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from encoder_service.inputs.texts import TextInput

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

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


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiters: int = 0


class SingleFlight(Generic[K, V]):
    """Equal keys asked for at the same time are computed once.

    A waiter that goes away leaves the others their answer; when the last one goes, the work is
    cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}
        self.joined = 0

    async def run(self, key: K, compute: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The value of `compute()`, from a computation under way or from a new one."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(asyncio.create_task(compute()))
        else:
            self.joined += 1
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            self._leave(key, flight)

    def _leave(self, key: K, flight: _Flight[V]) -> None:
        flight.waiters -= 1
        if flight.waiters == 0:
            flight.task.cancel()  # nothing happens if it is done
            if self._flights.get(key) is flight:
                del self._flights[key]

    def __len__(self) -> int:
        """Computations under way."""
        return len(self._flights)
