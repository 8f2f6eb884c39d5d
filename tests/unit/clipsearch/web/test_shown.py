"""What services return, as JSON for the page: whatever a payload holds, it is bounded and valid."""

from __future__ import annotations

import json

import pytest

from clipsearch.client.types import Classification, Hit, LabelScore, SearchResult
from clipsearch.web import shown


def hit(id="7", payload=None, cosine=0.5, matched="image", score=0.5):
    return Hit(id=id, score=score, matched=matched, cosine=cosine, payload=payload or {})


def shown_hits(*hits, limit=10, with_images=()):
    result = SearchResult(
        hits=hits, fused=False, fingerprint="f", encode_ms=1, store_ms=1, tokens_dropped={0: 3}
    )
    return shown.hits(result, side="a", collection="my shop", limit=limit, with_images=frozenset(with_images))


def test_a_hit_more_than_asked_for_says_that_there_are_more():
    two = shown_hits(hit("1"), hit("2"), limit=2)
    three = shown_hits(hit("1"), hit("2"), hit("3"), limit=2)
    assert [found["id"] for found in three["hits"]] == ["1", "2"]
    assert (two["more"], three["more"]) == (False, True)
    assert three["tokens_dropped"] == {"0": 3}


@pytest.mark.parametrize(
    ("payload", "title", "text"),
    [
        ({"path": "/a/b/cat.jpg", "text": "a cat"}, "cat.jpg", "a cat"),
        ({"text": "a cat"}, "a cat", "a cat"),
        ({"title": "Cats"}, "Cats", "Cats"),
        ({"text": "  ", "caption": "a cat"}, "a cat", "a cat"),
        ({"path": 5, "text": ["a"]}, "7", None),
        ({"path": "/"}, "7", None),
        ({}, "7", None),
    ],
)
def test_titles(payload, title, text):
    (found,) = shown_hits(hit(payload=payload))["hits"]
    assert (found["title"], found["text"]) == (title, text)


def test_only_pictures_that_can_be_shown_have_an_address():
    hits = [hit("a&b=c/ü", {"path": "/root/a.png"}), hit("2", {"path": "/etc/passwd"}), hit("3")]
    found = shown_hits(*hits, with_images=["/root/a.png"])["hits"]
    assert [one["thumb"] for one in found] == [
        "/thumb?side=a&collection=my+shop&id=a%26b%3Dc%2F%C3%BC&size=160",
        None,
        None,
    ]


def test_weak_matches_are_marked_with_their_bound():
    weak = Hit(id="7", score=0.1, matched="image", cosine=0.1, payload={}, weak=True)
    result = SearchResult((weak, hit()), False, "f", 1, 1, weak_match_below=0.15)
    found = shown.hits(result, side="a", collection="c", limit=10, with_images=frozenset())
    assert [one["weak"] for one in found["hits"]] == [True, False]
    assert found["weak_match_below"] == 0.15


def nested(depth):
    return {"a": nested(depth - 1)} if depth else "end"


@pytest.mark.parametrize(
    "payload",
    [
        {"a": float("nan"), "b": [float("inf"), -float("inf")]},
        nested(90),
        {str(i): i for i in range(100_000)},
        {"a": list(range(100_000))},
        {"a": [[i] * 1000 for i in range(1000)]},
        {"x" * 100_000: "y" * 1_000_000},
        {"text": "t" * 1_000_000, "path": "p" * 1_000_000},
        {"\u202e\0\x1b[31m": "\u2028</script>"},
        {"__proto__": {"polluted": True}},
    ],
    ids=["not finite", "deep", "wide", "long", "both", "long words", "title", "control", "proto"],
)
def test_hostile_payloads_are_bounded_and_valid(payload):
    text = json.dumps(shown_hits(hit(payload=payload)), allow_nan=False)
    assert len(text) < 20_000


def test_a_payload_of_usual_size_is_whole():
    payload = {"a": 1, "b": [1.5, True, None, "x"], "c": {"d": {"e": "f"}}, "g": {}}
    assert shown.payload(payload) == payload


def test_scores_that_are_no_numbers():
    labels = Classification((LabelScore("a", float("nan"), 0.25),))
    assert shown.classification(labels) == {"scores": [{"label": "a", "probability": None, "cosine": 0.25}]}
