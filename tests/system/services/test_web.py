"""`clipsearch web` as it is started, in front of both services: searched over HTTP, like the page does."""

from __future__ import annotations

import base64
import http.client
import io
import json
import shutil
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from PIL import Image
from starlette.testclient import TestClient

from clipsearch.client.inputs import Point
from clipsearch.client.sync import Client
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256
from clipsearch.web.app import create_app
from clipsearch.web.settings import Side, WebSettings
from tests.processes import WebProcess

pytestmark = pytest.mark.slow

HOSTILE = '<img src=x onerror="alert(1)">.png'


class Page(WebProcess):
    """The command, running, and what a browser asks of it."""

    def __init__(
        self, folder: Path, *arguments: str, tls: ssl.SSLContext | None = None, **settings: str
    ) -> None:
        super().__init__(folder, *arguments, **settings)
        self._tls = tls
        self.start()

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON read) and headers."""
        if self._tls is None:
            connection = http.client.HTTPConnection(self.address, timeout=30)
        else:
            connection = http.client.HTTPSConnection(self.address, timeout=30, context=self._tls)
        sent = None if body is None else json.dumps(body)
        kind = {} if body is None else {"content-type": "application/json"}
        connection.request(method, path, sent, {**kind, **headers})
        answer = connection.getresponse()
        data: Any = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        if told.get("content-type") == "application/json":
            data = json.loads(data)
        return answer.status, data, told

    def search(self, *terms: dict[str, Any], **more: Any) -> dict[str, Any]:
        status, found, _ = self.ask("POST", "/api/search", {"collection": "pictures", "terms": terms, **more})
        assert status == 200, found
        return found


@pytest.fixture(scope="module")
def pictures(photos: list[Path], search, tmp_path_factory) -> Path:
    """A folder with the sample photographs, indexed; one of them has a hostile name and payload."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in photos:
        shutil.copy(path, folder / (HOSTILE if path.name == "rocket.jpg" else path.name))
    points = [
        Point(
            path.name,
            image=path,
            payload={
                "path": str(path),
                "subject": path.stem.split("_")[0] if path.name != HOSTILE else "</script><script>alert(2)",
                "bytes": path.stat().st_size,
            },
        )
        for path in sorted(folder.iterdir())
    ]
    with Client(search.address) as client:
        client.create_collection("pictures", payload_indexes={"subject": "keyword", "bytes": "integer"})
        assert not any(result.error for result in client.upsert("pictures", points))
        outside = Point("outside", text="a secret", payload={"path": "/etc/passwd", "text": "a secret"})
        client.upsert("pictures", [outside])
    return folder


Start = Callable[..., Page]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[Start]:
    """Starts the command; what still runs at the end is ended."""
    folder = tmp_path_factory.mktemp("web")
    started: list[Page] = []

    def make(*arguments: str, **more: Any) -> Page:
        started.append(Page(folder, *arguments, **more))
        return started[-1]

    yield make
    for page in started:
        page.kill()


@pytest.fixture(scope="module")
def page(start, search, encoder, pictures) -> Page:
    """The page in front of the module's services."""
    return start("--server", search.address, "--encoder", encoder.address, "--root", str(pictures))


def test_words_find_their_picture_and_weak_matches_are_marked(page):
    found = page.search({"text": "a cat"}, target="image", limit=3)
    first, *others = found["hits"]
    assert (first["id"], first["title"], first["weak"]) == ("chelsea.png", "chelsea.png", False)
    assert all(hit["weak"] for hit in others)
    assert found["more"]
    assert found["took_ms"]["total"] > 0


def test_a_picture_a_stored_point_and_weights(page, pictures):
    picture = base64.b64encode((pictures / "motorcycle_left.png").read_bytes()).decode()
    for term in ({"picture": picture}, {"point_id": "motorcycle_left.png"}):
        ids = [hit["id"] for hit in page.search(term, target="image", limit=2)["hits"]]
        assert "motorcycle_right.png" in ids
    away = page.search({"point_id": "coffee.png"}, {"text": "a cup of coffee", "weight": -1}, target="image")
    assert away["hits"][0]["cosine"] < 0.9


def test_filters_and_pages(page):
    conditions = [{"field": "subject", "op": "=", "value": ["motorcycle", "coffee"]}]
    first = page.search({"text": "a vehicle"}, filter=conditions, limit=2)
    rest = page.search({"text": "a vehicle"}, filter=conditions, limit=2, offset=2)
    ids = [hit["id"] for hit in first["hits"] + rest["hits"]]
    assert sorted(ids) == ["coffee.png", "motorcycle_left.png", "motorcycle_right.png"]
    assert (first["more"], rest["more"]) == (True, False)
    status, told, _ = page.ask(
        "POST",
        "/api/search",
        {
            "collection": "pictures",
            "terms": [{"text": "a"}],
            "filter": [*conditions, {"field": "bytes", "op": "~", "value": "x"}],
        },
    )
    assert (status, told["error"]["field"]) == (400, "filter[1]")


def test_values_to_filter_by(page):
    status, found, _ = page.ask("GET", "/api/values?side=a&collection=pictures&field=subject")
    assert status == 200
    assert found["values"][0] == {"value": "motorcycle", "count": 2}
    assert not found["more"]


def test_small_pictures_even_of_hostile_names_and_nothing_else(page):
    (hit,) = page.search({"text": "a rocket"}, target="image", limit=1)["hits"]
    assert hit["title"] == HOSTILE
    assert hit["payload"]["subject"] == "</script><script>alert(2)"
    status, data, headers = page.ask("GET", hit["thumb"].replace("size=160", "size=640"))
    assert (status, headers["content-type"]) == (200, "image/webp")
    assert max(Image.open(io.BytesIO(data)).size) == 640
    assert page.ask("GET", hit["thumb"], **{"if-none-match": headers["etag"]})[0] == 200  # another size
    outside = page.search({"text": "a secret"}, target="text", limit=1)["hits"][0]
    assert (outside["id"], outside["thumb"], outside["text"]) == ("outside", None, "a secret")
    status, told, _ = page.ask("GET", "/thumb?side=a&collection=pictures&id=outside")
    assert (status, told["error"]["reason"]) == (404, "PICTURE_NOT_FOUND")


def test_classify_an_upload_and_a_stored_picture(page, pictures):
    labels = ["dog", "cat", "car"]
    picture = base64.b64encode((pictures / "chelsea.png").read_bytes()).decode()
    for which in ({"picture": picture}, {"point": {"collection": "pictures", "id": "chelsea.png"}}):
        status, found, _ = page.ask("POST", "/api/classify", {"side": "a", "labels": labels, **which})
        assert status == 200, found
        assert found["scores"][0]["label"] == "cat"
    asked = {"labels": ["cat", "cat"], "picture": picture}
    assert page.ask("POST", "/api/classify", asked)[1]["error"]["reason"] == "LABEL_REPEATED"


def test_the_page_itself_and_its_state(page):
    status, html, headers = page.ask("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<script type="module"' in html
    assert "server" not in headers
    state = page.ask("GET", "/api/state")[1]
    assert state["sides"]["a"]["encoder"]["model"]["name"] == "starter"
    shop = next(one for one in state["sides"]["a"]["collections"] if one["name"] == "pictures")
    assert (shop["image_vectors"], shop["text_vectors"], shop["fits_encoder"]) == (18, 1, True)
    assert not state["token_needed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_and_that_is_no_failure(start, search, encoder, number):
    page = start("--server", search.address, "--encoder", encoder.address, "--root", "/usr/share")
    idle = http.client.HTTPConnection(page.address, timeout=30)
    idle.request("GET", "/api/state")
    assert idle.getresponse().read()
    assert page.stop(number) == 0
    idle.close()
    assert page.text().splitlines() == [f"the page: http://{page.address}/   (Ctrl-C ends it)"]


def test_over_tls(start, search, encoder, tmp_path):
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "crt.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    files = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    page = start("--server", search.address, "--encoder", encoder.address, *files, tls=trust)
    headers = page.ask("POST", "/session", {"token": "mine"})[2]
    assert headers["set-cookie"].startswith("__Host-clipsearch-token=mine;")
    assert "Secure" in headers["set-cookie"]
    assert page.stop() == 0


def test_services_that_ask_for_tokens(service, starter_bundle, tmp_path, start):
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

    here = start(*addresses, CLIPSEARCH_TOKEN=mine)
    assert here.ask("POST", "/api/search", asked)[0] == 200
    assert not here.ask("GET", "/api/state")[1]["token_needed"]

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
