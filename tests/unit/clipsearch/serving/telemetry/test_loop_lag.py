"""The lag of the event loop: a blocked loop shows, and is remembered for a minute."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from clipsearch.serving.telemetry.loop_lag import KEPT_S, LoopLag


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def lag(registry: CollectorRegistry) -> LoopLag:
    return LoopLag(registry)


def longest(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("clipsearch_event_loop_lag_max_seconds")


async def test_a_blocked_loop_shows(registry, lag):
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251 - what the watch is for
    await asyncio.sleep(0.05)
    watching.cancel()
    assert longest(registry) > 0.25
    assert registry.get_sample_value("clipsearch_event_loop_lag_seconds_count") >= 1


def test_the_longest_lag_is_kept_for_a_minute_and_then_the_next_longest_stands(registry, lag):
    for now, seconds in ((0.0, 0.01), (10.0, 0.5), (20.0, 0.2), (30.0, 0.03)):
        lag.observe(now, seconds)
    assert longest(registry) == 0.5
    lag.observe(10.0 + KEPT_S, 0.02)
    assert longest(registry) == 0.5
    lag.observe(10.1 + KEPT_S, 0.02)
    assert longest(registry) == 0.2
    lag.observe(20.1 + KEPT_S, 0.02)
    assert longest(registry) == 0.03
