"""Two runs side by side: what counts as worse, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.load.compare import NotComparable, compare, main, share

RUN = {
    "model": "starter",
    "points": 100,
    "deadline_s": 1.0,
    "text_search_knee_qps": 100.0,
    "p99_ms": 40.0,
    "errors": 0,
}


def regressed(after: dict[str, object], bound: float = 0.1) -> list[str]:
    return [one.name for one in compare(RUN, {**RUN, **after}) if one.regressed(bound)]


def test_the_same_run_is_no_worse() -> None:
    assert regressed({}) == []


def test_less_throughput_and_more_latency_are_worse_beyond_the_bound() -> None:
    assert regressed({"text_search_knee_qps": 90.1, "p99_ms": 43.9}) == []
    assert regressed({"text_search_knee_qps": 89.9, "p99_ms": 44.1}) == ["text_search_knee_qps", "p99_ms"]


def test_gains_are_never_worse() -> None:
    assert regressed({"text_search_knee_qps": 500.0, "p99_ms": 1.0}, bound=0.0) == []


def test_a_first_error_is_worse_and_a_lost_figure_too() -> None:
    assert regressed({"errors": 1, "p99_ms": None}) == ["p99_ms", "errors"]


def test_other_things_are_not_compared() -> None:
    with pytest.raises(NotComparable, match="points is 100 in the first and 200"):
        compare(RUN, {**RUN, "points": 200})


def test_the_command_fails_on_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    before.write_text(json.dumps(RUN))
    after.write_text(json.dumps({**RUN, "text_search_knee_qps": 85.0, "other_cores": 1.2}))
    assert main([str(before), str(after), "--max-regression", "10%"]) == 1
    printed = capsys.readouterr().out
    assert "-15.0%" in printed
    assert "other processes kept 1.20 cores busy" in printed
    assert main([str(before), str(after), "--max-regression", "0.2"]) == 0
    assert main([str(before), str(tmp_path / "none.json")]) == 2


@pytest.mark.parametrize(("text", "value"), [("10%", 0.1), ("0.25", 0.25), ("0", 0.0)])
def test_bounds_are_shares(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["-5%", "ten", "5000%"])
def test_bad_bounds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        share(text)
