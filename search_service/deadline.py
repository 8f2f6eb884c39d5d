"""The caller's deadline, as it is passed on to the encoder and to the store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clipsearch.serving.errors import DeadlineExceeded

# Kept back for our own work and for the way back, so that the caller gets our answer and not its own timeout.
_SLACK_S = 0.02


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment in seconds of `time.monotonic()`; math.inf = the caller waits for ever.

    `store_timeout_s` is the longest wait for one answer of the store.
    """

    at: float = math.inf
    store_timeout_s: float = 30.0

    @classmethod
    def after(cls, seconds: float | None, store_timeout_s: float = 30.0) -> Deadline:
        """The deadline `seconds` from now; None = none."""
        return cls(math.inf if seconds is None else time.monotonic() + seconds, store_timeout_s)

    def store(self) -> float:
        """Seconds that a call to the store may take. Raises DeadlineExceeded."""
        return self.left(self.store_timeout_s)

    def left(self, at_most: float) -> float:
        """Seconds that a call downstream may take, `at_most` that many. Raises DeadlineExceeded."""
        left = self.at - time.monotonic() - _SLACK_S
        if left <= 0:
            raise DeadlineExceeded
        return min(left, at_most)


@asynccontextmanager
async def store_within(seconds: float | None) -> AsyncIterator[None]:
    """Gives up what is asked of the store after so many seconds (None = never). Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded("the store did not answer in time") from None
