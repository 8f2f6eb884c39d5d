"""The page's conditions as a filter of the services, and errors on the way back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clipsearch.web.errors import WebError
from clipsearch.web.requests import ConditionAsked, PageFilter


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
        (("a", ">", "2024-01-01"), {"key": "a", "range": {"gte": datetime(2024, 1, 2, tzinfo=UTC)}}),
        (("a", "=", 'the "large" one'), {"key": "a", "match": {"value": 'the "large" one'}}),
        (("a", "~", "words"), {"key": "a", "match": {"text": "words"}}),
    ],
)
def test_conditions(condition, expected):
    assert made(condition).json == {"must": [expected]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("a", "=", "12"), {"key": "a", "match": {"value": 12}}),
        (("a", "=", '"12"|"x"'), {"key": "a", "match": {"any": ["12", "x"]}}),
        (("unit price", "=", "True"), {"key": '"unit price"', "match": {"value": True}}),
        (('"a.b"', "<", "5"), {"key": '"a.b"', "range": {"lt": 5.0}}),
        (("a", ">=", "2024-05-31"), {"key": "a", "range": {"gte": datetime(2024, 5, 30, 15, tzinfo=UTC)}}),
        (("a", "<=", "2024-05-31"), {"key": "a", "range": {"lt": datetime(2024, 5, 31, 15, tzinfo=UTC)}}),
    ],
)
def test_what_was_typed_is_read_by_the_grammar_in_the_browsers_zone(condition, expected):
    field, op, typed = condition
    asked = ConditionAsked(field=field, op=op, value={"typed": typed})
    assert PageFilter([asked], "Asia/Tokyo").json == {"must": [expected]}


@pytest.mark.parametrize(
    ("op", "typed"), [("<", "soon"), ("=", "1|"), ("=", '"x'), ("~", ""), ("=", "1 && b=2")]
)
def test_what_was_typed_wrongly_names_its_condition(op, typed):
    with pytest.raises(WebError) as raised:
        PageFilter([ConditionAsked(field="b", op=op, value={"typed": typed})])
    assert (raised.value.status, raised.value.field) == (400, "filter[0].value")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe"])
def test_a_zone_that_is_none_is_refused(zone):
    with pytest.raises(WebError) as raised:
        PageFilter([], zone)
    assert raised.value.field == "time_zone"


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
    [("<", True), (">", [1, 2]), ("<", "soon"), ("~", ""), ("=", 2**70)],
)
def test_what_makes_no_sense_names_its_condition(op, value):
    with pytest.raises(WebError) as raised:
        made(("a", "=", 1), ("b", op, value))
    assert raised.value.status == 400
    assert raised.value.field == "filter[1].value"
