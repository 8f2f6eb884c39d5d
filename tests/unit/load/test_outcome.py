"""The profile is made of what was measured: costs from the light steps, cores from the heavy ones."""

from __future__ import annotations

import pytest

from tests.bench.summary import Summary
from tests.load.outcome import Part, free_cores
from tests.load.recording import Step
from tests.load.scenarios import scenarios

TEXT = scenarios("c", 100, [])["text"]


def result(offered: float, in_time: float, purpose: str = "ladder") -> tuple[Step, Summary]:
    step = Step("text", round(offered), purpose, 0.0, 4.0)
    return step, Summary(4.0, 0, offered, in_time, in_time, 20.0, 30.0, 40.0, {}, {})


def test_goodput_at_twice_the_knee_is_compared_with_the_best_of_the_climb() -> None:
    steps = [result(50, 50), result(100, 100), result(120, 105), result(200, 84, "double")]
    part = Part(TEXT, 110.0, steps, 100.0)
    assert part.goodput_ratio == pytest.approx(0.8)
    assert part.at("double") is steps[3][1]
    assert [part.note(*one) for one in steps] == ["", "the knee", "", "twice the knee"]


def test_a_knee_that_no_failure_bounds_is_only_a_lower_bound() -> None:
    reached = Part(TEXT, 110.0, [result(50, 50), result(100, 60)], 50.0)
    part = Part(TEXT, 110.0, [result(50, 50), result(100, 100, "double")], 50.0)
    assert (reached.open_ended, part.open_ended) == (False, True)
    assert part.note(*part.steps[0]) == "at least the knee"


def test_without_a_knee_nothing_is_half_or_twice_it() -> None:
    part = Part(TEXT, 110.0, [result(50, 10), result(25, 25, "half")], None)
    assert part.at("half") is None
    assert part.goodput_ratio is None
    assert part.note(*part.steps[1]) == ""


def test_free_cores_are_what_others_left() -> None:
    # 4 s on two cores: 7 s busy, 5 of them ours, so others had half a core.
    cpu = {"machine": 7.0, "encoder.loop": 2.0, "encoder.rest": 2.0, "search.child-7": 1.0}
    assert free_cores([Step("text", 1, "ladder", 0.0, 4.0, cpu)], 2) == pytest.approx(1.5)


def test_cores_that_were_idle_were_free() -> None:
    assert free_cores([Step("text", 1, "ladder", 0.0, 4.0, {"machine": 1.0, "client.loop": 1.0})], 2) == 2
