"""Which errors a command says in one line."""

from __future__ import annotations

from importlib import import_module

import pytest

from clipsearch.cli.problems import _EXPECTED, explain


@pytest.mark.parametrize("name", sorted(_EXPECTED))
def test_an_error_that_is_expected_exists_and_is_told_by_its_message(name):
    module, _, kind = name.rpartition(".")
    assert explain(getattr(import_module(module), kind)("what is wrong")) == "what is wrong"


def test_errors_that_are_derived_from_one_are_told_and_faults_are_not():
    from clipsearch.ingest import EmptySource

    assert explain(EmptySource("no rows")) == "no rows"
    assert explain(ValueError("a bug")) is None
    assert explain(ModuleNotFoundError("No module named 'nobody'", name="nobody")) is None
