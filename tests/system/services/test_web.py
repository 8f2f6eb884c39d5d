"""`clipsearch web` as a process: it ends as it is told, speaks TLS, and passes on what services ask for.

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
from starlette.testclient import TestClient

from clipsearch import Client
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256
from clipsearch.web.app import create_app
from clipsearch.web.settings import Side, WebSettings
from tests.processes import WebProcess

pytestmark = pytest.mark.slow

NOBODY = "127.0.0.1:1"
JSON = {"content-type": "application/json"}


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


def test_services_that_ask_for_tokens(service, starter_bundle, tmp_path: Path) -> None:
    """What the services decide reaches the browser; the server's own token stays on this machine."""
    file, mine, some = tmp_path / "tokens", create_token(), create_token()
    grants = [
        Grant(name="mine", sha256=sha256(mine), scopes=["encode", "search", "admin"]),
        Grant(name="some", sha256=sha256(some), scopes=["search"], collections=["shop"]),
    ]
    file.write_text("\n".join(map(line, grants)) + "\n")
    guarded = {"ENCODER_MODEL": str(starter_bundle), "ENCODER_TOKENS_FILE": str(file)}
    encoder = service("encoder", **guarded).start()
    search = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_ENCODER_TOKEN=mine,
        SEARCH_DATA_DIR=str(tmp_path / "data"),
        SEARCH_TOKENS_FILE=str(file),
    ).start()
    with Client(search.address, token=mine) as client:
        client.create_collection("shop")
    addresses = ["--server", search.address, "--encoder", encoder.address]
    asked = {"collection": "shop", "terms": [{"text": "a cat"}]}

    with WebProcess(tmp_path, *addresses, CLIPSEARCH_TOKEN=mine) as here:
        local = http.client.HTTPConnection(here.address, timeout=30)
        local.request("POST", "/api/search", json.dumps(asked), JSON)
        assert json.load(local.getresponse())["hits"] == []
        local.request("GET", "/api/state")
        assert not json.load(local.getresponse())["token_needed"]
        local.close()

    beyond = create_app(WebSettings({"a": Side(search.address, encoder.address)}, local=False))
    with TestClient(beyond, "http://search.example.com") as browser:
        assert browser.get("/api/state").json()["token_needed"]
        assert browser.post("/api/search", json=asked).status_code == 401
        assert browser.post("/session", json={"token": create_token()}).status_code == 401
        assert browser.post("/session", json={"token": some}).status_code == 204
        state = browser.get("/api/state", params={"collection": ["shop", "other"]}).json()
        assert (state["signed_in"], state["token_needed"]) == (True, False)
        assert [one["name"] for one in state["sides"]["a"]["collections"]] == ["shop"]
        assert browser.post("/api/search", json=asked).status_code == 200
        refused = browser.post("/api/search", json={**asked, "collection": "other"})
        assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "COLLECTION_FORBIDDEN")
        browser.delete("/session")
        assert browser.post("/api/search", json=asked).status_code == 401
