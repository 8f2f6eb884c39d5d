"""Tokens: the browser's own goes to the services, the server's only where no other machine reaches it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from clipsearch.channel.credentials import ClientTls
from clipsearch.web.settings import Side
from tests.unit.clipsearch.web.fakes import status

SEARCH = {"collection": "c", "terms": [{"text": "a cat"}]}


def test_a_browsers_token_goes_before_the_servers(open_page, told):
    told.known = {"own", "mine"}
    page = open_page(token="own")
    assert page.post("/session", json={"token": "mine"}).status_code == 204
    told.tokens.clear()
    page.post("/api/search", json=SEARCH)
    assert set(told.tokens) == {"mine"}


def test_a_wrong_token_gets_no_cookie(open_page, told):
    told.known = {"mine"}
    page = open_page(local=False)
    answer = page.post("/session", json={"token": "guessed"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "TOKEN_UNKNOWN")
    assert "set-cookie" not in answer.headers
    assert "guessed" not in answer.text


def test_a_token_that_was_revoked_is_asked_for_again(open_page, told):
    told.known = {"mine"}
    page = open_page(local=False)
    page.post("/session", json={"token": "mine"})
    told.known = set()
    state = page.get("/api/state").json()
    assert (state["signed_in"], state["token_needed"]) == (False, True)


def test_where_no_token_is_asked_for_none_is_needed(open_page):
    page = open_page(local=False)
    assert not page.get("/api/state").json()["token_needed"]
    assert page.post("/api/search", json=SEARCH).status_code == 200


@pytest.mark.parametrize(
    ("secure", "name", "flags"),
    [
        (False, "clipsearch-token", {"httponly", "samesite=strict", "path=/"}),
        (True, "__Host-clipsearch-token", {"httponly", "samesite=strict", "path=/", "secure"}),
    ],
)
def test_the_cookie_is_kept_from_scripts_and_other_sites(open_page, told, secure, name, flags):
    page = open_page(local=False, secure=secure)
    first, *rest = page.post("/session", json={"token": "mine"}).headers["set-cookie"].split("; ")
    assert first == f"{name}=mine"
    assert {flag.lower() for flag in rest} == flags


@pytest.mark.parametrize("cookie", ["a b", "x" * 600, "a\\073b", '"a b"', "ä"])
def test_a_cookie_that_is_no_token_is_none(open_page, told, cookie):
    page = open_page(token="own")
    page.post("/api/search", json=SEARCH, headers={"cookie": f"clipsearch-token={cookie}".encode()})
    assert set(told.tokens) == {"own"}


def test_a_token_of_one_of_the_services_is_enough(open_page, told):
    told.known = {"searcher"}
    told.errors["GetModel"] = status("UNAUTHENTICATED", "TOKEN_UNKNOWN", "not known")
    page = open_page(local=False)
    assert page.post("/session", json={"token": "searcher"}).status_code == 204
    state = page.get("/api/state").json()
    assert (state["signed_in"], state["token_needed"]) == (True, False)
    assert state["sides"]["a"]["encoder"]["message"] == "not known"


def test_a_service_that_asks_for_no_token_vouches_for_none(open_page, told, map_page):
    """The encoder is open here: that it takes a token says nothing."""
    for method in ("ListCollections", "Search"):
        told.errors[method] = status("UNAUTHENTICATED", "TOKEN_UNKNOWN", "not known")
    page = open_page(local=False, maps=(map_page,))
    assert page.post("/session", json={"token": "guessed"}).status_code == 401
    page.cookies.set("clipsearch-token", "guessed")
    assert page.get("/map/0/").status_code == 401
    assert page.get("/api/state").json()["token_needed"]


def test_a_map_may_be_of_either_side_so_both_must_take_the_token(open_page, told, map_page):
    sides = {"a": Side(told.address, told.address), "b": Side("127.0.0.1:9", told.address)}
    page = open_page(local=False, maps=(map_page,), sides=sides)
    assert page.get("/map/0/").status_code == 503


def test_when_no_service_can_be_asked_nobody_is_told_that_the_token_is_wrong(open_page, told):
    told.errors = {
        method: status("UNAVAILABLE", "STORE_UNAVAILABLE", "away")
        for method in ("ListCollections", "GetModel")
    }
    assert open_page(local=False).post("/session", json={"token": "mine"}).status_code == 503


def test_with_a_certificate_of_the_servers_a_browser_still_needs_a_token(open_page, told, tmp_path: Path):
    """The services may know the certificate: without this everybody would search as the server."""
    issued = trustme.CA().issue_cert("page.example.com")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "crt.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = ClientTls(certificate=tmp_path / "crt.pem", key=tmp_path / "key.pem")
    page = open_page(local=False, tls=tls)
    assert page.post("/api/search", json=SEARCH).status_code == 401
    assert page.get("/api/values?collection=c&field=f").status_code == 401
    assert page.get("/thumb?collection=c&id=1").status_code == 401
    state = page.get("/api/state").json()
    assert state["token_needed"]
    assert not told.requests


def test_a_map_needs_a_token_beyond_this_machine_asked_for_once_a_minute(open_page, told, map_page):
    told.known = {"mine"}
    page = open_page(local=False, maps=(map_page,))
    assert page.get("/map/0/").status_code == 401
    page.cookies.set("clipsearch-token", "mine")
    told.tokens.clear()
    assert [page.get("/map/0/").status_code for _ in range(3)] == [200] * 3
    assert told.tokens == ["mine"]
    page.cookies.set("clipsearch-token", "other")
    assert page.get("/map/0/").status_code == 401
