"""The micro-batcher: what arrives while the session is busy makes up its next batch.

No timer and no fixed delay: an idle session gets the first item at once. Equal items that wait or run at the
same time are computed once. An item that nobody waits for any more never runs; callers go at their
deadlines, for gRPC cancels their calls.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from operator import attrgetter
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


@dataclass(eq=False, slots=True)
class _Entry(Generic[Item]):
    key: Hashable
    item: Item
    weight: int
    due: float
    queued: float
    answer: asyncio.Future[Computed]
    waiters: int = 1


_due = attrgetter("due")


class Group(Generic[Item]):
    """The items of one request. As a context manager it gives up, at its end, what has no answer yet."""

    def __init__(self, batcher: Batcher[Item], deadline: float, landed: Callable[[], None]) -> None:
        self._batcher = batcher
        self._deadline = deadline
        self._landed = landed
        self._entries: list[_Entry[Item]] = []
        self._ahead = 0

    def __enter__(self) -> Group[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        for entry in self._entries:
            self._batcher.leave(entry)

    def submit(self, items: Sequence[Item], keys: Sequence[Hashable] | None = None) -> None:
        """Queues items. Those whose keys are equal, of whatever request, are one item.

        A large request queues as if its items had come one by one at the pace of the session, so that a small
        one need not wait for all of them. Raises Unavailable when the batcher closes.
        """
        for item, key in zip(items, keys or [object() for _ in items], strict=True):
            entry = self._batcher.enter(item, key, self._deadline, self._ahead)
            self._entries.append(entry)
            self._ahead += entry.weight

    async def answers(self) -> list[Computed]:
        """The answers in the order of submission, or the first failure as soon as there is one.

        ArithmeticError = what the session gave is no vector.
        """
        left = len(self._entries)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def land(answer: asyncio.Future[Computed]) -> None:
            nonlocal left
            left -= 1
            self._landed()
            failed = answer.cancelled() or answer.exception()
            if (failed or not left) and not over.done():
                over.set_result(None)

        for entry in self._entries:
            entry.answer.add_done_callback(land)
        try:
            if left:
                await over
        finally:
            for entry in self._entries:
                entry.answer.remove_done_callback(land)
        # Where one has failed, others may be under way still.
        return [entry.answer.result() for entry in self._entries if entry.answer.done()]


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
        self._entries: dict[Hashable, _Entry[Item]] = {}
        self._running: list[list[_Entry[Item]]] = []
        self._seconds_per_weight = 0.0
        self._open = False
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> Batcher[Item]:
        self._loop = asyncio.get_running_loop()
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        for batch in (self._queue, *self._running):
            _fail(batch, _stopping())
        self._queue.clear()

    def __len__(self) -> int:
        """Items that wait, those among them included whose caller has gone."""
        return len(self._queue)

    def group(self, deadline: float, landed: Callable[[], None] = lambda: None) -> Group[Item]:
        """A request to be; `landed` is called for each of its items that is answered.

        `deadline` is in seconds of time.monotonic(); the earliest goes first.
        """
        return Group(self, deadline, landed)

    def enter(self, item: Item, key: Hashable, deadline: float, ahead: int) -> _Entry[Item]:
        """The entry of this key, which is queued unless it is there; `ahead` = weight that goes before it.

        The earliest deadline of those who wait for it counts. One that has failed is not joined: those it
        failed for may hold it for long yet.
        """
        now = time.monotonic()
        due = min(deadline, now + HORIZON_S) + ahead * self._seconds_per_weight
        entry = self._entries.get(key)
        if entry is not None and not (entry.answer.done() and entry.answer.exception()):
            entry.waiters += 1
            if due < entry.due and entry in self._queue:
                self._queue.remove(entry)
                entry.due = due
                bisect.insort(self._queue, entry, key=_due)
            return entry
        if not self._open:
            raise _stopping()
        answer: asyncio.Future[Computed] = self._loop.create_future()
        entry = self._entries[key] = _Entry(key, item, self._weigh(item), due, now, answer)
        if not self._queue:
            self._loop.call_soon(self._start)  # with all that comes in this moment
        bisect.insort(self._queue, entry, key=_due)
        return entry

    def leave(self, entry: _Entry[Item]) -> None:
        """One waiter less; without any the entry is forgotten, and does not run if it has not begun."""
        entry.waiters -= 1
        if not entry.waiters:
            if not entry.answer.cancel():
                entry.answer.exception()  # or asyncio would report one that nobody has asked for
            if self._entries.get(entry.key) is entry:  # else another has come in place of a failed one
                del self._entries[entry.key]

    def _start(self) -> None:
        """Gives a batch to each thread that has none."""
        while self._open and len(self._running) < self._in_flight and (batch := self._next_batch()):
            self._running.append(batch)
            self._executor.submit(self._compute, batch, time.monotonic())

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
        left.sort(key=_due)
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
                continue  # nobody waits for it
            urgent.append(entry)
            room = room or _WINDOW * max(1, self.capacity // entry.weight)
        del self._queue[:taken]
        return urgent

    def _compute(self, batch: list[_Entry[Item]], started: float) -> None:
        """Runs in a thread; the loop gets the vectors and which of them are finite, or the failure."""
        answer: tuple[NDArray[np.float32], list[bool]] | Exception
        try:
            vectors = self._run([entry.item for entry in batch])
            if len(vectors) != len(batch):
                raise ValueError(f"{len(vectors)} vectors for {len(batch)} items")
            finite: list[bool] = np.all(np.isfinite(vectors), axis=1).tolist()
            answer = vectors, finite
        except Exception as error:
            answer = error
        self._loop.call_soon_threadsafe(self._finish, batch, started, answer)

    def _finish(
        self,
        batch: list[_Entry[Item]],
        started: float,
        answer: tuple[NDArray[np.float32], list[bool]] | Exception,
    ) -> None:
        self._running.remove(batch)
        self._start()  # first: the session waits for nobody
        if isinstance(answer, Exception):
            _fail(batch, answer)
            self._note_failure(type(answer).__name__)
            return
        vectors, finite = answer
        if any(finite):
            self._failures = 0
        else:
            self._note_failure("no finite vector")
        seconds = time.monotonic() - started
        pace = seconds / (self._in_flight * len(batch) * max(entry.weight for entry in batch))
        known = self._seconds_per_weight
        self._seconds_per_weight = 0.8 * known + 0.2 * pace if known else pace
        for entry, vector, is_vector in zip(batch, vectors, finite, strict=True):
            if not is_vector:
                _fail([entry], ArithmeticError("the graph gave a vector that is not finite"))
            elif not entry.answer.done():
                entry.answer.set_result(Computed(vector, started - entry.queued, seconds))

    def _note_failure(self, last: str) -> None:
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._failures >= MOST_FAILURES and now - self._failing_since >= FAILING_S:
            self._give_up(f"{self._failures} batches in a row failed, the last with {last}")


def _fail(batch: Sequence[_Entry[Item]], error: Exception) -> None:
    for entry in batch:
        if not entry.answer.done():
            entry.answer.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("encoder", "the server is stopping")
