"""The rate limit, on a clock of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.serving.security.auth import RateLimit


def test_one_seconds_worth_at_once_then_one_by_one():
    clock = SimpleNamespace(now=0.0)
    limit = RateLimit(4, lambda: clock.now)
    assert [limit.take() for _ in range(5)] == [0, 0, 0, 0, pytest.approx(0.25)]
    clock.now += 0.25
    assert limit.take() == 0
    assert limit.take() > 0


@given(
    rate=st.floats(0.1, 1000),
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_never_more_than_the_rate_and_who_waits_as_told_gets_through(rate, pauses):
    clock = SimpleNamespace(now=0.0)
    limit = RateLimit(rate, lambda: clock.now)
    for passed, pause in enumerate(pauses, start=1):
        clock.now += pause
        wait = limit.take()
        if wait:
            assert wait <= 1 / rate + 1e-9
            clock.now += wait + 1e-9
            assert limit.take() == 0
        assert passed <= max(1, rate) + clock.now * rate + 1e-6
