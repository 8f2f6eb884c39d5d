"""One page of metrics for all processes: what adds up, what does not, and what the dead have counted."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from encoder_service.frontends.metrics import Merged, OfSession, kept, snapshot


class Process:
    """A process's registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls.", ["code"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=self.registry)
        self.in_flight = Gauge("in_flight", "In flight.", registry=self.registry)
        self.ready = Gauge("clipsearch_ready", "Ready.", registry=self.registry)
        self.lag = Gauge("clipsearch_event_loop_lag_max_seconds", "Lag.", registry=self.registry)


@pytest.fixture
def one() -> Process:
    return Process()


@pytest.fixture
def other() -> Process:
    return Process()


def value(merged: Merged, name: str, **labels: str) -> float | None:
    return merged.registry.get_sample_value(name, labels)


def test_counters_histograms_and_gauges_add_up_by_their_labels(one: Process, other: Process) -> None:
    own = Process()
    merged = Merged(own.registry, lambda: [snapshot(p.registry) for p in (one, other)])
    own.calls.labels("OK").inc(1)
    one.calls.labels("OK").inc(2)
    other.calls.labels("LATE").inc(4)
    for process in (own, one, other):
        process.seconds.observe(1.5)
        process.in_flight.set(3)
    assert value(merged, "calls_total", code="OK") == 3
    assert value(merged, "calls_total", code="LATE") == 4
    assert value(merged, "seconds_bucket", le="2.0") == 3
    assert value(merged, "seconds_sum") == 4.5
    assert value(merged, "in_flight") == 9


def test_a_service_is_ready_when_all_are_and_its_lag_is_the_longest(one: Process, other: Process) -> None:
    merged = Merged(CollectorRegistry(), lambda: [snapshot(p.registry) for p in (one, other)])
    one.ready.set(1)
    other.ready.set(0)
    one.lag.set(0.2)
    other.lag.set(0.5)
    assert value(merged, "clipsearch_ready") == 0
    assert value(merged, "clipsearch_event_loop_lag_max_seconds") == 0.5


def test_what_a_dead_process_has_counted_still_counts_but_it_has_nothing_in_flight(
    one: Process, other: Process
) -> None:
    alive, departed = [one, other], ""
    merged = Merged(CollectorRegistry(), lambda: [*(snapshot(p.registry) for p in alive), departed])
    for process in alive:
        process.calls.labels("OK").inc(5)
        process.seconds.observe(0.5)
        process.in_flight.set(2)
    for _ in range(2):  # it dies, and so does the one after it
        departed = kept(departed, snapshot(alive.pop().registry))
        alive.append(Process())
        alive[-1].calls.labels("OK").inc(1)
    assert value(merged, "calls_total", code="OK") == 12
    assert value(merged, "seconds_count") == 2
    assert value(merged, "in_flight") == 2


def test_a_process_that_has_never_answered_counts_for_nothing(one: Process) -> None:
    one.calls.labels("OK").inc()
    merged = Merged(one.registry, lambda: ["", kept("", "")])
    assert value(merged, "calls_total", code="OK") == 1


def test_the_page_has_each_family_once(one: Process, other: Process) -> None:
    merged = Merged(one.registry, lambda: [snapshot(other.registry)])
    page = generate_latest(merged.registry).decode().splitlines()
    types = [line for line in page if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert "# TYPE seconds histogram" in types


def test_the_session_process_tells_what_waits_and_how_its_front_ends_fare() -> None:
    class Fronts:
        restarts, serving_now = 3, 2

    registry = CollectorRegistry()
    registry.register(OfSession([1, 2], [], Fronts()))
    assert registry.get_sample_value("clipsearch_encoder_queue_items", {"tower": "image"}) == 2
    assert registry.get_sample_value("clipsearch_encoder_queue_items", {"tower": "text"}) == 0
    assert registry.get_sample_value("clipsearch_encoder_frontends") == 2
    assert registry.get_sample_value("clipsearch_encoder_frontend_restarts_total") == 3
