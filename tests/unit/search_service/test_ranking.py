"""What each side is asked, and how one ranking comes of the answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.filters import Filter, HasId, IsNull
from search_service.queries import Query
from search_service.ranking import candidates, rank, side_queries
from search_service.stores.protocol import PayloadSelection, ScoredPoint, StoredPoint
from search_service.terms import Stored, Term, Words

VECTOR = np.array([1, 0], np.float32)


def query(**fields) -> Query:
    return Query("c", (Term(Words("x")),), **fields)


def found(**scores: float) -> list[ScoredPoint]:
    return [ScoredPoint(StoredPoint(id, {}), score) for id, score in scores.items()]


def test_one_side_is_asked_for_the_page_itself():
    [asked] = side_queries(query(target="text", limit=5, offset=7, score_threshold=0.2), VECTOR)
    assert (asked.side, asked.limit, asked.offset, asked.score_threshold) == ("text", 5, 7, 0.2)
    assert asked.payload == PayloadSelection()
    assert asked.filter is None


def test_both_sides_are_asked_for_candidates_without_payloads():
    image, text = side_queries(query(target="any", limit=5, offset=7, score_threshold=0.2), VECTOR)
    assert (image.side, text.side) == ("image", "text")
    for asked in (image, text):
        assert asked.offset == 0
        assert asked.limit >= 2 * 12 + 60
        assert asked.score_threshold is None
        assert asked.payload == PayloadSelection(include=())


@given(st.integers(1, 10_000))
def test_no_point_outside_the_candidates_can_reach_the_window(window):
    worst_inside = 1 / (60 + window)
    best_outside = 2 / (60 + candidates(window) + 1)
    assert best_outside < worst_inside


def test_stored_terms_are_left_out_besides_the_callers_filter():
    terms = (Term(Stored("a")), Term(Stored("b"), -1), Term(Stored("a")))
    filter = Filter(must=(IsNull("x"),), must_not=(IsNull("y"),))
    [asked] = side_queries(Query("c", terms, target="image", filter=filter), VECTOR)
    assert asked.filter == Filter(must=(IsNull("x"),), must_not=(IsNull("y"), HasId(("a", "b"))))


def test_ties_come_in_the_order_of_ids():
    hits, fused = rank(query(target="image"), [found(c=0.5, a=0.5, b=0.7)])
    assert ([hit.point.id for hit in hits], fused) == (["b", "a", "c"], False)


@pytest.mark.parametrize("empty", ["image", "text"])
def test_one_side_alone_keeps_its_cosines(empty):
    there = found(a=0.9, b=0.4, c=0.3)
    sides = [[], there] if empty == "image" else [there, []]
    hits, fused = rank(query(offset=1, limit=1, score_threshold=0.35), sides)
    assert not fused
    [hit] = hits
    assert (hit.point.id, hit.score, hit.cosine, hit.image_rank, hit.text_rank) == ("b", 0.4, 0.4, 0, 0)
    assert hit.matched == ("text" if empty == "image" else "image")


def test_the_threshold_is_held_against_the_fused_score():
    sides = [found(a=0.3, b=0.2), found(a=0.9)]
    hits, fused = rank(query(score_threshold=1.5 / 61), sides)
    assert fused
    assert [hit.point.id for hit in hits] == ["a"]
    assert hits[0].score == pytest.approx(2 / 61)


def test_pages_follow_one_another():
    sides = [
        found(**{f"p{i}": 0.3 - i / 100 for i in range(9)}),
        found(**{f"t{i}": 0.9 - i / 100 for i in range(9)}),
    ]
    whole, _ = rank(query(limit=18), sides)
    pages = [rank(query(limit=5, offset=offset), sides)[0] for offset in (0, 5, 10, 15, 20)]
    assert [hit.point.id for page in pages for hit in page] == [hit.point.id for hit in whole]
    assert pages[-1] == []
