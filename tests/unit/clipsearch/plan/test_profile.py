"""Profiles are read whole or refused with one sentence that names the file, the field and the value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipsearch.plan.profile import PlanError, choose, load, parse, shipped

from .made import PROFILE, document


def test_what_is_written_is_read_back() -> None:
    assert parse(json.loads(json.dumps(document())), "x") == PROFILE


def test_the_shipped_profiles_are_measured_ones() -> None:
    found = shipped()
    assert "starter" in found
    for model, profile in found.items():
        assert profile.model == model
        assert profile.knee_qps > 0
        assert profile.cpu
        assert profile.measured[:2] == "20"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "x is no profile"),
        ([], "x is no profile"),
        (document(format="other/9"), "x is no profile"),
        (document(costs=None), "x: costs must be an object of numbers, is None"),
        (document(costs={}), "x: costs.client_ms is missing"),
        (document(cores="two"), "x: cores must be a whole number of 0 or more, is 'two'"),
        (document(cores=2.7), "x: cores must be a whole number of 0 or more, is 2.7"),
        (document(model=None), "x: model must be a string, is None"),
        (document(cores=0), "x: cores must be positive, is 0"),
        (document(knee_qps=-3), "x: knee_qps must be a number of 0 or more, is -3"),
        (document(knee_qps=True), "x: knee_qps must be a number of 0 or more, is True"),
        (document(encoder_mb=float("inf")), "x: encoder_mb must be a number of 0 or more, is inf"),
        (document(free_cores=float("nan")), "x: free_cores must be a number"),
        (document(store_shape=[1]), "x: store_shape must be a list of at least two numbers"),
        (document(store_shape=["a", "b"]), "x: store_shape must be a list of at least two numbers"),
        (document(session_shape=[1, float("nan")]), "x: session_shape must be a list of at least two"),
        (document(session_shape="12"), "x: session_shape must be a list of at least two numbers"),
        ({k: v for k, v in document().items() if k != "model"}, "x: model is missing"),
    ],
)
def test_a_broken_profile_is_told_in_a_sentence(broken: object, message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("(", r"\(")):
        parse(broken, "x")


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(PlanError, match=r"p\.json is no JSON"):
        load(tmp_path / "p.json")


def test_a_profile_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document()))
    assert choose(None, tmp_path / "p.json") == choose("made", tmp_path / "p.json") == PROFILE
    with pytest.raises(PlanError, match="a profile of model 'made', not of 'clip'"):
        choose("clip", tmp_path / "p.json")


def test_an_unknown_model_is_told_what_there_is() -> None:
    with pytest.raises(PlanError, match=r"no profile of model 'clip'.*starter.*make load"):
        choose("clip", None)
