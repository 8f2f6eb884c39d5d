"""What each vector name is asked, and how one ranking comes of the answers."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from search_service.query.calibration import Scale
from search_service.query.queries import Fusion, PointTerm, Query, Term, TextTerm
from search_service.query.ranking import fetched_at_once, rank, vector_queries
from search_service.stores.filters import Filter, HasId, IsNull
from search_service.stores.protocol import PayloadSelection, ScoredPoint, StoredPoint

VECTORS = {"image": np.array([1, 0], np.float32), "text": np.array([0, 1], np.float32)}
SCALES = {"image": Scale(0.6, 0.1, 1, 1), "text": Scale(0.1, 0.05, 0.25, 0.6)}


def query(**fields) -> Query:
    return Query("c", (Term(TextTerm("x")),), **fields)


def found(**scores: float) -> list[ScoredPoint]:
    return [ScoredPoint(StoredPoint(id, {}), score) for id, score in scores.items()]


@pytest.mark.parametrize(("fusion", "limit"), [("calibrated", 42), ("rrf", 500), ("dbsf", 500)])
def test_both_names_are_asked_without_payloads_and_thresholds(fusion, limit):
    asked = query(target="any", limit=35, offset=7, score_threshold=0.2, fusion=fusion)
    image, text = vector_queries(asked, VECTORS)
    assert (image.name, text.name) == ("image", "text")
    for one in (image, text):
        assert one.vector is VECTORS[one.name]
        assert (one.offset, one.limit, one.score_threshold) == (0, limit, None)
        assert one.payload == PayloadSelection(include=())


def test_stored_terms_are_left_out_besides_the_callers_filter():
    terms = (Term(PointTerm("a")), Term(PointTerm("b"), -1), Term(PointTerm("a")))
    filter = Filter(must=(IsNull("x"),), must_not=(IsNull("y"),))
    [asked] = vector_queries(Query("c", terms, target="image", filter=filter), {"image": VECTORS["image"]})
    assert asked.filter == Filter(must=(IsNull("x"),), must_not=(IsNull("y"), HasId(("a", "b"))))


@pytest.mark.parametrize("empty", ["image", "text"])
@pytest.mark.parametrize("fusion", get_args(get_args(Fusion)[0]) + get_args(get_args(Fusion)[1]))
def test_one_name_alone_keeps_its_cosines(empty, fusion):
    there = found(a=0.9, b=0.4, c=0.3)
    both = [[], there] if empty == "image" else [there, []]
    ranked = rank(query(offset=1, limit=1, score_threshold=0.35, fusion=fusion), both, None)
    assert not ranked.fused
    [hit] = ranked.hits
    assert (hit.point.id, hit.score, hit.cosine, hit.image_rank, hit.text_rank) == ("b", 0.4, 0.4, 0, 0)
    assert hit.matched == ("text" if empty == "image" else "image")


def test_a_point_has_the_larger_of_its_scores_whatever_name_found_it():
    ranked = rank(query(), [found(a=0.8, b=0.6), found(b=0.3, c=0.05)], SCALES)
    assert ranked.fused
    assert [(hit.point.id, hit.matched, hit.cosine) for hit in ranked.hits] == [
        ("a", "image", 0.8),
        ("b", "text", 0.3),
        ("c", "text", 0.05),
    ]
    assert [hit.score for hit in ranked.hits] == pytest.approx([2, 0.25 * 4, 0.6 * -1])
    assert [(hit.image_rank, hit.text_rank) for hit in ranked.hits] == [(1, 0), (2, 1), (0, 2)]


def test_the_threshold_is_held_against_the_fused_score():
    both = [found(a=0.3, b=0.2), found(a=0.9)]
    ranked = rank(query(score_threshold=1.5 / 61, fusion="rrf"), both, None)
    assert ranked.fused
    assert [hit.point.id for hit in ranked.hits] == ["a"]
    assert ranked.hits[0].score == pytest.approx(2 / 61)


def test_a_short_page_is_asked_for_at_once():
    asked = query(target="any", limit=5, payload=PayloadSelection(include=("a",)))
    assert [one.payload for one in vector_queries(asked, VECTORS)] == [asked.payload] * 2
    assert fetched_at_once(asked)
    assert not fetched_at_once(query(target="any", limit=5, with_vectors=True))
