"""A short share of `make drain`: each replica gets one SIGTERM under load.

`make drain` wants no failure at all. Here other tests want the cores too, and there one call in about
10,000 was seen to end with the CANCELLED of a server that stops, not made again by its channel: one such
call is let pass, until it is known why.
"""

from __future__ import annotations

import pytest

from tests.faults.drain import drain


@pytest.mark.slow
def test_sigterm_under_load_fails_hardly_a_call(tmp_path, starter_bundle):
    report = drain(tmp_path, starter_bundle, signals=4)
    failures = report["failures"]
    assert sum(failures.values()) <= 1, failures
    assert all(told.startswith("CANCELLED: ") for told in failures), failures
    assert report["exit_statuses"] == {"0": 4}
    assert report["calls_answered"] > 200
    assert report["in_flight_at_a_signal"]["least"] > 0
