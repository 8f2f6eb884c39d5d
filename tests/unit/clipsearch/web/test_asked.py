"""What the page sends is checked, and what is wrong is named by its field."""

from __future__ import annotations

import base64
import json

import pytest

from clipsearch.web.errors import WebError
from clipsearch.web.requests import ClassifyAsked, SearchAsked, TokenAsked, read

TERM = {"text": "a cat"}


def search(**given):
    return {"collection": "c", "terms": [TERM], **given}


def test_a_search_has_defaults():
    asked = read(SearchAsked, json.dumps(search()).encode())
    assert (asked.side, asked.target, asked.limit, asked.offset) == ("a", "any", 24, 0)
    assert asked.terms[0].term().weight == 1.0


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_000])
def test_a_picture_of_any_size_is_decoded(size):
    picture = bytes(range(256)) * (size // 256 + 1)
    body = json.dumps(search(terms=[{"image": base64.b64encode(picture[:size]).decode()}])).encode()
    assert read(SearchAsked, body).terms[0].image == picture[:size]


@pytest.mark.parametrize(
    "text", ["A" * 262_142 + "==AAAA", "AA==AA==", "AAA", "A A A", "AAA=\n", "ÄÄÄÄ", "-_-_"]
)
def test_what_is_no_base64(text):
    with pytest.raises(WebError) as raised:
        read(SearchAsked, json.dumps(search(terms=[{"image": text}])).encode())
    assert raised.value.field == "terms[0].image"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (search(terms=[]), "terms"),
        (search(terms=[TERM] * 33), "terms"),
        (search(terms=[TERM, {}]), "terms[1]"),
        (search(terms=[{"text": "a", "point_id": "b"}]), "terms[0]"),
        (search(terms=[TERM, {"text": 5}]), "terms[1].text"),
        (search(terms=[{"image": 5}]), "terms[0].image"),
        (search(terms=[{"text": "a", "weight": "1"}]), "terms[0].weight"),
        (search(terms=[{"text": "a", "weight": True}]), "terms[0].weight"),
        (search(terms=[{"text": "a", "path": "/etc/passwd"}]), "terms[0].path"),
        (search(side="c"), "side"),
        (search(target="both"), "target"),
        (search(limit=0), "limit"),
        (search(limit=101), "limit"),
        (search(offset=-1), "offset"),
        (search(collection=None), "collection"),
        (search(collection=""), "collection"),
        (search(collection="x" * 2049), "collection"),
        (search(terms=[{"point_id": "x" * 2049}]), "terms[0].point_id"),
        (search(filter=[{"field": "x" * 2049, "op": "=", "value": 1}]), "filter[0].field"),
        (search(filter=[{"field": "a", "op": "LIKE", "value": 1}]), "filter[0].op"),
        (search(filter=[{"field": "", "op": "=", "value": 1}]), "filter[0].field"),
        (search(filter=[{"field": "a", "op": "=", "value": None}]), "filter[0].value"),
        (search(filter=[{"field": "a", "op": "=", "value": {"b": 1}}]), "filter[0].value"),
        (search(filter=[{"field": "a", "op": "=", "value": 1}] * 33), "filter"),
        ({"terms": [TERM]}, "collection"),
        ([], None),
    ],
)
def test_what_is_wrong_is_named(given, field):
    with pytest.raises(WebError) as raised:
        read(SearchAsked, json.dumps(given).encode())
    assert raised.value.status == 400
    assert raised.value.field == field


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"collection": "\\ud800", "terms": [{"text": "a"}]}', b"[" * 10_000],
    ids=["empty", "cut", "no UTF-8", "half a character", "deep"],
)
def test_what_is_no_json(body):
    with pytest.raises(WebError) as raised:
        read(SearchAsked, body)
    assert raised.value.reason == "NOT_JSON"
    assert str(raised.value) == raised.value.message == "the request is not JSON"


@pytest.mark.parametrize("weight", [b"NaN", b"Infinity", b"1e999"])
def test_a_weight_is_a_number(weight):
    with pytest.raises(WebError) as raised:
        read(SearchAsked, b'{"collection":"c","terms":[{"text":"a","weight":' + weight + b"}]}")
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "given",
    [
        {"labels": ["a"]},
        {"labels": ["a"], "image": "AAAA", "point": {"collection": "c", "id": "1"}},
        {"labels": [], "image": "AAAA"},
        {"labels": ["a"] * 257, "image": "AAAA"},
        {"labels": ["a"], "point": {"collection": "c", "id": "1", "path": "/etc/passwd"}},
    ],
)
def test_a_picture_or_a_point_and_labels_are_classified(given):
    with pytest.raises(WebError):
        read(ClassifyAsked, json.dumps(given).encode())


@pytest.mark.parametrize("token", ["", "a b", "a;b", "a\nb", "ä", "x" * 513])
def test_a_token_fits_into_a_cookie_and_a_header(token):
    with pytest.raises(WebError) as raised:
        read(TokenAsked, json.dumps({"token": token}).encode())
    assert raised.value.field == "token"
    assert token not in raised.value.message or not token
