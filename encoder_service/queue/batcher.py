"""The micro-batcher: what arrives while the session is busy makes up its next batch.

No timer and no fixed delay: an idle session gets the first item at once. It never runs an item whose
caller has gone, which a caller does at its deadline: gRPC cancels the call.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.errors import Unavailable

Item = TypeVar("Item")

# Calls without a deadline, or with one far off, queue as if they had this much time: they must not
# wait behind everybody for ever.
HORIZON_S = 30.0

# A session is broken when this many batches in a row, over so long a time, gave no vector: memory that runs
# out for a moment fails many in less.
MOST_FAILURES = 30
FAILING_S = 30.0

# The urgent end of the queue that a batch is chosen from, in batches.
_WINDOW = 4
# Weight that padding may add to a batch. Free is what a further run would cost by itself: as much as
# 24 tokens (CLIP ViT-B/32 int8 on two cores: 1.8 ms, and 0.075 ms a token).
_PADDING_FREE = 24
_PADDING_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Computed:
    """One item's vector, float32 [dimension], and the seconds it waited for the session and was inside."""

    vector: NDArray[np.float32]
    queue_s: float
    infer_s: float


@dataclass(slots=True)
class _Entry(Generic[Item]):
    due: float
    item: Item
    weight: int
    queued: float
    answer: asyncio.Future[Computed]


class Batcher(Generic[Item]):
    """Queue and loop of one tower. Used from one event loop.

    `run` maps items to float32 [items, dimension] and blocks: it runs in `executor`. `weigh` is an
    item's share of a batch (1 for an image, its tokens for a text); a batch costs its number of
    items times the heaviest of them, up to `capacity`. `in_flight` batches may run at once: more than one
    where the next can be gathered and copied while the session computes; the executor has as many threads.
    `give_up` is called when MOST_FAILURES batches in a row, over FAILING_S seconds, gave no vector: a fault
    of its card, say, breaks a session for good, and only a new process helps.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], NDArray[np.float32]],
        executor: Executor,
        capacity: int,
        weigh: Callable[[Item], int],
        in_flight: int = 1,
        give_up: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self.capacity = capacity
        self._failures = 0
        self._failing_since = 0.0
        self._give_up = give_up
        self._in_flight = in_flight
        self._run = run
        self._executor = executor
        self._weigh = weigh
        self._queue: list[_Entry[Item]] = []
        self._arrived = asyncio.Event()
        self._seconds_per_weight = 0.0
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Batcher[Item]:
        self._loops = [asyncio.create_task(self._serve()) for _ in range(self._in_flight)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)
        _fail(self._queue, _stopping())
        self._queue.clear()

    def __len__(self) -> int:
        """Items that wait, those among them included whose caller has gone."""
        return len(self._queue)

    async def compute(self, item: Item, deadline: float, ahead: int = 0) -> Computed:
        """The vector of one item. Cancelling the call takes the item out of the queue.

        `deadline` is in seconds of time.monotonic(); the earliest goes first. `ahead` is the weight of the
        same request that goes before: a large request queues as if its items had come one by one at the
        pace of the session, so that a small one need not wait for all of them.
        Raises Unavailable when the batcher closes, and ArithmeticError if what the session gave is no vector.
        """
        if not self._loops or any(loop.done() for loop in self._loops):
            raise _stopping()
        now = time.monotonic()
        due = min(deadline, now + HORIZON_S) + ahead * self._seconds_per_weight
        answer: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        entry = _Entry(due, item, self._weigh(item), now, answer)
        bisect.insort(self._queue, entry, key=lambda e: e.due)
        self._arrived.set()
        return await answer

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            if batch:
                await self._dispatch(batch)
                del batch  # and with it the items: they may lie in memory that somebody wants back
            if not self._queue:
                self._arrived.clear()

    def _next_batch(self) -> list[_Entry[Item]]:
        """Takes the most urgent item and, of the urgent ones, those that are nearest to it in weight."""
        window = self._take_urgent()
        if not window:
            return []
        head, *others = window
        others.sort(key=lambda entry: abs(entry.weight - head.weight))  # stable: urgency decides the rest
        batch, total, heaviest = [head], head.weight, head.weight
        for entry in others:
            heaviest = max(heaviest, entry.weight)
            total += entry.weight
            cost = heaviest * (len(batch) + 1)
            if cost > self.capacity or cost - total > _PADDING_SHARE * total + _PADDING_FREE:
                break
            batch.append(entry)
        left = others[len(batch) - 1 :]
        left.sort(key=lambda entry: entry.due)
        self._queue[:0] = left
        return batch

    def _take_urgent(self) -> list[_Entry[Item]]:
        """Takes a few batches' worth off the queue's front, less what nobody waits for any more."""
        urgent: list[_Entry[Item]] = []
        taken = room = 0
        for entry in self._queue:
            if urgent and len(urgent) >= room:
                break
            taken += 1
            if entry.answer.done():
                continue  # its caller has gone
            urgent.append(entry)
            room = room or _WINDOW * max(1, self.capacity // entry.weight)
        del self._queue[:taken]
        return urgent

    async def _dispatch(self, batch: list[_Entry[Item]]) -> None:
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        try:
            vectors, finite = await loop.run_in_executor(
                self._executor, self._compute, [entry.item for entry in batch]
            )
            answers = list(zip(batch, vectors, finite, strict=True))
        except asyncio.CancelledError:
            _fail(batch, _stopping())
            raise
        except Exception as error:
            _fail(batch, error)
            self._note_failure(type(error).__name__)
            return
        if finite.any():
            self._failures = 0
        else:
            self._note_failure("no finite vector")
        seconds = time.monotonic() - started
        self._pace(seconds / (self._in_flight * len(batch) * max(entry.weight for entry in batch)))
        for entry, vector, is_vector in answers:
            if is_vector and not entry.answer.done():
                entry.answer.set_result(Computed(vector, started - entry.queued, seconds))
        without = [entry for entry, _, is_vector in answers if not is_vector]
        _fail(without, ArithmeticError("the graph gave a vector that is not finite"))

    def _compute(self, items: Sequence[Item]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The batch's vectors, and which of them are finite. Runs in a thread."""
        vectors = self._run(items)
        return vectors, np.all(np.isfinite(vectors), axis=1)

    def _note_failure(self, last: str) -> None:
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._failures >= MOST_FAILURES and now - self._failing_since >= FAILING_S:
            self._give_up(f"{self._failures} batches in a row failed, the last with {last}")

    def _pace(self, seconds_per_weight: float) -> None:
        known = self._seconds_per_weight
        self._seconds_per_weight = 0.8 * known + 0.2 * seconds_per_weight if known else seconds_per_weight


def _fail(batch: Sequence[_Entry[Item]], error: Exception) -> None:
    for entry in batch:
        if not entry.answer.done():
            entry.answer.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("encoder", "the server is stopping")
