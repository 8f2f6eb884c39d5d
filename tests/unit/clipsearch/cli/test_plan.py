"""`clipsearch plan`: what it prints, explains and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.plan.profile import shipped
from clipsearch.plan.sizing import Hardware, Load
from clipsearch.plan.sizing import plan as make


def plan(*arguments: str):
    return CliRunner().invoke(app, ["plan", *arguments])


@pytest.fixture
def without_simpy(monkeypatch):
    """What the latency is simulated with, for seconds, is not there."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_it_prints_services_and_cluster_with_and_without_quantisation():
    result = plan("--images", "50M", "--qps", "500")
    assert result.exit_code == 0, result.output
    expected = make(Load(50_000_000, 500), Hardware(), shipped()["starter"], "none")
    assert f"{expected.encoder.working} + 1" in result.stdout
    assert "307 GB" in result.stdout  # 50M x 512 x 4 bytes x 1.5, twice
    for heading in ("float32", "int8 copy", "1-bit copy", "measured", "p99"):
        assert heading in result.stdout


def test_every_number_explains_itself(without_simpy):
    result = plan("--images", "50M", "--qps", "500", "--explain")
    for reason in ("Denning and Buzen", "Malkov and Yashunin", "Capacity Planning", "x 512 x 4 bytes x 1.5"):
        assert reason in result.stdout


def test_json_holds_the_plan_its_profile_and_its_reasons():
    found = json.loads(plan("--images", "200k", "--qps", "20", "--json").stdout)
    assert found["load"]["images"] == 200_000
    assert set(found["qdrant"]) == {"none", "scalar", "binary"}
    assert found["encoder"]["replicas"] == found["encoder"]["working"] + 1
    assert found["simulated"]["p99_ms"] >= found["simulated"]["p50_ms"] > 0
    assert found["profile"]["model"] == "starter"
    assert found["reasons"]


def test_without_simpy_all_but_the_latency_is_there(without_simpy):
    result = plan("--images", "1M", "--qps", "10")
    assert result.exit_code == 0
    assert "pip install 'clipsearch[plan]'" in result.stdout
    assert "replicas" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "-5", "--qps", "1"], "images: '-5' is not a number of 0 or more, such as 200K"),
        (["--images", "many", "--qps", "1"], "images: 'many' is not a number"),
        (["--images", "1M", "--qps", "-1"], "qps must be a positive number, is -1"),
        (["--images", "1M", "--qps", "1", "--model", "gpt"], "there is no profile of model 'gpt'"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, message):
    result = plan(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_profile_that_is_given_is_used(without_simpy, tmp_path: Path):
    file = tmp_path / "p.json"
    file.write_text(json.dumps({**shipped()["starter"].document(), "model": "mine"}))
    found = json.loads(plan("--images", "1M", "--qps", "1", "--profile", str(file), "--json").stdout)
    assert found["profile"]["model"] == "mine"
