"""Filters as callers write them, and the proto they become."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.filters.convert import FilterError, to_proto
from clipsearch.search.v1 import filter_pb2


def as_dict(filter) -> dict:
    return json_format.MessageToDict(to_proto(filter), preserving_proto_field_name=True)


def field(key: str, **predicate) -> dict:
    return {"field": {"key": key, **predicate}}


def test_all_expressions_must_hold():
    assert as_dict(["a=1", "b!=2"]) == {
        "must": [field("a", match={"integer": "1"})],
        "must_not": [field("b", match={"integer": "2"})],
    }


def test_qdrants_json_form_is_understood_in_full():
    assert as_dict(
        {
            "must": [
                {"key": "n", "match": {"except": [1, 2]}},
                {"key": "n", "match": {"phrase": "red hat"}},
                {"is_empty": {"key": "tag"}},
                {"is_null": "x"},
                {"has_id": ["a", "b"]},
                {"should": [{"key": "t", "range": {"gte": datetime(2024, 1, 1, tzinfo=UTC)}}]},
                {"has_vector": "image"},
                {"nested": {"key": "shops", "filter": {"must": [{"key": "n", "match": {"value": 1}}]}}},
                {"key": "p", "geo_radius": {"center": {"lat": 1, "lon": 2}, "radius": 3}},
                {
                    "key": "p",
                    "geo_bounding_box": {
                        "top_left": {"lat": 1, "lon": 2},
                        "bottom_right": {"lat": -1, "lon": 3},
                    },
                },
                {"key": "tags", "values_count": {"gt": 1}},
            ],
            "min_should": {"conditions": [{"is_null": "x"}], "min_count": 1},
        }
    ) == {
        "must": [
            field("n", match={"except_integer": {"values": ["1", "2"]}}),
            field("n", match={"phrase": "red hat"}),
            {"is_empty": "tag"},
            {"is_null": "x"},
            {"has_id": {"ids": ["a", "b"]}},
            {"filter": {"should": [field("t", datetime_range={"gte": "2024-01-01T00:00:00Z"})]}},
            {"has_vector": "image"},
            {"nested": {"key": "shops", "filter": {"must": [field("n", match={"integer": "1"})]}}},
            field("p", geo_radius={"center": {"lat": 1.0, "lon": 2.0}, "radius": 3.0}),
            field(
                "p",
                geo_bounding_box={
                    "top_left": {"lat": 1.0, "lon": 2.0},
                    "bottom_right": {"lat": -1.0, "lon": 3.0},
                },
            ),
            field("tags", values_count={"gt": 1}),
        ],
        "min_should": {"conditions": [{"is_null": "x"}], "min_count": 1},
    }


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"mast": []}, "filter: 'mast'"),
        ({"must": {"key": "a"}}, r"filter\.must: must be a list"),
        ({"must": ["a=1"]}, r"filter\.must\[0\]: must be a condition"),
        ({"must": [{"key": "a"}]}, r"filter\.must\[0\]: must hold one of match, range"),
        ({"must": [{"key": "a", "geo_radius": {"radius": 1}}]}, r"geo_radius: must be an object with center"),
        ({"must": [{"key": "a", "values_count": 2}]}, r"values_count: must be an object such as \{'gte'"),
        ({"must": [{"key": "a", "range": {}}]}, r"range: must be an object such as \{'gte'"),
        ({"must": [{"key": "a", "values_count": {"gt": -1}}]}, r"values_count\.gt: must be a whole number"),
        (
            {"must": [{"nested": {"key": "a", "filter": {"x": 1}}}]},
            r"must\[0\]\.nested\.filter: 'x' is none of",
        ),
        ({"min_should": {"conditions": []}}, r"filter\.min_should: must be an object with conditions"),
        ({"must": [{"key": "a", "match": {"value": 1.5}}]}, r"filter\.must\[0\]\.match\.value"),
        ({"must": [{"key": "a", "match": {"any": [1, "b"]}}]}, r"match\.any: must be a list"),
        ({"must": [{"key": "a", "range": {"gt": 1, "lt": "2024-01-01"}}]}, "mixes numbers and times"),
        ({"must": [{"key": "a", "match": {"value": 2**70}}]}, "64 bits"),
        (["a=b\udcff"], r"must\[0\]\.match\.value: 'b\\udcff' is no text"),
        (["a!=b\udcff|c"], r"must_not\[0\]\.match\.any: 'b\\udcff' is no text"),
        (['"\udcff"=1'], r"must\[0\]\.key: '\"\\udcff\"' is no text"),
        (['"\udcff"<1'], r"must\[0\]\.key: .* is no text"),
        ({"must": [{"has_id": ["\udcff"]}]}, r"must\[0\]\.has_id: '\\udcff' is no text"),
        ({"must": [{"is_null": "\udcff"}]}, r"must\[0\]\.is_null: '\\udcff' is no text"),
    ],
)
def test_a_mistake_is_named_with_its_place(bad, where):
    with pytest.raises(FilterError, match=where):
        to_proto(bad)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "must",
                    "min_should",
                    "key",
                    "match",
                    "range",
                    "value",
                    "gt",
                    "has_id",
                    "nested",
                    "geo_radius",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.lists(st.text(max_size=30), max_size=3) | json_values.filter(lambda v: isinstance(v, dict)))
def test_whatever_is_given_it_is_a_filter_or_a_filter_error(given):
    with suppress(FilterError):
        assert isinstance(to_proto(given), filter_pb2.Filter)
