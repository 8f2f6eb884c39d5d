"""`clipsearch config`: what is in effect, without secrets."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.serving.settings import markdown_table
from encoder_service.settings import EncoderSettings


def config(*arguments: str):
    return CliRunner().invoke(app, ["config", *arguments])


@pytest.mark.parametrize("service", ["encoder", "search"])
def test_the_environment_shows(monkeypatch, service):
    monkeypatch.setenv(f"{service.upper()}_PORT", "7000")
    result = config(service)
    assert result.exit_code == 0
    assert f"{service.upper()}_PORT=7000" in result.stdout.splitlines()
    assert f"# {service.upper()}_TLS_KEY=" in result.stdout.splitlines()


def test_secrets_are_masked(monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "very-secret")
    for arguments in (["search"], ["search", "--json"], ["search", "--table"]):
        result = config(*arguments)
        assert result.exit_code == 0
        assert "very-secret" not in result.output
    assert json.loads(config("search", "--json").stdout)["QDRANT_API_KEY"] == "********"


def test_a_misspelt_variable_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("SEARCH_PROT", "7000")
    result = config("search")
    assert result.exit_code == 1
    assert "SEARCH_PROT: no such setting; did you mean SEARCH_PORT?" in result.output


def test_the_table_is_the_one_of_the_documentation():
    assert config("encoder", "--table").stdout == markdown_table(EncoderSettings)
