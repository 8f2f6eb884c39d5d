"""Two runs side by side: what counts as worse, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.load.compare import NotComparable, compare, main

RUN = {
    "model": "starter",
    "points": 100,
    "deadline_s": 1.0,
    "text_search_knee_qps": 100.0,
    "p99_ms": 40.0,
    "errors": 0,
}


@pytest.mark.parametrize(
    ("after", "regressed"),
    [
        ({"text_search_knee_qps": 90.1, "p99_ms": 43.9}, []),
        ({"text_search_knee_qps": 89.9, "p99_ms": 44.1}, ["text_search_knee_qps", "p99_ms"]),
        ({"text_search_knee_qps": 500.0, "p99_ms": 1.0}, []),
        ({"errors": 1, "p99_ms": None}, ["p99_ms", "errors"]),
    ],
)
def test_less_throughput_more_latency_an_error_or_a_lost_figure_is_worse(
    after: dict[str, object], regressed: list[str]
) -> None:
    assert [one.name for one in compare(RUN, {**RUN, **after}) if one.regressed(0.1)] == regressed


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
