"""Rates and latencies of a step that is repeated."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

ROUNDS = 3


def rate(step: Callable[[], object], items: int, seconds: float, threads: int = 1) -> float:
    """Items a second, `items` of them a step: the median of three rounds, warmed up.

    `threads` make steps side by side, each one step at a time.
    """
    for _ in range(3):
        step()
    with ThreadPoolExecutor(threads) as pool:
        return statistics.median(
            sum(pool.map(lambda _: _round(step, seconds / ROUNDS), range(threads))) * items
            for _ in range(ROUNDS)
        )


def p50_ms(step: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of a step, one at a time."""
    for _ in range(3):
        step()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def _round(step: Callable[[], object], seconds: float) -> float:
    """Steps a second."""
    start = time.perf_counter()
    for steps in itertools.count(1):
        step()
        if (taken := time.perf_counter() - start) >= seconds:
            return steps / taken
    raise AssertionError
