"""A short share of `make drain`: each replica gets one SIGTERM under load."""

from __future__ import annotations

import pytest

from tests.soak.drain import drain


@pytest.mark.slow
def test_sigterm_under_load_fails_no_call(tmp_path, starter_bundle):
    report = drain(tmp_path, starter_bundle, signals=4)
    assert report["failures"] == {}
    assert report["exit_statuses"] == {"0": 4}
    assert report["calls_answered"] > 200
    assert report["in_flight_at_a_signal"]["least"] > 0
