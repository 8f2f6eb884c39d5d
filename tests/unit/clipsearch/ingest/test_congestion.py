"""The flow against a model of a service: work for so many at once, and a queue."""

from __future__ import annotations

import pytest

from clipsearch.ingest.congestion import CongestionControl, FlowLimits

MOST_FLIGHTS = 14


def settle(flow: CongestionControl, *, workers: int, point_s: float, rounds: int = 400) -> None:
    """A service that works on `workers` calls at once; the others wait their turn."""
    for _ in range(rounds):
        seconds = flow.points * point_s * max(1.0, flow.calls / workers)
        flow.answered(flow.points, seconds)


@pytest.mark.parametrize(
    ("workers", "least", "most"), [(1, 2, 5), (8, 9, 13), (100, MOST_FLIGHTS, MOST_FLIGHTS)]
)
def test_calls_are_as_many_as_workers_and_a_short_queue_and_never_more_than_the_limit(workers, least, most):
    flow = CongestionControl(FlowLimits(most_flights=MOST_FLIGHTS))
    settle(flow, workers=workers, point_s=0.0001)
    assert least <= flow.calls <= most
    assert flow.points == 256


def test_slow_points_travel_in_small_calls():
    flow = CongestionControl()
    settle(flow, workers=1, point_s=0.02)  # an image on one core
    assert 0.25 <= flow.points * 0.02 <= 1.0


def test_a_refusal_halves_calls_and_points_once_a_round():
    flow = CongestionControl()
    settle(flow, workers=8, point_s=0.0001)
    flights, points = flow.calls, flow.points
    for _ in range(flights // 2):  # all of them were sent before the first was refused
        flow.refused()
    assert flow.calls == pytest.approx(flights / 2, abs=1)
    assert flow.points == points // 2


def test_after_refusals_without_end_one_point_still_flies():
    flow = CongestionControl()
    for _ in range(100):
        flow.refused()
    assert (flow.calls, flow.points) == (1, 1)
