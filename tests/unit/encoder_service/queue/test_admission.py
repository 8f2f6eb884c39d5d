"""Who may come in, on a clock that the test turns."""

from __future__ import annotations

import math

import pytest

from clipsearch.serving.errors import DeadlineExceeded, ResourceExhausted
from encoder_service.queue.admission import Admission


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission("images", max_items=10, max_bytes=1000, clock=clock)


def learn(admission: Admission, clock: Clock, seconds_per_item: float, items: int = 400) -> None:
    """Lets the encoder do `items` items at a steady pace."""
    with admission.admit(1, 1, math.inf):
        for _ in range(items):
            clock.now += seconds_per_item
            admission.done()


def test_work_counts_from_its_arrival_to_its_end_however_it_ends(admission: Admission) -> None:
    def work() -> None:
        with admission.admit(3, 30, math.inf):
            assert (admission.items, admission.bytes) == (3, 30)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert (admission.items, admission.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("items", "size", "message"),
    [
        (3, 3, "11 images would be in work, the limit is 10"),
        (1, 993, "1001 bytes would be in work, the limit is 1000"),
    ],
)
def test_past_a_bound_a_call_is_refused_and_told_both_numbers(
    admission: Admission, items: int, size: int, message: str
) -> None:
    with admission.admit(8, 8, math.inf):
        with admission.admit(2, 992, math.inf):
            pass
        with pytest.raises(ResourceExhausted, match=message) as caught:
            admission.admit(items, size, math.inf).__enter__()
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_s > 0


def test_an_idle_encoder_takes_even_a_request_over_its_bounds_or_it_could_never_be_served(
    admission: Admission,
) -> None:
    with admission.admit(64, 5000, math.inf):
        assert admission.items == 64


def test_the_pace_is_measured(admission: Admission, clock: Clock) -> None:
    assert admission.seconds_per_item == 0
    learn(admission, clock, 0.5)
    assert admission.seconds_per_item == pytest.approx(0.5)
    learn(admission, clock, 0.1, items=2000)
    assert admission.seconds_per_item == pytest.approx(0.1, rel=0.01)


def test_items_that_leave_at_their_deadline_teach_the_pace_too(admission: Admission, clock: Clock) -> None:
    def all_too_late() -> None:
        with admission.admit(10, 10, clock.now + 1.0):
            clock.now += 1.0
            raise TimeoutError

    for _ in range(3):
        with pytest.raises(TimeoutError):
            all_too_late()
    assert admission.seconds_per_item == pytest.approx(0.1, rel=0.02)
    with admission.admit(4, 4, clock.now + 1.0), pytest.raises(ResourceExhausted):
        admission.admit(2, 2, clock.now + 1.0).__enter__()


def test_callers_that_go_before_their_deadline_teach_nothing(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        with admission.admit(1, 1, clock.now + 1.0):
            pass  # gone before its answer
    assert admission.seconds_per_item == 0


def test_idle_time_is_not_counted(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.5)
    clock.now += 1_000_000
    learn(admission, clock, 0.5, items=10)
    assert admission.seconds_per_item == pytest.approx(0.5)


def test_a_batch_that_ends_at_once_counts_its_time_once(admission: Admission, clock: Clock) -> None:
    with admission.admit(8, 1, math.inf):
        for _ in range(100):
            clock.now += 0.8
            for _ in range(8):
                admission.done()
    assert admission.seconds_per_item == pytest.approx(0.1, rel=0.05)


def test_a_wait_beyond_the_deadline_is_refused_before_the_work_costs_anything(
    admission: Admission, clock: Clock
) -> None:
    learn(admission, clock, 0.5)
    with admission.admit(4, 4, math.inf):
        with admission.admit(1, 1, clock.now + 2 * 2.5 + 0.01):
            pass
        with pytest.raises(ResourceExhausted, match=r"about 2.50 s, the deadline is in 1.00 s") as caught:
            admission.admit(1, 1, clock.now + 1.0).__enter__()
    assert caught.value.reason == "WAIT_EXCEEDS_DEADLINE"
    assert caught.value.retry_after_s == pytest.approx(2 * 2.5 - 1.0)


def test_an_idle_encoder_lets_anybody_in_so_that_a_wrong_pace_is_corrected(
    admission: Admission, clock: Clock
) -> None:
    learn(admission, clock, 5.0)
    with admission.admit(1, 1, clock.now + 0.1):
        assert admission.items == 1


def test_a_deadline_that_has_passed_is_called_that(admission: Admission, clock: Clock) -> None:
    with pytest.raises(DeadlineExceeded):
        admission.admit(1, 1, clock.now).__enter__()
