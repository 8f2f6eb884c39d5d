"""The profile is made of what was measured: costs from the light steps, cores from the heavy ones."""

from __future__ import annotations

import pytest

from tests.bench.summary import Summary
from tests.load.outcome import Part, free_cores
from tests.load.page import split_ms
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


@pytest.mark.parametrize(
    ("cpu", "free"),
    [
        # 4 s on two cores: 7 s busy, 5 of them ours, so others had half a core.
        ({"machine": 7.0, "encoder.loop": 2.0, "encoder.rest": 2.0, "search.child-7": 1.0}, 1.5),
        ({"machine": 1.0, "client.loop": 1.0}, 2),
    ],
)
def test_free_cores_are_what_others_left(cpu: dict[str, float], free: float) -> None:
    assert free_cores([Step("text", 1, "ladder", 0.0, 4.0, cpu)], 2) == pytest.approx(free)


def test_the_split_adds_up_to_the_latency_and_never_exceeds_the_whole() -> None:
    part = Part(TEXT, 100.0, [], 80.0)
    step = Step("text", 10, "ladder", 0.0, 3.0, split={"text": {"queue": 6.0, "decode": 1.0, "infer": 5.0}})
    parts = {"encode": 10.0, "store": 4.0, "wire": 3.0}
    split = split_ms(part, (step, Summary(3.0, 30, 10.0, 10.0, 10.0, 15.0, 20.0, 30.0, {}, parts)))
    assert sum(split) == pytest.approx(17.0)
    assert sum(split[:3]) == pytest.approx(10.0)
    assert split[3] == 4.0
