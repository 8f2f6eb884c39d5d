"""The page's conditions as a filter of the services, and errors on the way back."""

from __future__ import annotations

import pytest

from clipsearch.web.asked import ConditionAsked
from clipsearch.web.errors import WebError
from clipsearch.web.filters import PageFilter


def made(*conditions):
    return PageFilter([ConditionAsked(field=field, op=op, value=value) for field, op, value in conditions])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("a", "=", "x"), {"key": "a", "match": {"value": "x"}}),
        (("a", "=", "42"), {"key": "a", "match": {"value": "42"}}),
        (("a", "=", 42), {"key": "a", "match": {"value": 42}}),
        (("a", "=", True), {"key": "a", "match": {"value": True}}),
        (("a", "=", 0.5), {"key": "a", "range": {"gte": 0.5, "lte": 0.5}}),
        (("a", "=", ["x", "y"]), {"key": "a", "match": {"any": ["x", "y"]}}),
        (("a", "=", [1, 2]), {"key": "a", "match": {"any": [1, 2]}}),
        (("a", "<=", 5), {"key": "a", "range": {"lte": 5}}),
        (("a", ">", "2024-01-01"), {"key": "a", "range": {"gt": "2024-01-01"}}),
        (("a", "~", "words"), {"key": "a", "match": {"text": "words"}}),
    ],
)
def test_conditions(condition, expected):
    assert made(condition).json == {"must": [expected]}


def test_no_conditions_are_no_filter():
    assert made().json is None


def test_all_must_hold_and_errors_find_their_way_back():
    filter = made(("a", "=", 1), ("b", "!=", "x"), ("c", "<", 2), ("d", "!=", 0.5))
    assert filter.json is not None
    assert len(filter.json["must"]) == 2
    assert len(filter.json["must_not"]) == 2
    assert filter.page_field("filter.must[1].field.range") == "filter[2]"
    assert filter.page_field("filter.must_not[1]") == "filter[3]"
    assert filter.page_field("filter.must[7]") == "filter.must[7]"
    assert filter.page_field("limit") == "limit"


@pytest.mark.parametrize(
    ("op", "value"),
    [("<", True), (">", [1]), ("<", "soon"), ("~", 5), ("~", True), ("=", ["a", 1]), ("=", 2**70)],
)
def test_what_makes_no_sense_names_its_condition(op, value):
    with pytest.raises(WebError) as raised:
        made(("a", "=", 1), ("b", op, value))
    assert raised.value.status == 400
    assert raised.value.field == "filter[1].value"
