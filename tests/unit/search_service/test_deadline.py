"""The caller's deadline, passed on."""

from __future__ import annotations

import math

import pytest

from clipsearch.serving.errors import DeadlineExceeded
from search_service.deadline import Deadline


def test_what_is_passed_on_is_less_than_what_is_left():
    assert 9 < Deadline.after(10).left(at_most=30) <= 10 - 0.02


def test_the_services_own_limit_holds_where_the_caller_waits_longer():
    assert Deadline.after(60).left(at_most=5) == 5
    assert Deadline.after(None).left(at_most=5) == 5
    assert Deadline().left(at_most=math.inf) == math.inf


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
def test_no_work_begins_when_the_answer_would_come_too_late(seconds):
    with pytest.raises(DeadlineExceeded):
        Deadline.after(seconds).left(at_most=5)
