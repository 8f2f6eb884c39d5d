"""The ladder finds the knee of made-up services, within the rungs that it may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.summary import Summary
from tests.load.ladder import Ladder, Rung

SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.15)


def service(rate: float, knee: float) -> Summary:
    """Answers all in 20 ms up to its knee; beyond it the tail is long and the rest is refused."""
    p99 = 20.0 if rate <= knee else 900.0
    return Summary(3.0, 0, rate, min(rate, knee), min(rate, knee), 10.0, p99, p99, {}, {})


def climb(ladder: Ladder, knee: float, room: int = 20) -> list[tuple[Rung, Summary]]:
    """Offers what the ladder says; a result is there only when the next rung has ended."""
    done: list[tuple[Rung, Summary]] = []
    running: Rung | None = None
    for taken in range(40):
        known = done if running is None or running.purpose != "ladder" else done[:-1]
        running = ladder.next(known, running, room - taken)
        if running is None:
            return done
        if running.purpose != "rest":
            done.append((running, service(running.rate, knee)))
    raise AssertionError("the ladder does not end")


def rates(done: list[tuple[Rung, Summary]], purpose: str = "ladder") -> list[int]:
    return [rung.rate for rung, _ in done if rung.purpose == purpose]


@pytest.mark.parametrize(
    ("knee", "double", "climbed", "half", "twice"),
    [
        (92, True, [30, 50, 70, 80, 90, 100, 115], [45], [180]),
        # Two rates in a row were too much; 90 runs before the result of 80 is there.
        (60, True, [30, 50, 70, 80, 90], [25], [100]),
        # The highest was borne; 225 runs before the result of 180 is there.
        (150, False, [30, 50, 70, 80, 90, 100, 115, 144, 180, 225], [], []),
        # None of the shares was borne.
        (16, True, [30, 50, 70, 15, 7], [8], [30]),
    ],
)
def test_it_climbs_to_the_knee_and_then_offers_half_of_it_and_twice(
    knee: float, double: bool, climbed: list[int], half: list[int], twice: list[int]
) -> None:
    done = climb(Ladder(100, SHARES, 200, double), knee)
    assert (rates(done), rates(done, "half"), rates(done, "double")) == (climbed, half, twice)


def test_it_leaves_room_for_the_two_rates_that_must_come() -> None:
    done = climb(Ladder(100, SHARES, 200, True), knee=1000, room=5)
    assert rates(done) == [30, 50, 70]
    assert len(rates(done, "half")) == len(rates(done, "double")) == 1


@given(
    capacity=st.floats(1, 5000), knee=st.floats(0.1, 10_000), room=st.integers(0, 30), points=st.booleans()
)
def test_it_always_ends_with_rates_of_at_least_one(
    capacity: float, knee: float, room: int, points: bool
) -> None:
    done = climb(Ladder(capacity, SHARES, 200, points), knee, room)
    assert all(rung.rate >= 1 for rung, _ in done)
    assert len(done) <= 14


def test_without_a_step_that_is_borne_the_knee_is_half_of_the_lowest() -> None:
    ladder = Ladder(100, SHARES, 200, True)
    assert ladder.knee([service(30, 10), service(50, 10)]) == 15
    assert ladder.knee([]) == 50
    assert ladder.knee([service(30, 40), service(50, 40)]) == pytest.approx(30)
