"""A share of `make bounds`: what must hold whatever the machine does meanwhile."""

from __future__ import annotations

from tests.soak.bounds import LIMIT_MB, run
from tests.soak.share import in_a_soak, limit, share_of

pytestmark = limit


@in_a_soak
def test_no_caller_and_no_file_kills_the_encoder(tmp_path, starter_bundle):
    report = run(starter_bundle, tmp_path, share_of(60, least=10))
    assert report["restarts"] == 0
    assert report["peak_mb"] < LIMIT_MB
    assert (report["failures"], report["internal"], report["faults_logged"]) == ([], {}, [])
    assert report["health_failed"] == []
