"""What services return, as JSON for the page: whatever a payload holds, it is bounded and valid."""

from __future__ import annotations

import json

import pytest

from clipsearch.client.types import Classification, LabelScore
from clipsearch.web import results
from tests.unit.clipsearch.found import a_hit, a_result


def shown_hits(*hits, limit=10, with_images=(), **about):
    result = a_result(*hits, tokens_dropped={0: 3}, **about)
    return results.hits(
        result, side="a", collection="my shop", limit=limit, with_images=frozenset(with_images)
    )


def test_a_hit_more_than_asked_for_says_that_there_are_more():
    two = shown_hits(a_hit("1"), a_hit("2"), limit=2)
    three = shown_hits(a_hit("1"), a_hit("2"), a_hit("3"), limit=2)
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
        ({"path": 5, "text": ["a"]}, "a", None),
        ({"path": "/"}, "a", None),
        ({}, "a", None),
    ],
)
def test_titles(payload, title, text):
    (found,) = shown_hits(a_hit(payload=payload))["hits"]
    assert (found["title"], found["text"]) == (title, text)


def test_only_pictures_that_can_be_shown_have_an_address():
    paths = {"a&b=c/ü": "/root/a.png", "2": "/etc/passwd", "3": None}
    hits = [a_hit(id, payload={"path": path}) for id, path in paths.items()]
    found = shown_hits(*hits, with_images=["/root/a.png"])["hits"]
    assert [one["thumb"] for one in found] == [
        "/thumb?side=a&collection=my+shop&id=a%26b%3Dc%2F%C3%BC&size=160",
        None,
        None,
    ]


def test_weak_matches_are_marked_with_their_bound():
    found = shown_hits(a_hit(score=0.1, weak=True), a_hit(), weak_match_below=0.15)
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
    text = json.dumps(shown_hits(a_hit(payload=payload)), allow_nan=False)
    assert len(text) < 20_000


def test_a_payload_of_usual_size_is_whole():
    payload = {"a": 1, "b": [1.5, True, None, "x"], "c": {"d": {"e": "f"}}, "g": {}}
    assert results.payload(payload) == payload


def test_scores_that_are_no_numbers():
    labels = Classification((LabelScore("a", float("nan"), 0.25),))
    assert results.classification(labels) == {"scores": [{"label": "a", "probability": None, "cosine": 0.25}]}
