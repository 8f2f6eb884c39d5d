"""A rate of calls, with one second's worth of calls at once."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """A token bucket: fills with `rate_per_s`, holds one second's worth (at least one call)."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._clock = clock
        self._filled = self._size
        self._at = clock()

    def take(self) -> float:
        """Takes one call: 0 = go ahead; otherwise the seconds until there is one, and nothing is taken."""
        now = self._clock()
        self._filled = min(self._size, self._filled + (now - self._at) * self.rate_per_s)
        self._at = now
        if self._filled >= 1.0:
            self._filled -= 1.0
            return 0.0
        return (1.0 - self._filled) / self.rate_per_s
