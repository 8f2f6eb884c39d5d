"""The caller's deadline, passed on."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from clipsearch.serving.deadline import deadline, deadline_at
from clipsearch.serving.errors import DeadlineExceeded
from search_service.deadline import store_within, time_left


def test_what_is_passed_on_is_less_than_what_is_left():
    with deadline_at(time.monotonic() + 60):
        assert 0 < time_left(at_most=600) <= 60 - 0.02


def test_the_services_own_limit_holds_where_the_caller_waits_longer():
    assert time_left(at_most=5) == 5
    assert time_left() == math.inf
    with deadline_at(time.monotonic() + 60):
        assert time_left(at_most=5) == 5


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
def test_no_work_begins_when_the_answer_would_come_too_late(seconds):
    with deadline_at(time.monotonic() + seconds), pytest.raises(DeadlineExceeded):
        time_left(at_most=5)


async def test_a_shorter_limit_holds_for_all_within_it_and_a_longer_one_changes_nothing():
    with deadline_at(time.monotonic() + 3600):
        async with store_within(5):
            assert time_left() <= 5
            async with store_within(60):
                assert time_left() <= 5
        assert time_left() > 60
    assert deadline() == math.inf


async def test_what_takes_longer_is_given_up():
    with pytest.raises(DeadlineExceeded):
        async with store_within(0.01):
            await asyncio.sleep(3600)
