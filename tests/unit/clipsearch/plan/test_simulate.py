"""The simulation agrees with what is known exactly: no queue, one queue (M/D/1), many batches."""

from __future__ import annotations

import dataclasses

import pytest

from clipsearch.plan.profile import Profile
from clipsearch.plan.simulate import (
    Layout,
    at_rate,
    borne,
    knee_qps,
    machine_knee_qps,
    one_machine,
    planned,
)
from clipsearch.plan.sizing import Hardware, Load, ceiling_qps, plan

from .made import COSTS, PROFILE

pytestmark = pytest.mark.slow  # simulates many calls
EVEN = (1.0, 1.0)
NOTHING = {field.name: 0.0 for field in dataclasses.fields(COSTS)}


def only(**costs: float) -> Profile:
    """A profile where nothing else costs anything."""
    made = dataclasses.replace(COSTS, **{**NOTHING, **costs})
    return dataclasses.replace(PROFILE, costs=made, session_shape=EVEN, store_shape=EVEN)


def test_without_a_queue_a_call_takes_the_sum_of_its_parts() -> None:
    profile = dataclasses.replace(PROFILE, session_shape=EVEN, store_shape=EVEN)
    predicted = at_rate(
        profile, Layout(together=64, node_query_ms=2.5, session_threads=1), qps=0.5, seconds=60
    )
    assert predicted.p50_ms == pytest.approx(1 + 2.5 + 4 + 2.5, rel=0.01)
    assert predicted.in_time == 1.0


def test_session_threads_share_a_run() -> None:
    layout = Layout(together=64, session_threads=4)
    predicted = at_rate(only(session_item_ms=8.0), layout, qps=0.5, seconds=60)
    assert predicted.p50_ms == pytest.approx(2.0, rel=0.01)


def test_one_queue_waits_as_the_formula_of_pollaczek_and_khinchine_says() -> None:
    # M/D/1, 5 ms a call: at 70% the mean wait is 5 * 0.7 / (2 * 0.3) = 5.8 ms; the median call waits less.
    layout = Layout(together=64, node_query_ms=5.0)
    predicted = at_rate(only(store_ms=5.0), layout, qps=140, seconds=40)
    assert 5.0 < predicted.p50_ms < 5 + 5.8
    assert 20 < predicted.p99_ms < 50  # exactly 33 ms
    assert at_rate(only(store_ms=5.0), layout, qps=40, seconds=40).p99_ms < predicted.p99_ms


def test_the_knee_of_one_queue_lies_just_below_its_ceiling() -> None:
    found = knee_qps(only(store_ms=5.0), Layout(together=64, node_query_ms=5.0), highest=400)
    assert 170 < found < 210


def test_cores_bound_what_queues_do_not() -> None:
    profile = only(client_ms=10.0)
    for cores, low, high in ((2, 160, 210), (1.5, 120, 155)):
        layout = Layout(together=cores)
        assert borne(profile, layout, low)
        assert not borne(profile, layout, high)


def test_batches_bear_more_than_single_runs() -> None:
    # Singly 12 ms a call, so 83 a second; a batch of 64 takes 74 ms.
    layout = Layout(together=64, session_threads=1)
    profile = only(session_fixed_ms=10.0, session_item_ms=1.0)
    assert borne(profile, layout, 500)
    assert not borne(profile, layout, 1000)


def test_beyond_the_knee_calls_come_too_late() -> None:
    predicted = at_rate(PROFILE, one_machine(PROFILE), qps=600, seconds=6)
    assert predicted.in_time < 0.6


def test_the_same_seed_gives_the_same_answer() -> None:
    layout = one_machine(PROFILE)
    assert at_rate(PROFILE, layout, 100, 5) == at_rate(PROFILE, layout, 100, 5)
    assert at_rate(PROFILE, layout, 100, 5) != at_rate(PROFILE, layout, 100, 5, seed=2)


def test_the_knee_of_the_machine_is_near_its_ceiling() -> None:
    assert 0.6 * ceiling_qps(COSTS, 2) < machine_knee_qps(PROFILE) < 1.3 * ceiling_qps(COSTS, 2)


def test_what_was_planned_bears_its_load() -> None:
    for images, qps in ((10**5, 50.0), (10**7, 300.0), (2 * 10**8, 500.0)):
        made = plan(Load(images, qps), Hardware(), PROFILE, "scalar")
        predicted = at_rate(PROFILE, planned(made), qps)
        assert predicted.in_time == 1.0
        assert predicted.p99_ms < PROFILE.p99_bound_ms
