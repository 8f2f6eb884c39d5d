"""Filters as they travel."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.text_format import Parse

from clipsearch.search.v1 import filter_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.filter_proto import read_filter
from search_service.settings import SearchSettings
from search_service.stores.filters import (
    DatetimeRange,
    Filter,
    GeoBoundingBox,
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
    matches_everything,
)

LIMITS = SearchSettings(max_filter_depth=3, max_ids=2, max_id_bytes=4)


def read(text: str) -> Filter:
    return read_filter(Parse(text, filter_pb2.Filter()), LIMITS)


CONDITIONS = {
    'field { key: "a" match { keyword: "x" } }': MatchValue("a", "x"),
    'field { key: "a" match { keyword: "" } }': MatchValue("a", ""),
    'field { key: "a" match { integer: 0 } }': MatchValue("a", 0),
    'field { key: "a" match { boolean: false } }': MatchValue("a", False),
    'field { key: "a" match { text: "two words" } }': MatchText("a", "two words"),
    'field { key: "a" match { phrase: "two words" } }': MatchPhrase("a", "two words"),
    'field { key: "a" match { any_keyword { values: ["x", "y"] } } }': MatchAny("a", ("x", "y")),
    'field { key: "a" match { any_integer { values: [1, -2] } } }': MatchAny("a", (1, -2)),
    'field { key: "a" match { except_keyword { values: "x" } } }': MatchExcept("a", ("x",)),
    'field { key: "a" match { except_integer { values: 7 } } }': MatchExcept("a", (7,)),
    'field { key: "a.b[]" range { gt: 0 lte: 2.5 } }': Range("a.b[]", gt=0.0, lte=2.5),
    'field { key: "a" datetime_range { gte { seconds: 0 } lt { seconds: 1 nanos: 5000 } } }': DatetimeRange(
        "a", gte=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)
    ),
    'field { key: "a" geo_radius { center { lat: -90 lon: 180 } radius: 0.5 } }': GeoRadius(
        "a", GeoPoint(-90, 180), 0.5
    ),
    'field { key: "a" geo_bounding_box { top_left { lat: 1 lon: 170 } bottom_right { lon: -170 } } }': (
        GeoBoundingBox("a", GeoPoint(1, 170), GeoPoint(0, -170))
    ),
    'field { key: "a" values_count { gt: 0 lte: 2 } }': ValuesCount("a", gt=0, lte=2),
    'nested { key: "a" filter { must_not { is_null: "b" } } }': Nested("a", Filter(must_not=(IsNull("b"),))),
    'nested { key: "a[]" filter { must { is_null: "b" } } }': Nested("a", Filter(must=(IsNull("b"),))),
    'has_vector: "text"': HasVector("text"),
    'is_empty: "a"': IsEmpty("a"),
    'is_null: "a"': IsNull("a"),
    'has_id { ids: ["x", "y"] }': HasId(("x", "y")),
    'filter { should { is_null: "a" } }': Filter(should=(IsNull("a"),)),
}


@pytest.mark.parametrize("clause", ["must", "should", "must_not"])
@pytest.mark.parametrize("text", CONDITIONS)
def test_every_condition_is_read(clause, text):
    assert read(f"{clause} {{ {text} }}") == Filter(**{clause: (CONDITIONS[text],)})


def test_a_least_number_of_conditions_is_read():
    conditions = 'conditions { is_null: "a" } conditions { is_empty: "b" }'
    some = read(f"min_should {{ {conditions} min_count: 2 }}")
    assert some == Filter(min_should=MinShould((IsNull("a"), IsEmpty("b")), 2))


def test_every_kind_of_condition_is_tried_above():
    """A field that is added to the API must be read, and tried here."""

    def kinds(name: str) -> set[str]:
        return {field.name for field in filter_pb2.DESCRIPTOR.message_types_by_name[name].oneofs[0].fields}

    tried = " ".join(CONDITIONS)
    for message in ("Condition", "FieldCondition", "Match"):
        for kind in kinds(message):
            assert f"{kind}:" in tried or f"{kind} {{" in tried, f"{message}.{kind}"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("must {}", "filter.must[0]"),
        ("should { field {} }", "filter.should[0].field.key"),
        ('should { field { key: "a" } }', "filter.should[0].field"),
        ('must { field { key: "a" match {} } }', "filter.must[0].field.match"),
        ('must { field { key: "a" match { text: " " } } }', "filter.must[0].field.match.text"),
        ('must { field { key: "a" match { phrase: "" } } }', "filter.must[0].field.match.phrase"),
        ('must { field { key: "a" range {} } }', "filter.must[0].field.range"),
        ('must { field { key: "a" range { gt: 1 lte: inf } } }', "filter.must[0].field.range.lte"),
        ('must { field { key: "a" datetime_range {} } }', "filter.must[0].field.datetime_range"),
        (
            'must { field { key: "a" datetime_range { lt { seconds: 999999999999 } } } }',
            "filter.must[0].field.datetime_range.lt",
        ),
        (
            'must { field { key: "a" match { any_keyword {} } } }',
            "filter.must[0].field.match.any_keyword.values",
        ),
        (
            'must { field { key: "a" match { except_integer { values: [1, 2, 3] } } } }',
            "filter.must[0].field.match.except_integer.values",
        ),
        (
            'must { field { key: "a" geo_radius { center { lat: 90.5 } radius: 1 } } }',
            "filter.must[0].field.geo_radius.center.lat",
        ),
        (
            'must { field { key: "a" geo_radius { center { lon: nan } radius: 1 } } }',
            "filter.must[0].field.geo_radius.center.lon",
        ),
        (
            'must { field { key: "a" geo_radius { radius: 1 } } }',
            "filter.must[0].field.geo_radius.center",
        ),
        (
            'must { field { key: "a" geo_radius { center {} radius: inf } } }',
            "filter.must[0].field.geo_radius.radius",
        ),
        (
            'must { field { key: "a" geo_bounding_box { top_left {} bottom_right { lon: 1 } } } }',
            "filter.must[0].field.geo_bounding_box.bottom_right.lat",
        ),
        (
            'must { field { key: "a" geo_bounding_box { top_left { lat: 1 } bottom_right {} } } }',
            "filter.must[0].field.geo_bounding_box.bottom_right.lon",
        ),
        ('must { field { key: "a" values_count {} } }', "filter.must[0].field.values_count"),
        ('must { has_vector: "sound" }', "filter.must[0].has_vector"),
        ('must { nested { key: "a" filter { must { filter {} } } } }', "filter.must[0].nested.filter"),
        (
            'must { nested { key: "a" filter { should { filter { must { has_vector: "image" } } } } } }',
            "filter.must[0].nested.filter.should[0].filter.must[0].has_vector",
        ),
        ("min_should { min_count: 1 }", "filter.min_should.conditions"),
        ('min_should { conditions { is_null: "a" } min_count: 2 }', "filter.min_should.min_count"),
        ('min_should { conditions { is_null: "a" } }', "filter.min_should.min_count"),
        ("min_should { conditions {} min_count: 1 }", "filter.min_should.conditions[0]"),
        ('must_not { is_empty: "a..b" }', "filter.must_not[0].is_empty"),
        ('must_not { is_null: "" }', "filter.must_not[0].is_null"),
        ("must { has_id {} }", "filter.must[0].has_id.ids"),
        ('must { has_id { ids: "abcde" } }', "filter.must[0].has_id.ids[0]"),
        ('must { has_id { ids: ["a", "b", "c"] } }', "filter.must[0].has_id.ids"),
        (
            "must { filter { must_not { filter { should { field {} } } } } }",
            "filter.must[0].filter.must_not[0].filter.should[0].field.key",
        ),
        (
            "must { filter { must { filter { must { filter {} } } } } }",
            "filter.must[0].filter.must[0].filter.must[0].filter",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_path(text, field):
    with pytest.raises(InvalidArgument) as caught:
        read(text)
    assert caught.value.field == field


def test_filters_nest_as_deep_as_the_limit_and_no_deeper():
    deepest = 'must { filter { must { filter { must { is_null: "a" } } } } }'
    assert read(deepest)
    with pytest.raises(InvalidArgument, match="nested more than 3 deep"):
        read(f"must {{ filter {{ {deepest} }} }}")


@pytest.mark.parametrize(
    ("text", "everything"),
    [
        ("", True),
        ("must { filter {} }", True),
        ("must { filter { should { filter {} } } }", True),
        ('should { filter {} } should { is_null: "a" }', True),
        ('must { is_null: "a" }', False),
        ('min_should { conditions {filter {}} conditions { is_null: "a" } min_count: 1 }', True),
        ('min_should { conditions {filter {}} conditions { is_null: "a" } min_count: 2 }', False),
        ('should { is_null: "a" }', False),
        ("must_not { filter {} }", False),
        ('must { filter {} } must { is_null: "a" }', False),
    ],
)
def test_a_filter_that_says_nothing_is_known(text, everything):
    assert matches_everything(read(text)) is everything


@pytest.mark.parametrize("inside", [False, True])
def test_conditions_are_counted_over_all_filters_inside_one_another(inside):
    limits = SearchSettings(max_conditions=5)
    filter = filter_pb2.Filter(must=[filter_pb2.Condition(is_null="a")] * 4)
    further = filter_pb2.Filter(should=[filter_pb2.Condition(is_null="b")] * 2)
    if inside:
        filter.must[0].filter.CopyFrom(further)
    else:
        filter.MergeFrom(further)
    with pytest.raises(InvalidArgument, match="6 conditions so far, at most 5") as caught:
        read_filter(filter, limits)
    assert caught.value.field == ("filter.must[0].filter" if inside else "filter")
