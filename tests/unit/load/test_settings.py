"""Flags beat variables, what is unknown goes to Locust, and a bad value is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.settings import Settings, SettingsError, read


def test_defaults_are_a_whole_run() -> None:
    assert read([]) == (Settings(), [])


def test_a_flag_beats_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOAD_POINTS", "500")
    monkeypatch.setenv("LOAD_DEADLINE_S", "0.5")
    settings, _ = read(["--points", "700", "--scenarios", "text,ingest"])
    assert (settings.points, settings.deadline_s, settings.scenarios) == (700, 0.5, ("text", "ingest"))


def test_what_is_not_ours_is_for_locust() -> None:
    _, others = read(["--worker", "--master-host", "load-master", "--search", "search:50052"])
    assert others == ["--worker", "--master-host", "load-master"]


def test_settings_travel_to_locust_as_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(search="h:1", out=Path("x/y"), scenarios=("mixed",))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert read([])[0] == settings


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--points", "many"], "points: 'many' is not a int"),
        (["--points", "5"], "points: must be at least 100, is 5"),
        (["--scenarios", "text,video"], "scenarios: there is no 'video'"),
        (["--deadline", "nan"], "deadline_s: must be at least 0.05, is nan"),
        (["--scenarios", ","], "scenarios: none given"),
    ],
)
def test_a_bad_value_is_told_in_a_line(flags: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(flags)
