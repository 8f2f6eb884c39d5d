"""Figures of a load: what falls into the window, percentiles, goodput and the knee."""

from __future__ import annotations

import pytest

from tests.bench.load import Call
from tests.bench.summary import Summary, knee, summarise_closed, summarise_open


def ok(due_s: float, latency_ms: float, **parts_ms: float) -> Call:
    return Call(due_s, latency_ms, "OK", parts_ms)


def step(offered: float, in_time: float, p99_ms: float | None) -> Summary:
    return Summary(1.0, 0, offered, in_time, in_time, p99_ms, p99_ms, p99_ms, {}, {})


def test_a_closed_loop_counts_what_ended_in_the_window() -> None:
    before = ok(0.0, 900)
    inside = ok(0.5, 600)  # sent in the warm-up, answered after it
    after = ok(2.5, 600)
    summary = summarise_closed([before, inside, after], warm_s=1.0, end_s=3.0, deadline_s=10)
    assert summary.ok_per_s == 0.5
    assert summary.sent == 3
    assert summary.p50_ms == 600


def test_an_open_loop_counts_what_was_due_in_the_window() -> None:
    before = ok(0.5, 600)
    inside = ok(2.5, 900)  # answered after the end, yet part of the offer
    summary = summarise_open([before, inside], warm_s=1.0, end_s=3.0, deadline_s=10)
    assert summary.offered_per_s == 0.5
    assert summary.p50_ms == 900


def test_late_and_failed_calls_are_no_goodput() -> None:
    calls = [ok(0.1, 50), ok(0.2, 1500), Call(0.3, 2, "RESOURCE_EXHAUSTED"), Call(0.4, 9, "UNAVAILABLE")]
    summary = summarise_open(calls, warm_s=0.0, end_s=1.0, deadline_s=1.0)
    assert (summary.offered_per_s, summary.ok_per_s, summary.in_time_per_s) == (4, 2, 1)
    assert summary.errors == {"RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 1}


def test_percentiles_are_of_the_calls_without_error() -> None:
    calls = [ok(0.0, latency) for latency in range(1, 101)] + [Call(0.0, 5000, "UNAVAILABLE")]
    summary = summarise_open(calls, warm_s=0.0, end_s=1.0, deadline_s=1.0)
    assert summary.p50_ms == pytest.approx(50.5)
    assert summary.p95_ms == pytest.approx(95.05)
    assert summary.p99_ms == pytest.approx(99.01)


def test_where_the_time_went_adds_up_to_the_latency() -> None:
    calls = [ok(0.0, 10, queue=4, infer=5), ok(0.0, 20, queue=6, infer=7)]
    parts = summarise_open(calls, warm_s=0.0, end_s=1.0, deadline_s=1.0).parts_ms
    assert parts == {"queue": 5, "infer": 6, "wire": 4}


def test_a_load_without_an_answer_has_no_percentiles() -> None:
    summary = summarise_open([Call(0.1, 2, "UNAVAILABLE")], warm_s=0.0, end_s=1.0, deadline_s=1.0)
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.parts_ms) == (None, None, None, {})


@pytest.mark.parametrize(
    ("steps", "highest"),
    [
        ([(100, 100, 20), (200, 195, 80), (300, 210, 400)], 200),
        ([(100, 100, 20), (200, 200, 101)], 100),  # the tail of the other is too slow
        ([(100, 95, 20)], 100),
        ([(100, 94, 20)], None),
        ([(100, 0, None)], None),
    ],
)
def test_the_knee_is_the_highest_rate_that_is_borne(
    steps: list[tuple[float, float, float | None]], highest: float | None
) -> None:
    found = knee([step(*one) for one in steps], p99_bound_ms=100)
    assert (found and found.offered_per_s) == highest
