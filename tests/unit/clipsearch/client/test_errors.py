"""Errors as callers meet them."""

from __future__ import annotations

import pickle

import pytest

from clipsearch import ClipSearchError
from clipsearch.client.errors import ArgumentTypeError
from clipsearch.filters.expressions import FilterError


@pytest.mark.parametrize(
    "error",
    [
        ClipSearchError("NOT_FOUND", "gone", reason="R", field="f", metadata={"a": "b"}, retry_after=1.5),
        ArgumentTypeError("text: 1"),
        FilterError("price<"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pass_from_a_process_of_a_pool_to_its_caller(error):
    came = pickle.loads(pickle.dumps(error))
    assert (type(came), str(came), vars(came)) == (type(error), str(error), vars(error))
