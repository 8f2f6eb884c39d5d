"""What stands before every route: headers on every answer, and whose page may call."""

from __future__ import annotations

import pytest

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
SEARCH = {"collection": "c", "terms": [{"text": "a cat"}]}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/api/state", {}, 200),
        ("GET", "/no/such/route", {}, 404),
        ("GET", "/static/%2e%2e/app.py", {}, 404),
        ("PUT", "/api/search", {"json": {}}, 405),
        ("GET", "/api/search", {}, 405),
        ("POST", "/api/search", {"json": {}}, 400),
        ("POST", "/api/search", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ("GET", "/api/state", {"headers": {"host": "evil.example"}}, 403),
        ("GET", "/thumb?collection=c&id=x", {}, 404),
        ("DELETE", "/session", {}, 204),
    ],
)
def test_every_answer_bears_the_headers(page, method, path, options, status):
    answer = page.request(method, path, **options)
    assert answer.status_code == status
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    if status >= 400:
        assert set(answer.json()["error"]) == {
            "reason", "message", "field", "side", "service", "retry_after_s"
        }  # fmt: skip


def test_a_fault_of_the_server_bears_them_too_and_tells_nothing(page, monkeypatch):
    monkeypatch.setattr("clipsearch.web.results.hits", lambda *_, **__: 1 / 0)
    answer = page.post("/api/search", json=SEARCH)
    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == "INTERNAL"
    assert "division" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
def test_this_machine_is_called_by_its_own_names(page, host):
    assert page.get("/api/state", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "localhost.evil.example", "", "[::1", "127.0.0.1@evil"]
)
def test_a_name_that_another_site_points_here_is_refused(page, told, host):
    answer = page.get("/api/state", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["reason"] == "HOST_UNKNOWN"
    assert not told.requests


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/search"), ("POST", "/session"), ("DELETE", "/session")]
)
def test_another_site_may_not_have_the_browser_post(page, told, method, path, headers):
    answer = page.request(method, path, json=SEARCH if method == "POST" else None, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["reason"] == "ORIGIN_FOREIGN"
    assert not told.requests


def test_the_own_page_may(page):
    headers = {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"}
    assert page.post("/api/search", json=SEARCH, headers=headers).status_code == 200


def test_another_site_may_link_here_but_not_load_from_here(page):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    load = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    frame = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    assert page.get("/api/state", headers=link).status_code == 200
    assert page.get("/api/state", headers=load).status_code == 403
    assert page.get("/api/state", headers=frame).status_code == 403
