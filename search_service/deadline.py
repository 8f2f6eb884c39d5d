"""The caller's deadline, as it is passed on to the encoder and to the store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clipsearch.serving.deadline import deadline, deadline_at
from clipsearch.serving.errors import DeadlineExceeded

# Kept back for our own work and for the way back, so that the caller gets our answer and not its own timeout.
_SLACK_S = 0.02


def time_left(at_most: float = math.inf) -> float:
    """Seconds that a call downstream may take, `at_most` so many. Raises DeadlineExceeded."""
    left = deadline() - time.monotonic() - _SLACK_S
    if left <= 0:
        raise DeadlineExceeded
    return min(left, at_most)


@asynccontextmanager
async def store_within(seconds: float = math.inf) -> AsyncIterator[None]:
    """What the block asks of the store is given up after so many seconds, or when the deadline comes.

    Raises DeadlineExceeded.
    """
    left = time_left(seconds)
    try:
        with deadline_at(time.monotonic() + left + _SLACK_S):
            async with asyncio.timeout(None if left == math.inf else left):
                yield
    except TimeoutError:
        raise DeadlineExceeded("the store did not answer in time") from None
