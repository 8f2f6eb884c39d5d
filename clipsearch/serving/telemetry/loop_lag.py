"""How late the event loop runs what is due: a heartbeat, measured for the metrics.

Everything that a service does passes through its loop, so whatever stops the loop stops every caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from prometheus_client import CollectorRegistry, Gauge, Histogram

# A stall is seen to within one beat. A beat costs 30 us: 0.15 % of a core.
BEAT_S = 0.02
# Longer than the usual interval between two scrapes, so that no stall falls between them.
KEPT_S = 60.0

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """The lag of the loop that `watch` runs on, beat by beat, and the longest of the last minute."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "clipsearch_event_loop_lag_seconds",
            "Seconds that a timer of the event loop was late; callers wait as long.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._longest = Gauge(
            "clipsearch_event_loop_lag_max_seconds",
            f"The longest lag of the last {KEPT_S:.0f} seconds.",
            registry=registry,
        )
        self._recent: deque[tuple[float, float]] = deque()  # (when, lag); lags fall from left to right

    async def watch(self) -> None:
        """Beats for ever."""
        due = time.monotonic() + BEAT_S
        while True:
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self.observe(now, max(0.0, now - due))
            due = now + BEAT_S

    def observe(self, now: float, lag: float) -> None:
        """Counts one beat that came `lag` seconds late."""
        recent = self._recent
        while recent and recent[-1][1] <= lag:
            recent.pop()
        recent.append((now, lag))
        while recent[0][0] < now - KEPT_S:
            recent.popleft()
        self._lag.observe(lag)
        self._longest.set(recent[0][1])
