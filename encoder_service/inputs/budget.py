"""The memory that decoding may take, for the whole process: drawn on before the work, given back after.

Who does not fit waits. Most of the memory is given out strictly in turn, so that a large image gets its
share however many small ones come; a part is kept for small images alone, so that they do not wait behind
a large one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Pool = Literal["common", "small"]

# Of the whole; the largest image that can be decoded takes the rest.
_SMALL_SHARE = 8


@dataclass(frozen=True, slots=True)
class Reservation:
    """Memory that was drawn, bytes, and from which part."""

    size: int
    pool: Pool


@dataclass(eq=False, slots=True)
class _Waiter:
    size: int
    loop: asyncio.AbstractEventLoop
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    granted: Reservation | None = None


class MemoryBudget:
    """`size` bytes. Safe to use from threads; only `take` belongs to an event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: dict[Pool, int] = {"small": size // _SMALL_SHARE, "common": size - size // _SMALL_SHARE}
        self._small_most = self._free["small"]
        self.most = self._free["common"]
        """The most that one image can get, bytes."""
        self._waiting: dict[Pool, deque[_Waiter]] = {"small": deque(), "common": deque()}
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are drawn now."""
        return self.size - sum(self._free.values())

    @property
    def waiting(self) -> int:
        """Images that wait for memory."""
        return sum(map(len, self._waiting.values()))

    def try_take(self, size: int) -> Reservation | None:
        """`size` bytes if they are free and nobody waits for them, else None."""
        with self._lock:
            return None if self._waiting[self._kind(size)] else self._grant(size)

    async def take(self, size: int) -> Reservation:
        """`size` bytes, at most `most`, in turn. Cancelling the call gives up the place.

        Raises ValueError for more, which would keep all that comes after it waiting for ever.
        """
        if size > self.most:
            raise ValueError(f"{size} of at most {self.most} bytes")
        if (at_once := self.try_take(size)) is not None:
            return at_once
        waiter = _Waiter(size, asyncio.get_running_loop())
        queue = self._waiting[self._kind(size)]
        with self._lock:
            queue.append(waiter)
            self._wake()  # memory may have come back since
        try:
            await waiter.ready.wait()
        except BaseException:
            with self._lock:
                if waiter.granted is None:
                    queue.remove(waiter)
                else:
                    self._free[waiter.granted.pool] += waiter.granted.size
                self._wake()
            raise
        assert waiter.granted is not None
        return waiter.granted

    def give_back(self, reservation: Reservation) -> None:
        """Ends a reservation."""
        with self._lock:
            self._free[reservation.pool] += reservation.size
            self._wake()

    def _kind(self, size: int) -> Pool:
        return "small" if size <= self._small_most else "common"

    def _grant(self, size: int) -> Reservation | None:
        if size <= self._free["common"] and (self._kind(size) == "common" or not self._waiting["common"]):
            pool: Pool = "common"
        elif size <= self._small_most and size <= self._free["small"]:
            pool = "small"
        else:
            return None
        self._free[pool] -= size
        return Reservation(size, pool)

    def _wake(self) -> None:
        for kind in ("common", "small"):
            queue = self._waiting[kind]
            while queue and (granted := self._grant(queue[0].size)) is not None:
                waiter = queue.popleft()
                waiter.granted = granted
                waiter.loop.call_soon_threadsafe(waiter.ready.set)
