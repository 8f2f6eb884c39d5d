"""A short share of `make torture`, and that its model finds what it looks for."""

from __future__ import annotations

import pytest

from tests.soak.model import DELETED, Model
from tests.soak.torture import WRONG, torture


@pytest.mark.slow
def test_sigkill_during_ingest_loses_and_doubles_nothing(tmp_path):
    report = torture(tmp_path, kills=5, seed=5, limit_s=100)
    assert {name: report[name] for name in WRONG} == dict.fromkeys(WRONG, 0)
    assert report["kills"] == report["kills_during_writes"] == 5
    assert report["writes_acknowledged"] > 1000


@pytest.fixture
def model() -> Model:
    model = Model()
    for versions in ({"a": 1, "b": 1, "gone": 1}, {"a": 2}, {"gone": DELETED}):
        model.attempt(versions)
        model.acknowledge(versions)
    model.attempt({"b": 3, "c": 3})
    return model


GOOD = [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("found", "count", "wrong"),
    [
        (GOOD, 2, {}),
        ([("a", 2), ("b", 3), ("c", 3)], 3, {}),  # the pending write was done
        ([("a", 2)], 1, {"lost": 1}),
        ([("a", 1), ("b", 1)], 2, {"stale": 1}),
        ([*GOOD, ("gone", 1)], 3, {"resurrected": 1}),
        ([*GOOD, ("a", 2)], 3, {"duplicated": 2}),  # listed twice, and counted twice
        (GOOD, 3, {"duplicated": 1}),
        (GOOD, 1, {"lost": 1}),
        ([*GOOD, ("d", 1)], 3, {"invented": 1}),
        ([("a", 3), ("b", 1)], 2, {"invented": 1}),
    ],
)
def test_the_model_tells_what_is_wrong(model, found, count, wrong):
    assert {name: number for name, number in model.compare(found, count).items() if number} == wrong
