"""Filters against payload indexes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clipsearch.serving.errors import InvalidArgument
from search_service.query.filters import fitted
from search_service.stores.collection import TextIndex
from search_service.stores.filters import (
    DatetimeRange,
    Filter,
    GeoPoint,
    GeoRadius,
    HasId,
    HasVector,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchText,
    MatchValue,
    MinShould,
    Nested,
    Range,
    ValuesCount,
)

INDEXES = {name: name for name in ("keyword", "text", "integer", "float", "bool", "datetime", "geo")}
INDEXES["shops[].halls[].size"] = "integer"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("index", "condition"),
    [
        ("keyword", Range("keyword", gt=1)),
        ("text", MatchExcept("text", (1,))),
        ("integer", MatchText("integer", "x")),
        ("float", MatchValue("float", True)),
        ("bool", MatchAny("bool", (1,))),
        ("datetime", Range("datetime", gt=1)),
        ("geo", MatchValue("geo", "Riga")),
        ("keyword", GeoRadius("keyword", GeoPoint(0, 0), 1)),
    ],
)
def test_an_index_fits_values_of_its_own_type_only(index, condition):
    with pytest.raises(InvalidArgument, match=f"index is of type {index}") as caught:
        fitted(Filter(must=(condition,)), INDEXES)
    assert (caught.value.field, caught.value.reason) == ("filter.must[0].field", "FILTER_TYPE_MISMATCH")


def test_the_path_leads_into_nested_filters():
    inner = Filter(must_not=(MatchValue("free", 1), Range("keyword", lt=1)))
    with pytest.raises(InvalidArgument) as caught:
        fitted(Filter(should=(inner,)), INDEXES)
    assert caught.value.field == "filter.should[0].filter.must_not[1].field"


def test_a_phrase_needs_an_index_that_knows_the_order_of_words():
    fitted(
        Filter(must=(MatchPhrase("a", "x"), MatchPhrase("free", "x"))), {"a": TextIndex(phrase_matching=True)}
    )
    for index in ("text", TextIndex(stemmer="english")):
        with pytest.raises(InvalidArgument, match="phrase_matching") as caught:
            fitted(Filter(must=(MatchPhrase("a", "x"),)), {"a": index})
        assert (caught.value.field, caught.value.reason) == ("filter.must[0].field", "FILTER_TYPE_MISMATCH")


def test_the_path_leads_into_objects_of_lists():
    halls = Nested("halls[]", Filter(should=(MatchValue("name", 1), MatchText("size", "x"))))
    shops = Filter(min_should=MinShould((Nested("shops", Filter(must_not=(halls,))),), 1))
    with pytest.raises(InvalidArgument) as caught:
        fitted(shops, INDEXES)
    assert caught.value.field == (
        "filter.min_should.conditions[0].nested.filter.must_not[0].nested.filter.should[1].field"
    )


def test_fields_without_an_index_and_conditions_without_a_type_pass():
    free = (MatchValue("free", "x"), MatchText("free", "x"), Range("free", gt=1))
    typeless = (
        IsEmpty("bool"),
        IsNull("integer"),
        HasId(("a",)),
        HasVector("text"),
        ValuesCount("geo", gt=1),
    )
    nested = Nested("keyword", Filter(must=free))
    filter = Filter(must=(*free, *typeless, nested), min_should=MinShould(free, 2))
    assert fitted(filter, INDEXES) == filter


def readings(key: str) -> Filter:
    """What `key=2024` and `key=2024-05-31` could be, in one."""
    return Filter(
        should=(MatchValue(key, 2024), MatchValue(key, "2024-05-31"), DatetimeRange(key, gte=NOW)),
        readings=True,
    )


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        ("integer", MatchValue),
        ("float", MatchValue),
        ("keyword", MatchValue),
        ("text", MatchValue),
        ("datetime", DatetimeRange),
    ],
)
def test_of_several_readings_the_one_that_goes_with_the_index_is_kept(index, kept):
    (condition,) = fitted(Filter(must_not=(readings(index),)), INDEXES).must_not
    assert isinstance(condition, Filter)
    (reading,) = condition.should
    assert isinstance(reading, kept)
    assert isinstance(reading, DatetimeRange) or isinstance(reading.value, int) == (
        index in ("integer", "float")
    )


def test_without_an_index_all_readings_stay():
    filter = Filter(must=(readings("free"),))
    assert fitted(filter, INDEXES) == filter


def test_readings_of_which_none_goes_with_the_index_are_refused_in_one_place():
    with pytest.raises(InvalidArgument) as caught:
        fitted(Filter(must=(readings("bool"),)), INDEXES)
    assert (caught.value.field, caught.value.reason) == ("filter.must[0].filter", "FILTER_TYPE_MISMATCH")


@pytest.mark.parametrize("value", ["soon", "2024-02-30", "2024-05-31T24:61", "20240531", "", "2024"])
@pytest.mark.parametrize(
    "compare", [lambda v: MatchValue("datetime", v), lambda v: MatchAny("datetime", ("2024-05-31", v))]
)
def test_what_is_no_date_is_refused_where_an_index_says_that_there_are_dates(compare, value):
    with pytest.raises(InvalidArgument, match="is no date or time such as 2024-05-31"):
        fitted(Filter(must_not=(compare(value),)), INDEXES)
