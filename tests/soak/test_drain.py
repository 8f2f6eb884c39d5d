"""A share of `make drain`: replicas get SIGTERM under load, a search service first, then an encoder."""

from __future__ import annotations

from tests.soak.drain import drain
from tests.soak.share import limit, share_of

pytestmark = limit


def test_sigterm_under_load_fails_no_call(tmp_path, starter_bundle):
    signals = share_of(20, least=2)
    report = drain(tmp_path, starter_bundle, signals)
    assert report["failures"] == {}
    assert report["exit_statuses"] == {"0": signals}
    assert report["calls_answered"] > 50 * signals
    assert report["least_in_flight_at_a_signal"] > 0
