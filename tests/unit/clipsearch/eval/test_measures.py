"""Measures against figures worked out by hand, their intervals, and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipsearch.eval.measures import bounds, interval, overlap, per_query
from clipsearch.eval.queries import Query

KS = (1, 3)


def test_each_measure_is_what_its_definition_says():
    queries = [
        Query("first and third of two", None, {"a": 1, "b": 1}),
        Query("second, and a better one not at all", None, {"c": 1, "d": 3}),
        Query("nothing", None, {"e": 1}),
    ]
    values = per_query(queries, [["a", "x", "b"], ["x", "c", "y"], []], KS)
    assert values["recall@1"].tolist() == [0.5, 0, 0]
    assert values["recall@3"].tolist() == [1, 0.5, 0]
    assert values["mrr@3"].tolist() == [1, 0.5, 0]
    second = 1 / math.log2(3)
    best = [1 + second, 3 + second, 1]
    found = [1 + 1 / math.log2(4), second, 0]
    assert values["ndcg@3"] == pytest.approx([f / b for f, b in zip(found, best, strict=True)])


def test_the_order_is_that_of_the_answer_and_not_of_ids():
    ids = [f"p{i}" for i in range(9, -1, -1)]
    queries = [Query("a", None, {id: 1}) for id in ids]
    values = per_query(queries, [ids] * 10, (1, 10))
    assert values["mrr@10"] == pytest.approx([1 / rank for rank in range(1, 11)])


def test_an_interval_holds_the_mean_narrows_with_more_queries_and_is_the_same_each_time():
    few, many = np.array([1.0, 0.0] * 5), np.array([1.0, 0.0] * 500)
    assert interval(few) == interval(few)
    assert interval(few).low < 0.3 < interval(few).mean == 0.5 < 0.7 < interval(few).high
    # The normal approximation: 1.96 standard errors.
    assert interval(many).high - 0.5 == pytest.approx(1.96 * 0.5 / math.sqrt(1000), rel=0.1)
    assert interval(np.ones(4)).low == interval(np.ones(4)).high == 1


def test_overlap_is_of_the_references_hits():
    assert overlap([["a", "b"], ["x", "y"]], [["b", "a"], ["x", "z"]]) == 0.75
    assert overlap([[]], [[]]) == 1


def test_bounds_are_read_and_wrong_ones_refused():
    assert bounds(["recall@3=0.8", "ndcg@3=1"], KS) == {"recall@3": 0.8, "ndcg@3": 1}
    for words, complaint in (
        ("recall@3", "write MEASURE=LEAST"),
        ("recall@3=80", "LEAST is 0 to 1"),
        ("recall@5=0.8", "measured are recall@1, recall@3, mrr@3, ndcg@3"),
    ):
        with pytest.raises(ValueError, match=complaint):
            bounds([words], KS)
