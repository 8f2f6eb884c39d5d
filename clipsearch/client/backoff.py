"""How long to wait before a refused call is made again, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from clipsearch.client.errors import ClipSearchError

# A service that is full, away, late, or shedding a conflict; the call itself may be right.
PASSING = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"})

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


class Patience:
    """Shared by all calls of one run: it ends `limit_s` seconds after the last call that got through."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._last_success = clock()

    def renew(self) -> None:
        """A call got through."""
        self._last_success = self._clock()

    def pause(self, error: ClipSearchError, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th refusal (from 0).

        At least what the service asked for, otherwise doubling up to 10 s; spread at random, so that
        calls refused together do not come back together. Raises `error` when patience would end.
        """
        if error.retry_after is not None:
            pause = error.retry_after * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        else:
            pause = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._clock() - self._last_success + pause > self._limit_s:
            raise error
        return pause
