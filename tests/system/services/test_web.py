"""`clipsearch web` as a process: it ends as it is told, and speaks TLS.

What it answers is tested in tests/unit/clipsearch/web; in front of real services, in tests/browser.
"""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from pathlib import Path

import pytest
import trustme

from tests.processes import WebProcess

pytestmark = pytest.mark.slow

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_and_that_is_no_failure(tmp_path: Path, number: int) -> None:
    with WebProcess(tmp_path, "--server", NOBODY, "--encoder", NOBODY, "--root", "/usr/share") as page:
        idle = http.client.HTTPConnection(page.address, timeout=30)
        idle.request("GET", "/api/state")
        assert idle.getresponse().read()
        assert page.stop(number) == 0
        idle.close()
        assert page.text().splitlines() == [f"the page: http://{page.address}/   (Ctrl-C ends it)"]


def test_over_tls(search, encoder, tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "crt.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    addresses = ["--server", search.address, "--encoder", encoder.address]
    files = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with WebProcess(tmp_path, *addresses, *files) as page:
        browser = http.client.HTTPSConnection(page.address, timeout=30, context=trust)
        browser.request(
            "POST", "/session", json.dumps({"token": "mine"}), {"content-type": "application/json"}
        )
        cookie = browser.getresponse().getheader("set-cookie", "")
        browser.close()
        assert page.stop() == 0
    assert cookie.startswith("__Host-clipsearch-token=mine;")
    assert "Secure" in cookie
