"""Memory that processes share: slots for pixels, and the counts that bound the work of all front ends.

It is anonymous (memfd): it has no name in /dev/shm that could be left behind, and is gone with the
last process that has it, however that ends. Its size is sealed, or a front end that cuts it short
could kill the session process.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.tally import Tally
from encoder_service.admission import House
from encoder_service.assembly import Houses

# Decoded pictures of one front end that wait for the session or are in it: 77 MB at 224 x 224, of which
# only what was ever used at once takes memory.
MOST_SLOTS = 512

# The counts of a front end: calls; items, bytes and items done of each tower.
_COLUMNS = 7


def create(name: str, size: int) -> int:
    """A file descriptor of `size` bytes of memory, all 0, that is inherited by nobody unless passed on."""
    descriptor = os.memfd_create(f"clipsearch-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def slots_of(queue_images: int) -> int:
    """How many slots a front end gets: no more than may wait at all."""
    return min(queue_images, MOST_SLOTS)


@dataclass(frozen=True, slots=True)
class Shape:
    """The slots of a front end: how many, and what is in one."""

    slots: int
    size: int
    dimension: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes of all pixels, up to where the vectors begin."""
        return -(-self.slots * self.size * self.size * 3 // 64) * 64

    @property
    def bytes(self) -> int:
        """Bytes in all."""
        return self.pixel_bytes + self.slots * self.dimension * 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A front end's slots: pixels in, uint8 [slots, size, size, 3], vectors out, float32 [slots, dimension].

    Mapped until the last array of it is gone.
    """

    pixels: NDArray[np.uint8]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, descriptor: int, shape: Shape) -> Segment:
        """The slots behind a descriptor, which may be closed then."""
        memory = mmap.mmap(descriptor, shape.bytes)
        pixels = np.frombuffer(memory, np.uint8, shape.slots * shape.size * shape.size * 3)
        vectors = np.frombuffer(memory, np.float32, offset=shape.pixel_bytes)
        return cls(
            pixels.reshape(shape.slots, shape.size, shape.size, 3),
            vectors.reshape(shape.slots, shape.dimension),
        )


class Slots:
    """A front end's slots: taken for a picture until its vector is there. Those used last come first."""

    def __init__(self, segment: Segment) -> None:
        self.pixels, self.vectors = segment.pixels, segment.vectors
        self.waiting = 0
        self._free = list(range(len(segment.pixels)))
        self._places = Semaphore(len(segment.pixels))

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[int]:
        """A slot, as soon as there is one, until the block ends."""
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        slot = self._free.pop()
        try:
            yield slot
        finally:
            self._free.append(slot)
            self._places.release()

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return len(self._free)


class SharedTally(Tally):
    """One front end's part of a count that all of them can read. Only its owner writes it."""

    def __init__(self, table: NDArray[np.int64], row: int, column: int) -> None:
        self._column = table[:, column]
        self._row = row
        self._own = int(self._column[row])

    @property
    def own(self) -> int:
        """This front end's part."""
        return self._own

    @own.setter
    def own(self, value: int) -> None:
        self._own = value
        self._column[self._row] = value

    @property
    def total(self) -> int:
        """The count, all front ends together."""
        return int(self._column.sum())


class Ledger:
    """The counts of all front ends: a row each."""

    def __init__(self, descriptor: int, rows: int) -> None:
        memory = mmap.mmap(descriptor, self.size(rows))
        self._table = np.frombuffer(memory, np.int64).reshape(rows, _COLUMNS)

    @staticmethod
    def size(rows: int) -> int:
        """Bytes of a ledger."""
        return rows * _COLUMNS * 8

    def calls(self, row: int) -> Tally:
        """Calls in progress."""
        return SharedTally(self._table, row, 0)

    def houses(self, row: int) -> Houses:
        """The work of both towers."""
        images, texts = (
            House(*(SharedTally(self._table, row, column) for column in range(first, first + 3)))
            for first in (1, 4)
        )
        return Houses(images, texts)

    def forget(self, row: int) -> None:
        """A front end has died, and its work with it. What it has done stays: the rate comes from that."""
        self._table[row, [0, 1, 2, 4, 5]] = 0
