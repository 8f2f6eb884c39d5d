"""The flow against a model of a service: work for so many at once, and a queue."""

from __future__ import annotations

import pytest

from clipsearch.ingest.flow import Flow, FlowLimits


def settle(flow: Flow, *, workers: int, point_s: float, rounds: int = 400) -> None:
    """A service that works on `workers` calls at once; the others wait their turn."""
    for _ in range(rounds):
        seconds = flow.points * point_s * max(1.0, flow.flights / workers)
        flow.answered(flow.points, seconds)


def test_one_worker_gets_a_short_queue_and_no_more():
    flow = Flow()
    settle(flow, workers=1, point_s=0.0001)
    assert 2 <= flow.flights <= 5
    assert flow.points == 256


def test_more_workers_get_more_calls():
    flow = Flow()
    settle(flow, workers=8, point_s=0.0001)
    assert 9 <= flow.flights <= 13


def test_calls_never_exceed_the_limit():
    flow = Flow(FlowLimits(most_flights=5))
    settle(flow, workers=100, point_s=0.0001)
    assert flow.flights == 5


def test_slow_points_travel_in_small_calls():
    flow = Flow()
    settle(flow, workers=1, point_s=0.02)  # a picture on one core
    assert 0.25 <= flow.points * 0.02 <= 1.0


def test_a_refusal_halves_calls_and_points_once_a_round():
    flow = Flow()
    settle(flow, workers=8, point_s=0.0001)
    flights, points = flow.flights, flow.points
    for _ in range(flights // 2):  # all of them were sent before the first was refused
        flow.refused()
    assert flow.flights == pytest.approx(flights / 2, abs=1)
    assert flow.points == points // 2


def test_after_refusals_without_end_one_point_still_flies():
    flow = Flow()
    for _ in range(100):
        flow.refused()
    assert (flow.flights, flow.points) == (1, 1)


def test_a_limit_of_the_service_is_kept():
    flow = Flow()
    flow.too_many(16)
    settle(flow, workers=1, point_s=0.0001)
    assert flow.points == 8
