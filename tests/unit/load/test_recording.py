"""A recording survives its file, and a step counts the calls that were due within it."""

from __future__ import annotations

from pathlib import Path

from tests.load.recording import Recording, Row, Step, count, difference

ROWS: list[Row] = [
    ("text", 99.9, 5.0, "OK", {"encode": 2.0, "store": 1.0}),
    ("text", 100.0, 10.0, "OK", {"encode": 6.0, "store": 1.0}),
    ("image", 100.5, 99.0, "OK", {"encode": 90.0, "store": 1.0}),
    ("text", 101.0, 1500.0, "OK", {"encode": 8.0, "store": 3.0}),
    ("text", 101.5, 3.0, "RESOURCE_EXHAUSTED", {}),
    ("text", 102.0, 7.0, "OK", {"encode": 2.0, "store": 1.0}),
]
STEP = Step("text", 2, "ladder", 100.0, 102.0)


def test_a_step_counts_its_own_scenario_from_its_start_to_before_its_end() -> None:
    summary = Recording([STEP], ROWS, {}).summary(STEP, deadline_s=1.0)
    assert (summary.offered_per_s, summary.ok_per_s, summary.in_time_per_s) == (1.5, 1.0, 0.5)
    assert summary.errors == {"RESOURCE_EXHAUSTED": 1}
    assert summary.parts_ms["encode"] == 7.0


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    recording = Recording([STEP], ROWS, {"text": 80.5})
    recording.write(tmp_path / "recording.json")
    assert Recording.load(tmp_path / "recording.json") == recording


def test_outcomes_are_counted() -> None:
    assert count(ROWS, ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")) == 1


def test_a_process_that_came_later_is_not_counted() -> None:
    assert difference({"a": 1.0, "c": 2.0}, {"a": 3.5, "b": 9.0, "c": 0.0}) == {"a": 2.5}
