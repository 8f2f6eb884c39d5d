"""Who may come in: bounds on the work in progress, and no work that cannot be done in time.

A call is refused here, before its images cost anything; what is let in is expected to finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipsearch.serving.errors import DeadlineExceeded, ResourceExhausted

# Weight that the past keeps with each item done: the rate is that of about the last 200 items.
_KEEP = 0.995
# The predicted wait times this must fit into the deadline: an item that is let in and comes too late
# cost its decoding for nothing, one that is refused comes back. Measured with 180 images/s and a
# deadline of 1 s on a machine that does 40-75: with 1.5, 55 of 900 came too late, with 2, 0 and 12.
_MARGIN = 2.0
# gRPC ends a call at its deadline by its own clock, which is not quite ours.
_PUNCTUAL_S = 0.02
# A rate from fewer items says nothing yet.
_ENOUGH = 8.0


class Admission:
    """Counts the items of one tower from arrival to answer and measures how fast they are done."""

    def __init__(
        self,
        what: str,
        max_items: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.items = 0
        """Items in work."""
        self.bytes = 0
        """Their bytes."""
        self._what = what
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._clock = clock
        self._last = 0.0
        self._busy_s = 0.0
        self._done = 0.0

    @property
    def seconds_per_item(self) -> float:
        """Measured while there was work; 0 = not known yet."""
        return self._busy_s / self._done if self._done >= _ENOUGH else 0.0

    @contextmanager
    def admit(self, items: int, size: int, deadline: float) -> Iterator[Callable[[], None]]:
        """Takes in `items` items of `size` bytes together until the block ends.

        Yields what is to be called for each item that is done, be it refused. Those that leave at their
        deadline count too: an encoder where all came too late would otherwise never learn how slow it is,
        and let in as many again (seen on a busy machine: 3 of 80 images in time, for as long as it ran).

        Raises ResourceExhausted past a bound, or if the answer is not to be expected before `deadline`
        (seconds on the clock), and DeadlineExceeded if that has passed. An idle encoder lets in whatever
        has time left: only work done corrects a rate that was measured too low.
        """
        self._check_bounds(items, size)
        self._check_wait(items, deadline)
        if not self.items:
            self._last = self._clock()
        self.items += items
        self.bytes += size
        left = items

        def done() -> None:
            nonlocal left
            left -= 1
            self.done()

        try:
            yield done
        finally:
            if left and self._clock() >= deadline - _PUNCTUAL_S:
                self.done(left)
            self.items -= items
            self.bytes -= size

    def check(self, deadline: float) -> None:
        """Raises what `admit` would for a single item without bytes, which every call is at least."""
        self._check_bounds(1, 0)
        self._check_wait(1, deadline)

    def done(self, items: int = 1) -> None:
        """Counts items that are done or too late, for the rate."""
        now = self._clock()
        self._busy_s = self._busy_s * _KEEP**items + (now - self._last)
        self._done = self._done * _KEEP**items + items
        self._last = now

    def _check_bounds(self, items: int, size: int) -> None:
        in_work, in_bytes = self.items + items, self.bytes + size
        if in_work > max(items, self._max_items):
            raise self._full(f"{in_work} {self._what} would be in work, the limit is {self._max_items}")
        if self.items and in_bytes > self._max_bytes:
            raise self._full(f"{in_bytes} bytes would be in work, the limit is {self._max_bytes}")

    def _check_wait(self, items: int, deadline: float) -> None:
        left = deadline - self._clock()
        if left <= 0:
            raise DeadlineExceeded()
        wait = (self.items + items) * self.seconds_per_item
        if self.items and wait * _MARGIN > left:
            raise ResourceExhausted(
                f"the wait would be about {wait:.2f} s, the deadline is in {left:.2f} s",
                "WAIT_EXCEEDS_DEADLINE",
                retry_after_s=wait * _MARGIN - left,
            )

    def _full(self, message: str) -> ResourceExhausted:
        # Half of the work, so that those who were refused do not all come back at the first free place.
        return ResourceExhausted(message, "QUEUE_FULL", max(0.05, self.items * self.seconds_per_item / 2))
