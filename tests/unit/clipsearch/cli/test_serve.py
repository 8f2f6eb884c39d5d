"""`clipsearch serve all`: what the two services are told of each other."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app, serve


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, "127.0.0.1:50051"),
        ({"ENCODER_PORT": "50061"}, "127.0.0.1:50061"),
        ({"ENCODER_HOST": "::1", "ENCODER_PORT": "50061"}, "[::1]:50061"),
        ({"ENCODER_HOST": "0.0.0.0", "ENCODER_INSECURE": "true"}, "127.0.0.1:50051"),
        ({"ENCODER_PORT": "50061", "SEARCH_ENCODER": "elsewhere:50051"}, None),
    ],
)
def test_the_search_service_asks_the_encoder_beside_it(monkeypatch, settings, asked):
    started: dict[str, list[str]] = {}
    monkeypatch.setattr(serve, "run_together", lambda commands: started.update(commands) or 0)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(app, ["serve", "all"]).exit_code == 0
    flags = dict(flag.split("=", 1) for flag in started["search"][1:])
    assert flags.get("--encoder") == asked


def test_a_port_that_nobody_knows_yet_is_refused(monkeypatch):
    monkeypatch.setattr(serve, "run_together", lambda commands: 0)
    monkeypatch.setenv("ENCODER_PORT", "0")
    result = CliRunner().invoke(app, ["serve", "all"])
    assert (result.exit_code, "ENCODER_PORT=0" in result.stderr) == (1, True)
    monkeypatch.setenv("SEARCH_ENCODER", "127.0.0.1:50061")
    assert CliRunner().invoke(app, ["serve", "all"]).exit_code == 0
