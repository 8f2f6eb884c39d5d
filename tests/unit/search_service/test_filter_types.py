"""Filters against payload indexes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clipsearch.serving.errors import InvalidArgument
from search_service.filter_types import fitted
from search_service.filters import (
    DatetimeRange,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchText,
    MatchValue,
    Range,
)

INDEXES = {
    "keyword": "keyword",
    "text": "text",
    "integer": "integer",
    "float": "float",
    "bool": "bool",
    "datetime": "datetime",
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMPARISONS = {
    "string": lambda key: MatchValue(key, "2024-05-31"),
    "strings": lambda key: MatchAny(key, ("2024-05-31", "2024-05-31T12:00:00Z")),
    "other strings": lambda key: MatchExcept(key, ("2024-05-31 12:00",)),
    "words": lambda key: MatchText(key, "x"),
    "integer": lambda key: MatchValue(key, 1),
    "integers": lambda key: MatchAny(key, (1,)),
    "other integers": lambda key: MatchExcept(key, (1,)),
    "boolean": lambda key: MatchValue(key, True),
    "range": lambda key: Range(key, gt=1),
    "datetime_range": lambda key: DatetimeRange(key, gt=NOW),
}
STRINGS = {"string", "strings", "other strings", "words"}
NUMBERS = {"integer", "integers", "other integers", "range"}
FITTING = {
    "keyword": STRINGS,
    "text": STRINGS,
    "integer": NUMBERS,
    "float": NUMBERS,
    "bool": {"boolean"},
    "datetime": {"string", "strings", "other strings", "datetime_range"},
}


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_an_index_fits_values_of_its_own_type_only(index, comparison):
    filter = Filter(must=(COMPARISONS[comparison](index),))
    if comparison in FITTING[index]:
        fitted(filter, INDEXES)
        return
    with pytest.raises(InvalidArgument, match=f"index is of type {index}") as caught:
        fitted(filter, INDEXES)
    assert caught.value.field == "filter.must[0].field"
    assert caught.value.reason == "FILTER_TYPE_MISMATCH"


def test_the_path_leads_into_nested_filters():
    inner = Filter(must_not=(MatchValue("free", 1), Range("keyword", lt=1)))
    with pytest.raises(InvalidArgument) as caught:
        fitted(Filter(should=(inner,)), INDEXES)
    assert caught.value.field == "filter.should[0].filter.must_not[1].field"


def test_fields_without_an_index_and_conditions_without_a_type_pass():
    free = tuple(compare("free") for compare in COMPARISONS.values())
    fitted(Filter(must=(*free, IsEmpty("bool"), IsNull("integer"), HasId(("a",)))), INDEXES)
